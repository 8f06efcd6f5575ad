//! The unchecked reads of the int8 kernels, and the one type that proves them sound.
#![expect(
    unsafe_code,
    reason = "broadcasting four activations per instruction cannot afford a bounds check each"
)]

use std::marker::PhantomData;

/// The activations of a block of output pixels.
#[derive(Clone, Copy)]
pub(super) struct Reads<'a> {
    places: Places<'a>,
    pub(super) segments: usize,
    pub(super) pixels: usize,
    /// Added to every place: that of the group within a pixel.
    shift: usize,
    /// Bytes readable at every shifted place.
    len: usize,
}

/// Where the segments of each pixel lie.
#[derive(Clone, Copy)]
enum Places<'a> {
    /// One segment for each pixel, `step` bytes from one to the next.
    Steps { bytes: &'a [u8], step: usize },
    /// `[segments][pixels]` offsets into the input or, beyond its length, into the pad area.
    Table { input: &'a [u8], pad: &'a [u8], offsets: &'a [usize] },
}

impl<'a> Reads<'a> {
    /// Segments of `len` bytes, `step` apart, the first of them `shift` bytes from the start of `bytes`.
    pub(super) fn steps(bytes: &'a [u8], step: usize, pixels: usize, shift: usize, len: usize) -> Self {
        assert!(
            pixels > 0 && (pixels - 1) * step + shift + len <= bytes.len(),
            "segments lie inside the bytes"
        );
        Self { places: Places::Steps { bytes, step }, segments: 1, pixels, shift, len }
    }

    /// Segments at `offsets`, `[segments][pixels]`.
    ///
    /// # Safety
    /// At each offset, `shift` bytes on, `len` bytes must lie inside `input` or, for offsets from `input.len()` on,
    /// inside `pad`.
    pub(super) unsafe fn table(
        input: &'a [u8],
        pad: &'a [u8],
        offsets: &'a [usize],
        pixels: usize,
        shift: usize,
        len: usize,
    ) -> Self {
        let segments = offsets.len() / pixels;
        assert_eq!(offsets.len(), segments * pixels, "one offset for each segment of each pixel");
        debug_assert!(
            len == 0
                || offsets.iter().all(|&at| {
                    let end = if at < input.len() { input.len() } else { input.len() + pad.len() };
                    at.saturating_add(shift + len) <= end
                }),
            "every segment lies inside the input or the pad area"
        );
        Self { places: Places::Table { input, pad, offsets }, segments, pixels, shift, len }
    }

    /// Segment `segment` of the pixels `first..first + N`.
    #[expect(clippy::inline_always, reason = "a call would spill every accumulator")]
    #[inline(always)]
    pub(super) fn rows<const N: usize>(&self, segment: usize, first: usize) -> [Row<'a>; N] {
        let mut rows = [Row { at: std::ptr::null(), len: self.len, owner: PhantomData }; N];
        match self.places {
            Places::Steps { bytes, step } => {
                assert!(segment == 0 && first + N <= self.pixels, "pixels of the block");
                let start = bytes.as_ptr().wrapping_add(self.shift + first * step);
                for (i, row) in rows.iter_mut().enumerate() {
                    row.at = start.wrapping_add(i * step);
                }
            }
            Places::Table { input, pad, offsets } => {
                let offsets = &offsets[segment * self.pixels..][..self.pixels][first..][..N];
                for (row, &at) in rows.iter_mut().zip(offsets) {
                    // Both sides are computed so that the choice is a conditional move.
                    let inside = input.as_ptr().wrapping_add(at);
                    let beyond = pad.as_ptr().wrapping_add(at.wrapping_sub(input.len()));
                    let at = if at < input.len() { inside } else { beyond };
                    row.at = at.wrapping_add(self.shift);
                }
            }
        }
        rows
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
        // SAFETY: whoever made the `Reads` saw to it that `len` bytes from `at` lie inside one of its slices, which
        // outlive `self`, and the caller keeps `step` inside them. Any alignment is fine, any bytes are an i32.
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
