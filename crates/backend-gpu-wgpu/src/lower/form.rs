//! How tensors lie in memory.

/// How a tensor lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// Row-major without gaps.
    Rows,
    /// Row-major, each row of the last dimension padded to whole quads.
    Padded,
    /// The second dimension, the channels, innermost and padded to whole quads; of three dimensions or more.
    Channels,
}

impl Layout {
    /// The dimensions in the order in which they lie in memory.
    pub(crate) fn order(self, rank: usize) -> Vec<usize> {
        match self {
            Layout::Channels if rank >= 3 => [0].into_iter().chain(2..rank).chain([1]).collect(),
            _ => (0..rank).collect(),
        }
    }

    /// The extents in memory order with padding.
    pub(crate) fn extents(self, shape: &[usize]) -> Vec<usize> {
        let mut extents: Vec<usize> = self.order(shape.len()).into_iter().map(|axis| shape[axis]).collect();
        if self != Layout::Rows
            && let Some(last) = extents.last_mut()
        {
            *last = last.next_multiple_of(4);
        }
        extents
    }

    /// For each dimension, how many elements its neighbours lie apart.
    pub(crate) fn strides(self, shape: &[usize]) -> Vec<usize> {
        let extents = self.extents(shape);
        let mut strides = vec![0; shape.len()];
        let mut stride = 1;
        for (axis, extent) in self.order(shape.len()).into_iter().zip(extents).rev() {
            strides[axis] = stride;
            stride *= extent;
        }
        strides
    }

    /// Quads of a tensor.
    pub(crate) fn quads(self, shape: &[usize]) -> usize {
        self.extents(shape).into_iter().product::<usize>().div_ceil(4)
    }

    /// Whether a tensor lies in both layouts the same way.
    pub(crate) fn is_same(self, other: Layout, shape: &[usize]) -> bool {
        let (a, b) = (self.strides(shape), other.strides(shape));
        self == other || shape.iter().zip(a.iter().zip(b)).all(|(&extent, (&a, b))| extent == 1 || a == b)
    }
}

/// The bytes of a row-major constant in another layout, zeros in the padding.
pub(crate) fn reorder(data: &[u8], width: usize, shape: &[usize], layout: Layout) -> Vec<u8> {
    let (order, extents, strides) =
        (layout.order(shape.len()), layout.extents(shape), Layout::Rows.strides(shape));
    let count: usize = extents.iter().product();
    let mut result = vec![0; count * width];
    for place in 0..count {
        let (mut rest, mut at, mut inside) = (place, 0, true);
        for (&axis, &extent) in order.iter().zip(&extents).rev() {
            let index = rest % extent;
            inside &= index < shape[axis];
            at += index * strides[axis];
            rest /= extent;
        }
        if inside {
            result[place * width..(place + 1) * width].copy_from_slice(&data[at * width..(at + 1) * width]);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_lie_innermost_and_padded() {
        let shape = [2, 3, 4, 5];
        assert_eq!(Layout::Channels.extents(&shape), [2, 4, 5, 4]);
        assert_eq!(Layout::Channels.strides(&shape), [80, 1, 20, 4]);
        assert_eq!(Layout::Channels.quads(&shape), 40);
        assert_eq!(Layout::Rows.quads(&[1, 5]), 2);
        assert_eq!(Layout::Padded.strides(&[7, 5]), [8, 1]);
    }

    #[test]
    fn layouts_are_the_same_where_only_channels_are_long() {
        assert!(Layout::Channels.is_same(Layout::Rows, &[1, 7, 1, 1]));
        assert!(!Layout::Channels.is_same(Layout::Rows, &[2, 7, 1, 1]));
        assert!(Layout::Channels.is_same(Layout::Rows, &[2, 8, 1, 1]));
        assert!(!Layout::Channels.is_same(Layout::Rows, &[1, 8, 2, 1]));
        assert!(Layout::Padded.is_same(Layout::Rows, &[3, 12]));
        assert!(Layout::Padded.is_same(Layout::Rows, &[1, 13]));
    }

    #[test]
    fn constants_are_moved_with_zeros_in_the_padding() {
        let data: Vec<u8> = (1..=12).collect();
        let moved = reorder(&data, 1, &[1, 3, 2, 2], Layout::Channels);
        assert_eq!(moved, [1, 5, 9, 0, 2, 6, 10, 0, 3, 7, 11, 0, 4, 8, 12, 0]);
    }
}
