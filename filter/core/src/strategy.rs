//! Who gets a request: shares by turns, by lot, or by the hash of a key.

pub(crate) mod random;
pub(crate) mod rendezvous;
pub(crate) mod round_robin;

pub use random::Random;
pub(crate) use rendezvous::Salt;
pub use round_robin::RoundRobin;
