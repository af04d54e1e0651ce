//! The decisions of Switchover: pure, without a host, returned as data.
#![forbid(unsafe_code)]
