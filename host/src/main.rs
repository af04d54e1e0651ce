//! The `switchover` command.

use std::process::ExitCode;

/// Requests are many small allocations on one thread, which this allocator serves fastest.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    switchover_host::cli::run()
}
