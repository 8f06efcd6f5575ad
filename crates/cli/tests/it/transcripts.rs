//! What a person sees: whole commands with their output, in `tests/cmd`.

#[test]
fn transcripts_are_what_the_program_prints() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
