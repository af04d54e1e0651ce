//! Which of several rollouts a request is for: to a document the first that fits, to the Gateway API the most specific.

use crate::render::RenderError;
use crate::render::model::{Model, Rollout};

/// Refuses a document in which the two differ.
///
/// # Errors
/// An earlier rollout fits requests that the Gateway API would give to a later one.
pub(super) fn check(target: &'static str, model: &Model) -> Result<(), RenderError> {
    let pair = |(at, later)| {
        let mut earlier = model.rollouts.iter().take(at);
        let earlier = earlier.find(|earlier| yields(earlier, later))?;
        Some((earlier, later))
    };
    match model.rollouts.iter().enumerate().find_map(pair) {
        None => Ok(()),
        Some((earlier, later)) => Err(RenderError::Unfit {
            target,
            message: format!(
                "the rollout {:?} comes before {:?}, whose hosts or paths are more specific, and the Gateway API asks \
                 the most specific one first; put {:?} first",
                earlier.id, later.id, later.id
            ),
        }),
    }
}

/// Whether the Gateway API would give a request that both fit to the later one.
fn yields(earlier: &Rollout, later: &Rollout) -> bool {
    let paths = [earlier, later].map(|rollout| rollout.path.as_deref().unwrap_or("/"));
    let [own, other] = paths;
    if !(covers(own, other) || covers(other, own)) {
        return false;
    }
    hosts(earlier).any(|own_host| {
        let mut others = hosts(later).filter(|other| overlap(own_host, other));
        others.any(|other_host| {
            let (own_rank, other_rank) = (rank(own_host), rank(other_host));
            other_rank > own_rank || (other_rank == own_rank && other.len() > own.len())
        })
    })
}

/// The hosts that a rollout is for; `*` is all.
fn hosts(rollout: &Rollout) -> impl Iterator<Item = &str> {
    let all = rollout.hosts.is_empty().then_some("*");
    all.into_iter()
        .chain(rollout.hosts.iter().map(String::as_str))
}

/// Whether every path that begins with `other` begins with `prefix`.
fn covers(prefix: &str, other: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    other
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether some host fits both.
fn overlap(one: &str, other: &str) -> bool {
    let fits = |pattern: &str, host: &str| match pattern.strip_prefix('*') {
        Some(suffix) => host.trim_start_matches('*').ends_with(suffix),
        None => pattern == host,
    };
    fits(one, other) || fits(other, one)
}

/// How specific a host is: an exact one more than any pattern, a longer pattern more than a shorter one.
fn rank(host: &str) -> (bool, usize) {
    (!host.starts_with('*'), host.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_overlap() {
        for (one, other, expected) in [
            ("*", "a.example.com", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "*.a.example.com", true),
            ("a.example.com", "b.example.com", false),
            ("a.example.com", "a.example.com", true),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn paths_cover_whole_segments() {
        assert!(covers("/", "/v1") && covers("/v1", "/v1/chat") && covers("/v1/", "/v1/chat"));
        assert!(!covers("/v1", "/v10") && !covers("/v1/chat", "/v1"));
    }

    #[test]
    fn exact_hosts_come_before_patterns_and_long_ones_before_short_ones() {
        let mut hosts = ["*", "*.example.com", "a.b", "*.a.example.com"];
        hosts.sort_by_key(|host| rank(host));
        assert_eq!(hosts, ["*", "*.example.com", "*.a.example.com", "a.b"]);
    }
}
