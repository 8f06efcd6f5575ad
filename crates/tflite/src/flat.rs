//! Flatbuffers: the wire format, read from bytes that nobody vouches for and written.
//!
//! After the FlatBuffers documentation, "FlatBuffer Internals". Code that is generated from a schema follows pointers
//! with unsafe blocks once a verifier has been there, and cannot place data on addresses of 16 bytes without them,
//! which TFLite's schema asks for (`force_align: 16`). What TFLite needs of the format is small enough to have neither.

mod read;
mod write;

pub(crate) use read::{Flat, Table};
pub(crate) use write::{Field, Fields, write};
