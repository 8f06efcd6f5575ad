//! Behaviour of the core across its modules.

mod capability;
mod hostile;
mod inference;
mod mixed;
mod oracle;
mod planner;
mod positions;
mod quantized;
mod semantics;
mod support;
