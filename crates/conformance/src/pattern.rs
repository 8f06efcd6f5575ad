//! Patterns of case ids: parts between slashes, `*` for one part or any characters of one, `**` for any parts.

use serde::{Deserialize, Serialize};

/// A pattern of case ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Pattern(pub(crate) String);

impl Pattern {
    pub(crate) fn matches(&self, id: &str) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let parts: Vec<&str> = id.split('/').collect();
        parts_match(&pattern, &parts)
    }
}

fn parts_match(pattern: &[&str], parts: &[&str]) -> bool {
    match (pattern, parts) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=parts.len()).any(|skip| parts_match(rest, &parts[skip..])),
        ([first, rest @ ..], [part, others @ ..]) => part_matches(first, part) && parts_match(rest, others),
        _ => false,
    }
}

/// Whether one part fits, where `*` stands for any characters: the pieces between stars must follow one another.
fn part_matches(pattern: &str, part: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == part };
    let Some(rest) = part.strip_prefix(head) else { return false };
    (0..=rest.len()).filter(|&at| rest.is_char_boundary(at)).any(|at| part_matches(tail, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_parts() {
        let matches = |pattern: &str, id: &str| Pattern(pattern.into()).matches(id);
        assert!(matches("op_int/conv/**", "op_int/conv/k3/u8-affine/seed1"));
        assert!(matches("op_int/**/seed1", "op_int/conv/k3/u8-affine/seed1"));
        assert!(matches("**", "a/b"));
        assert!(matches("op_int/*/k*3/**", "op_int/conv/k13/x"));
        assert!(!matches("op_int/*", "op_int/conv/k3"));
        assert!(!matches("op_int/conv", "op_int/convolution"));
        assert!(!matches("op_int/c*v/**", "op_int/convolution/x"));
    }
}
