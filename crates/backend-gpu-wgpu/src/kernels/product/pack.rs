//! Output channels in quads and blocks of quads, and constants packed by them.

use super::Params;
use super::geometry::{Geometry, Weights};
use super::text::Tile;

/// Four copies of a signed code.
pub(super) fn word(code: i32) -> u32 {
    u32::from(code as u8) * 0x0101_0101
}

/// How output channels become quads and blocks of quads.
pub(super) struct Channels {
    pub(super) groups: usize,
    /// Output channels and quads of them in a group.
    pub(super) width: usize,
    pub(super) quads: usize,
    /// Blocks of a group, and quads of a block.
    pub(super) blocks: usize,
    pub(super) block: usize,
    /// Whether floats lie by output channel, not by input channel.
    by_channel: bool,
}

impl Channels {
    pub(super) fn new(geometry: &Geometry, tile: &Tile) -> Channels {
        let (groups, width, block) = if geometry.is_depthwise() {
            (1, geometry.channels, 1)
        } else {
            (geometry.groups, geometry.width(), tile.quads)
        };
        let quads = width.div_ceil(4);
        Channels {
            groups,
            width,
            quads,
            blocks: quads.div_ceil(block),
            block,
            by_channel: tile.shared.is_some(),
        }
    }

    /// For each quad of each block, the channel of each lane; `None` behind the last one of a group.
    pub(super) fn quads(&self) -> impl Iterator<Item = [Option<usize>; 4]> + '_ {
        (0..self.groups).flat_map(move |group| {
            (0..self.blocks * self.block).map(move |quad| {
                [0, 1, 2, 3].map(|lane| {
                    let channel = 4 * quad + lane;
                    (channel < self.width).then_some(group * self.width + channel)
                })
            })
        })
    }

    /// Bytes `[block][tap][quad of input channels][quad of the block][output lane][input lane]`; of a depthwise
    /// convolution `[quad][tap][lane]`.
    pub(super) fn pack_codes(&self, geometry: &Geometry, weights: &Weights<i8>) -> Vec<u8> {
        let quads: Vec<[Option<usize>; 4]> = self.quads().collect();
        let (taps, depth) = (geometry.taps(), geometry.depth());
        let mut bytes = Vec::new();
        let byte = |lane: Option<usize>, tap: usize, k: usize| {
            lane.filter(|_| k < depth).map_or(0, |channel| weights.at(channel, tap, k) as u8)
        };
        if geometry.is_depthwise() {
            for quad in quads {
                for tap in 0..taps {
                    bytes.extend(quad.map(|lane| byte(lane, tap, 0)));
                }
            }
            return bytes;
        }
        for block in quads.chunks(self.block) {
            for tap in 0..taps {
                for k in (0..depth).step_by(4) {
                    for lane in block.iter().flatten() {
                        bytes.extend((k..k + 4).map(|k| byte(*lane, tap, k)));
                    }
                }
            }
        }
        bytes
    }

    /// Weights of a product of floats `[block][tap][quad of input channels][quad of the block][input lane][output lane]`, where lanes
    /// share weights `[output channel of the block][input lane]`; of a depthwise convolution `[quad][tap][lane]`.
    pub(super) fn pack_reals<T: Copy + Default>(&self, geometry: &Geometry, weights: &Weights<T>) -> Vec<T> {
        let quads: Vec<[Option<usize>; 4]> = self.quads().collect();
        let (taps, depth) = (geometry.taps(), geometry.depth());
        let mut reals = Vec::new();
        let real = |lane: Option<usize>, tap: usize, k: usize| {
            lane.filter(|_| k < depth).map_or_else(T::default, |channel| weights.at(channel, tap, k))
        };
        if geometry.is_depthwise() {
            for quad in quads {
                for tap in 0..taps {
                    reals.extend(quad.map(|lane| real(lane, tap, 0)));
                }
            }
            return reals;
        }
        for block in quads.chunks(self.block) {
            for tap in 0..taps {
                for k in (0..depth).step_by(4) {
                    if self.by_channel {
                        for lane in block.iter().flatten() {
                            reals.extend((k..k + 4).map(|k| real(*lane, tap, k)));
                        }
                        continue;
                    }
                    for quad in block {
                        for k in k..k + 4 {
                            reals.extend(quad.map(|lane| real(lane, tap, k)));
                        }
                    }
                }
            }
        }
        reals
    }

    /// The members of `product_params.wgsl` that codes and floats share.
    pub(super) fn params(&self, g: &Geometry) -> Params {
        Params::new()
            .u(&[g.positions(), g.input[0], g.input[1], g.channels.div_ceil(4)])
            .u(&[g.output[0], g.output[1], g.out_channels.div_ceil(4)])
            .u(&g.kernel)
            .u(&g.strides)
            .u(&g.dilations)
            .u(&g.pads)
            .u(&[g.depth().div_ceil(4), self.quads, self.blocks, self.groups])
    }
}
