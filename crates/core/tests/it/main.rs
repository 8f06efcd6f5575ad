//! Behaviour of the core across its modules.

mod inference;
mod oracle;
mod quantized;
mod semantics;
mod support;
