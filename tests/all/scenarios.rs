//! Rollouts under a virtual clock: one test for each rule.

mod health;
mod latch;
mod outcomes;
mod schedule;
mod shadow;
mod tripwire;
