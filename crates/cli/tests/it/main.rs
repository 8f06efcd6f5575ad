//! The program as people and scripts meet it: transcripts, documents, JSON, and what it says to bad input.

mod bad_input;
mod explained;
mod json;
mod mixed;
mod plugins;
mod program;
mod transcripts;
mod vendor;
