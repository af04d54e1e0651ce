//! Rollouts under a virtual clock: one test for each rule.

mod health;
mod schedule;
mod shadow;
mod tripwire;
