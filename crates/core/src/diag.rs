//! Codes of messages: what each means and what to do about it.
//!
//! Owns the form of an entry and how tables of them are made; every crate keeps the table of its own codes beside the
//! errors that carry them. `fewbit explain` and the pages of `docs/errors` read the tables.

use serde::Serialize;

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The stable code, in capitals: `AREA` or `AREA-WORD`.
    pub code: &'static str,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// What it means, in one or more sentences.
    pub explanation: &'static str,
    /// What to do about it, in one or more sentences.
    pub remedy: &'static str,
}

impl Entry {
    /// Whether the entry has the form that readers rely on: a code of capitals and hyphens, texts that are sentences.
    pub fn is_well_formed(&self) -> bool {
        let capitals = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase());
        let sentence = |text: &str| text.ends_with('.') && text.starts_with(|c: char| c.is_uppercase());
        self.code.split('-').all(capitals)
            && !self.title.is_empty()
            && !self.title.ends_with('.')
            && sentence(self.explanation)
            && sentence(self.remedy)
    }
}

/// How alike two words are spelt: 1 for equal ones, 0 for words without a letter in common.
pub fn likeness(a: &str, b: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(a, b)
}

/// The candidate nearest to a misspelt word, unless all are far.
pub fn nearest<'n>(word: &str, candidates: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    candidates
        .into_iter()
        .map(|candidate| (likeness(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Makes a constant for each code, and `ALL`, the table of their entries.
///
/// ```
/// fewbit_core::codes! {
///     /// No fuel.
///     FUEL = "TANK-FUEL", "no fuel", "The tank is empty.", "Fill it.";
/// }
/// assert_eq!(FUEL, ALL[0].code);
/// ```
#[macro_export]
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $title:literal, $explanation:literal, $remedy:literal;)*) => {
        $(#[doc = concat!("The code `", $code, "`: ", $title, ".")] pub const $name: &str = $code;)*
        /// Every code, in the order of documentation.
        pub const ALL: &[$crate::diag::Entry] = &[$($crate::diag::Entry {
            code: $code, title: $title, explanation: $explanation, remedy: $remedy,
        }),*];
    };
}

/// Gives every variant of an enum of kinds its entry, and the enum the table `CODES` of all.
///
/// A variant without an entry does not compile, and the table is made of the same list.
///
/// ```
/// pub enum Lack { Fuel, Air }
/// fewbit_core::kinds_with_codes! { Lack {
///     Fuel = "TANK-FUEL", "no fuel", "The tank is empty.", "Fill it.";
///     Air = "TYRE-AIR", "no air", "A tyre is flat.", "Mend and fill it.";
/// } }
/// assert_eq!(Lack::Air.entry().code, "TYRE-AIR");
/// assert_eq!(Lack::CODES.len(), 2);
/// ```
#[macro_export]
macro_rules! kinds_with_codes {
    ($kind:ident { $($variant:ident = $code:literal, $title:literal, $explanation:literal, $remedy:literal;)* }) => {
        impl $kind {
            /// The entries of all kinds, in the order of documentation.
            pub const CODES: &'static [$crate::diag::Entry] = &[$($crate::diag::Entry {
                code: $code, title: $title, explanation: $explanation, remedy: $remedy,
            }),*];

            /// What its code means.
            pub fn entry(self) -> &'static $crate::diag::Entry {
                match self {
                    $($kind::$variant => &$crate::diag::Entry {
                        code: $code, title: $title, explanation: $explanation, remedy: $remedy,
                    },)*
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CoreErrorKind;
    use crate::capability::reasons;

    #[test]
    fn the_tables_of_this_crate_are_well_formed_and_name_each_code_once() {
        let all: Vec<&Entry> = CoreErrorKind::CODES.iter().chain(reasons::ALL).collect();
        for (index, entry) in all.iter().enumerate() {
            assert!(entry.is_well_formed(), "{entry:?}");
            assert!(all[..index].iter().all(|other| other.code != entry.code), "{}", entry.code);
        }
        assert!(reasons::ALL.iter().all(|entry| entry.code.starts_with("CAP-")));
        assert!(CoreErrorKind::CODES.iter().all(|entry| !entry.code.contains('-')));
    }

    #[test]
    fn a_misspelt_word_is_answered_with_the_nearest() {
        assert_eq!(nearest("CAP-STRIED", ["CAP-STRIDE", "CAP-OP"]), Some("CAP-STRIDE"));
        assert_eq!(nearest("cortex-m5", ["cortex-m55", "coral-edgetpu"]), Some("cortex-m55"));
        assert_eq!(nearest("zzz", ["cortex-m55"]), None);
    }
}
