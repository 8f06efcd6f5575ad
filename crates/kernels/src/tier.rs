//! Instruction-set tiers: which exist, which this machine has, and the token that proves it.

use std::fmt;
use std::str::FromStr;

/// An instruction-set tier, lowest first.
///
/// A higher tier on one architecture includes the lower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// Portable Rust without intrinsics: the reference of every other tier.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// [`Tier::Avx2`] with AVX-VNNI: `vpdpbusd` on 256-bit registers.
    AvxVnni,
    /// AVX-512 F, BW, DQ, VL and VNNI.
    Avx512Vnni,
}

/// Environment variable that lowers the detected tier, so that every tier is testable on one machine.
pub const TIER_VARIABLE: &str = "FEWBIT_CPU_TIER";

impl Tier {
    /// Every tier this build knows, lowest first.
    pub const ALL: [Tier; 4] = [Tier::Scalar, Tier::Avx2, Tier::AvxVnni, Tier::Avx512Vnni];

    /// The name used in [`TIER_VARIABLE`], reports and kernel names.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            Tier::Avx2 => "avx2",
            Tier::AvxVnni => "avxvnni",
            Tier::Avx512Vnni => "avx512vnni",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a tier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a CPU tier (scalar, avx2, avxvnni or avx512vnni), found `{0}`")]
pub struct ParseTierError(String);

impl FromStr for Tier {
    type Err = ParseTierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Tier::ALL.into_iter().find(|tier| tier.name() == text).ok_or_else(|| ParseTierError(text.to_owned()))
    }
}

/// Proof that this machine has a [`Tier`]: the only way to get one is the feature check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TierToken {
    tier: Tier,
}

impl TierToken {
    /// The token of `tier`, or `None` where this machine lacks one of its features.
    pub fn new(tier: Tier) -> Option<Self> {
        let present = match tier {
            Tier::Scalar => true,
            Tier::Avx2 => has_avx2(),
            Tier::AvxVnni => has_avx2() && has_avx_vnni(),
            Tier::Avx512Vnni => has_avx2() && has_avx512_vnni(),
        };
        present.then_some(Self { tier })
    }

    /// Tokens of every tier this machine has, lowest first.
    pub fn available() -> Vec<Self> {
        Tier::ALL.into_iter().filter_map(Self::new).collect()
    }

    /// The best tier this machine has that is not above `limit`.
    pub fn best(limit: Option<Tier>) -> Self {
        Self::available()
            .into_iter()
            .rfind(|token| limit.is_none_or(|limit| token.tier <= limit))
            .unwrap_or(Self { tier: Tier::Scalar })
    }

    /// The tier that this token proves.
    pub fn tier(self) -> Tier {
        self.tier
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[cfg(target_arch = "x86_64")]
fn has_avx_vnni() -> bool {
    is_x86_feature_detected!("avxvnni")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512_vnni() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx_vnni() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512_vnni() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for tier in Tier::ALL {
            assert_eq!(tier.name().parse::<Tier>(), Ok(tier));
        }
        assert!("avx1024".parse::<Tier>().is_err());
    }

    #[test]
    fn limit_never_raises_the_tier() {
        assert_eq!(TierToken::best(Some(Tier::Scalar)).tier(), Tier::Scalar);
        for token in TierToken::available() {
            assert_eq!(TierToken::best(Some(token.tier())), token);
        }
    }
}
