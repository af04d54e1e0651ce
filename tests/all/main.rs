//! One integration binary: each behaviour on both engines.
