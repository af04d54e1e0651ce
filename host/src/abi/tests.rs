//! What guests see of the ABI, with guests of a few lines.

mod calls;
mod guest;
mod lints;
mod observed;
mod phases;
mod start;
