//! Harness of the integration tests: each case runs on both engines, with real sockets and real upstreams.
//!
//! A case is an `async fn` inside [`cases!`]; it becomes two tests, `case::host` and `case::envoy`.
//! A [`Setup`] describes a gateway over the shape of `envoy/demo.yaml`; [`Setup::start`] runs it in an
//! [`Engine`] and gives a [`Gateway`]. An [`Upstream`] is a real server inside the test that records what it got;
//! a [`Client`] keeps its connection; [`raw`] writes bytes of one's own. Every port is the kernel's choice,
//! every wait is for a condition and bounded.

pub mod browser;
pub mod certificates;
pub mod child;
pub mod client;
pub mod console;
pub mod engine;
pub mod gateway;
pub mod guest;
pub mod http2;
pub mod keys;
pub mod load;
pub mod metrics;
pub mod probe;
pub mod programs;
pub mod prometheus;
pub mod python;
pub mod raw;
pub mod registry;
pub mod setup;
pub mod story;
pub mod upstream;

use std::future::Future;
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

pub use browser::Browser;
pub use client::{Client, Reply};
pub use console::Console;
pub use engine::Engine;
pub use gateway::Gateway;
pub use load::Load;
pub use setup::Setup;
pub use upstream::Upstream;

/// Longest time that a condition is waited for. Far above what any takes, for a busy machine's sake.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Longest time that a case may take.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
pub const GLANCE: Duration = Duration::from_millis(10);

/// Writes a file by a move, so that nobody who watches it reads half of it.
///
/// # Panics
///
/// Where that is not possible.
pub fn put(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, path).unwrap();
}

/// Turns each `async fn name(engine: Engine)` into the tests `name::host` and `name::envoy`.
///
/// `host async fn` makes the first of them only, `envoy async fn` the second; the case's documentation says why.
#[macro_export]
macro_rules! cases {
    () => {};
    ($(#[$meta:meta])* async fn $name:ident($engine:ident: Engine) $body:block $($rest:tt)*) => {
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "a case may need nothing from its file")]
            use super::*;

            async fn case($engine: $crate::Engine) $body

            #[test]
            fn host() {
                $crate::run(case($crate::Engine::Host));
            }

            #[test]
            fn envoy() {
                $crate::run(case($crate::Engine::Envoy));
            }
        }
        $crate::cases!($($rest)*);
    };
    ($(#[$meta:meta])* envoy async fn $name:ident($engine:ident: Engine) $body:block $($rest:tt)*) => {
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "a case may need nothing from its file")]
            use super::*;

            async fn case($engine: $crate::Engine) $body

            #[test]
            fn envoy() {
                $crate::run(case($crate::Engine::Envoy));
            }
        }
        $crate::cases!($($rest)*);
    };
    ($(#[$meta:meta])* host async fn $name:ident($engine:ident: Engine) $body:block $($rest:tt)*) => {
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "a case may need nothing from its file")]
            use super::*;

            async fn case($engine: $crate::Engine) $body

            #[test]
            fn host() {
                $crate::run(case($crate::Engine::Host));
            }
        }
        $crate::cases!($($rest)*);
    };
}

/// Waits until a condition, which may await, holds; fails with the message after [`PATIENCE`].
#[macro_export]
macro_rules! assert_eventually {
    ($condition:expr, $($message:tt)+) => {{
        let start = std::time::Instant::now();
        while !$condition {
            assert!(start.elapsed() < $crate::PATIENCE, $($message)+);
            tokio::time::sleep($crate::GLANCE).await;
        }
    }};
}

/// Cases that run beside each other hold it together, one that must be alone holds it by itself.
static MACHINE: RwLock<()> = RwLock::new(());

/// Runs a case to its end on a runtime of its own.
///
/// # Panics
/// Where the case does, or takes longer than two minutes.
pub fn run(case: impl Future<Output = ()>) {
    let _together = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    run_to_end(case);
}

/// The same while no other case of this process runs, for one that measures time.
///
/// # Panics
/// As [`run`].
pub fn run_alone(case: impl Future<Output = ()>) {
    let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    run_to_end(case);
}

fn run_to_end(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let in_time = runtime.block_on(async { tokio::time::timeout(CASE_LIMIT, case).await });
    assert!(in_time.is_ok(), "the case took longer than {CASE_LIMIT:?}");
}
