//! Harness: engines, upstreams and clients for the integration tests.
