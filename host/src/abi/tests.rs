//! What guests see of the ABI, with guests of a few lines.

mod guest;
mod observed;
mod start;
