//! The unchecked reads of the int8 kernels, and the one type that proves them sound.
#![expect(
    unsafe_code,
    reason = "broadcasting four activations per instruction cannot afford a bounds check each"
)]

use std::marker::PhantomData;

/// The activations of a block of output pixels: for each segment and pixel an offset into the input or, beyond its
/// length, into the pad area.
#[derive(Clone, Copy)]
pub(super) struct Reads<'a> {
    input: &'a [u8],
    pad: &'a [u8],
    offsets: &'a [usize],
    pub(super) segments: usize,
    pixels: usize,
    /// Added to every offset: the place of the group within a pixel.
    shift: usize,
    /// Bytes readable at every shifted offset.
    len: usize,
}

impl<'a> Reads<'a> {
    /// `offsets` is `[segments][pixels]`. At each of them, `shift` bytes on, `len` bytes must lie inside `input` or,
    /// for offsets from `input.len()` on, inside `pad`.
    pub(super) fn new(
        input: &'a [u8],
        pad: &'a [u8],
        offsets: &'a [usize],
        segments: usize,
        pixels: usize,
        shift: usize,
        len: usize,
    ) -> Self {
        assert_eq!(offsets.len(), segments * pixels, "one offset for each segment of each pixel");
        // One pass over the table costs little beside the products it stands for, and makes every later read sound.
        let inside = |end: usize| if end < input.len() { input.len() } else { input.len() + pad.len() };
        assert!(
            len == 0 || offsets.iter().all(|&at| at.saturating_add(shift + len) <= inside(at)),
            "every segment lies inside the input or the pad area"
        );
        Self { input, pad, offsets, segments, pixels, shift, len }
    }

    pub(super) fn pixels(&self) -> usize {
        self.pixels
    }

    /// Segment `segment` of the pixels `first..first + N`.
    #[expect(clippy::inline_always, reason = "a call would spill every accumulator")]
    #[inline(always)]
    pub(super) fn rows<const N: usize>(&self, segment: usize, first: usize) -> [Row<'a>; N] {
        let offsets = &self.offsets[segment * self.pixels..][..self.pixels][first..][..N];
        std::array::from_fn(|i| {
            let at = offsets[i];
            // Both sides are computed so that the choice is a conditional move.
            let (base, at) = if at < self.input.len() {
                (self.input.as_ptr(), at)
            } else {
                (self.pad.as_ptr(), at - self.input.len())
            };
            Row { at: base.wrapping_add(at + self.shift), len: self.len, owner: PhantomData }
        })
    }
}

/// One segment: `len` readable bytes at `at`.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    at: *const u8,
    len: usize,
    owner: PhantomData<&'a [u8]>,
}

impl Row<'_> {
    /// Bytes `4 * step..4 * step + 4`, as the 32-bit word that holds them in memory order.
    ///
    /// # Safety
    /// `4 * step + 4` must not exceed the `len` that the [`Reads`] was made with.
    #[expect(clippy::inline_always, reason = "a call would spill every accumulator")]
    #[inline(always)]
    pub(super) unsafe fn word(self, step: usize) -> i32 {
        debug_assert!(step * 4 + 4 <= self.len, "step {step} of a segment of {} bytes", self.len);
        // SAFETY: `Reads::new` checked that `len` bytes from `at` lie inside one of its slices, which outlive
        // `self`, and the caller keeps `step` inside them. Any alignment is fine, any bytes are an i32.
        unsafe { self.at.wrapping_add(step * 4).cast::<i32>().read_unaligned() }
    }
}

/// Windows of bytes in rows and columns, each some steps apart.
#[derive(Clone, Copy)]
pub(super) struct Grid<'a> {
    at: *const u8,
    /// How many windows, and bytes from one to the next, along each axis.
    axes: [(usize, usize); 2],
    owner: PhantomData<&'a [u8]>,
}

impl<'a> Grid<'a> {
    /// Windows of `width` bytes of `bytes`, the first at `start`; `axes` are `(count, step)`.
    #[inline]
    pub(super) fn new(bytes: &'a [u8], start: usize, axes: [(usize, usize); 2], width: usize) -> Self {
        let reach = |(count, step): (usize, usize)| count.saturating_sub(1).saturating_mul(step);
        let end = start.saturating_add(reach(axes[0])).saturating_add(reach(axes[1])).saturating_add(width);
        let empty = axes[0].0 == 0 || axes[1].0 == 0;
        assert!(empty || end <= bytes.len(), "every window lies inside the bytes");
        Self { at: bytes.as_ptr().wrapping_add(start), axes, owner: PhantomData }
    }

    /// Where window `[i, j]` begins; its `width` bytes are readable there.
    ///
    /// # Safety
    /// Each index must be below the count of its axis.
    #[expect(clippy::inline_always, reason = "a call would spill every accumulator")]
    #[inline(always)]
    pub(super) unsafe fn at(self, [i, j]: [usize; 2]) -> *const u8 {
        debug_assert!(i < self.axes[0].0 && j < self.axes[1].0, "window {i}, {j} of {:?}", self.axes);
        // SAFETY: `new` checked that all windows lie inside its slice, which outlives `self`.
        unsafe { self.at.add(i * self.axes[0].1 + j * self.axes[1].1) }
    }
}
