//! What guests may call while they start or allocate: logging, clocks and the like, nothing that acts on a stream.
//!
//! Source: Envoy's host restricts both phases; a call that is not allowed is a trap.

/// A phase in which only some imports may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restriction {
    /// All may be called.
    #[default]
    None,
    /// `_start`, `_initialize` or `main` runs.
    Start,
    /// The guest's allocator runs, for a value that the host returns.
    Allocation,
}

/// Allowed while a guest allocates.
const IN_ALLOCATION: [&str; 4] = ["proxy_log", "fd_write", "clock_time_get", "poll_oneoff"];

/// Of WASI, refused even while a guest starts.
const NOT_AT_START: [&str; 6] = [
    "fd_read",
    "fd_seek",
    "fd_close",
    "path_open",
    "sched_yield",
    "proc_exit",
];

impl Restriction {
    /// Where `import` is refused now, when that is, in words.
    #[must_use]
    pub fn refuses(self, import: &str) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Start => (!allowed_at_start(import)).then_some("while the guest starts"),
            Self::Allocation => {
                (!IN_ALLOCATION.contains(&import)).then_some("while the guest allocates")
            }
        }
    }
}

fn allowed_at_start(import: &str) -> bool {
    match import {
        "proxy_log" | "emscripten_notify_memory_growth" => true,
        "pthread_equal" => false,
        _ => !import.starts_with("proxy_") && !NOT_AT_START.contains(&import),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_that_start_may_log_and_ask_wasi() {
        assert_eq!(Restriction::None.refuses("proxy_http_call"), None);
        for allowed in ["proxy_log", "fd_write", "random_get", "path_link"] {
            assert_eq!(Restriction::Start.refuses(allowed), None, "{allowed}");
        }
        for refused in ["proxy_get_property", "proxy_done", "proc_exit"] {
            assert!(Restriction::Start.refuses(refused).is_some(), "{refused}");
        }
        assert_eq!(Restriction::Allocation.refuses("proxy_log"), None);
        assert!(Restriction::Allocation.refuses("random_get").is_some());
    }
}
