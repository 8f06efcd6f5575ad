//! Programs over several devices against one device, and times of real programs.

mod composite;
mod partition;
mod shapes;
mod times;
