//! Tables and reports from the documents of the other crates.
