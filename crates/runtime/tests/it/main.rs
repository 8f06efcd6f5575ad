//! Programs over several devices against one device, and times of real programs.

mod partition;
mod times;
