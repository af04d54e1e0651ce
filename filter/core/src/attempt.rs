//! The attempt role: which credential one attempt upstream carries.
//!
//! Attempts of a request share one header map: what is set for the first is still there for the second. So an attempt
//! first loses the credentials of all environments, then gets its own; one whose environment is unknown gets none.

use crate::document::{MODE_HEADER, Rollout};
use crate::reply::{Refusal, Reply};
use crate::route::{Apply, Edit};

/// The property in which the route role leaves its [`Mark`].
pub const MARK_PROPERTY: &str = "switchover_decision";
/// The property in which the attempt role leaves the name of the attempt's environment, empty where it is unknown.
pub const ANSWERED_PROPERTY: &str = "switchover_attempt";

/// The property in which the attempt role leaves how an attempt has failed whose model not every environment takes.
pub const FAILED_PROPERTY: &str = "switchover_failed";

/// An attempt was answered with 429.
const LIMITED: u8 = b'4';

/// What the route role leaves in the stream. Without it, no attempt gets a credential.
///
/// As text `3;ROLLOUT;ENVIRONMENT;TRUST;WORKER;STREAM;TAKERS;PLUGIN`, the first being the version of this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark<'a> {
    /// The rollout's identity.
    pub rollout: &'a str,
    /// The name of the environment that was chosen.
    pub environment: &'a str,
    /// Whether attempts may carry credentials; exempt requests may not.
    pub trusted: bool,
    /// Where the route role decided.
    pub origin: Origin,
    /// The environments that take the request's model, as [`Rollout::takers`] has them.
    pub takers: &'a str,
    /// The name of the route plugin.
    pub plugin: &'a str,
}

/// A stream of the route role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The number of its VM.
    pub worker: u64,
    /// The number of its context there.
    pub stream: u32,
}

/// How an attempt with this status has failed, and its `retry-after`.
#[must_use]
pub fn failed(status: u16, retry_after: Option<&[u8]>) -> Vec<u8> {
    let kind = if status == 429 { LIMITED } else { b'5' };
    let mut text = vec![kind];
    text.extend_from_slice(retry_after.unwrap_or_default());
    text
}

// === impl Mark ===

impl<'a> Mark<'a> {
    /// Writes the text form over `into`.
    #[inline]
    pub fn write(&self, into: &mut Vec<u8>) {
        let trust: &str = if self.trusted { "trusted" } else { "exempt" };
        into.clear();
        for part in ["3;", self.rollout, ";", self.environment, ";", trust, ";"] {
            into.extend_from_slice(part.as_bytes());
        }
        write_hex(self.origin.worker, into);
        write_hex(self.origin.stream.into(), into);
        for part in [self.takers, ";", self.plugin] {
            into.extend_from_slice(part.as_bytes());
        }
    }

    /// Reads the text form; `None` if it is another version's or no mark at all.
    #[must_use]
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut parts = str::from_utf8(bytes).ok()?.splitn(8, ';');
        if parts.next() != Some("3") {
            return None;
        }
        let (rollout, environment) = (parts.next()?, parts.next()?);
        let trusted = match parts.next()? {
            "trusted" => true,
            "exempt" => false,
            _ => return None,
        };
        let origin = Origin {
            worker: u64::from_str_radix(parts.next()?, 16).ok()?,
            stream: u32::from_str_radix(parts.next()?, 16).ok()?,
        };
        Some(Self {
            rollout,
            environment,
            trusted,
            origin,
            takers: parts.next()?,
            plugin: parts.next()?,
        })
    }

    /// Whether an attempt may go to an environment: not to one that does not take the request's model.
    #[must_use]
    #[inline]
    pub fn may_go(&self, environment: &str) -> bool {
        self.takers.is_empty() || self.takers.split(',').any(|own| own == environment)
    }
}

/// Writes a number in hexadecimal digits, and `;`.
#[inline]
fn write_hex(number: u64, into: &mut Vec<u8>) {
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        let nibble = u8::try_from(number >> (digit * 4) & 15).unwrap_or(0);
        into.push(if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + nibble - 10
        });
    }
    into.push(b';');
}

impl Rollout {
    /// The environment of a cluster, by the clusters that the environments list.
    #[must_use]
    #[inline]
    pub fn environment_of_cluster(&self, cluster: &[u8]) -> Option<usize> {
        let has = |clusters: &[crate::document::ClusterName]| {
            clusters
                .iter()
                .any(|own| own.as_str().as_bytes() == cluster)
        };
        self.environments
            .iter()
            .position(|environment| has(environment.clusters()))
    }

    /// The names of the environments that take a model, with commas between; empty where all do, where none does, and where
    /// there is no model.
    #[must_use]
    #[inline]
    pub fn takers(&self, model: Option<&str>) -> String {
        match model {
            Some(model) if self.binds_models() => self.names_of_takers(model),
            _ => String::new(),
        }
    }

    #[cold]
    fn names_of_takers(&self, model: &str) -> String {
        let mut takers = String::new();
        for (index, environment) in self.environments.iter().enumerate() {
            if self.may_go(index, model) {
                takers.push_str(if takers.is_empty() { "" } else { "," });
                takers.push_str(environment.name.as_str());
            }
        }
        takers
    }

    /// The answer to a request whose model is taken by no environment that answers; `last` is how the attempt before ended,
    /// as [`failed`] wrote it, empty where it did not answer.
    #[must_use]
    #[cold]
    pub fn model_unavailable(&self, last: &[u8]) -> Reply {
        let message =
            "The model is not available: the version of the service that has it has failed.";
        let mut reply = Refusal::ModelUnavailable.reply(message, Some("model"));
        if let Some((kind, wait)) = last.split_first() {
            if *kind == LIMITED {
                reply.status = 429;
            }
            match str::from_utf8(wait) {
                Ok(wait) if !wait.is_empty() => reply.headers.push(("retry-after", wait.into())),
                _ => {}
            }
        }
        reply
    }

    /// The changes of an attempt's headers; `None` is an attempt whose environment is unknown.
    #[inline]
    pub fn edit_attempt(&self, environment: Option<usize>, trusted: bool, apply: Apply<'_>) {
        let environment = environment.and_then(|index| self.environments.get(index));
        let own = environment
            .and_then(|environment| environment.credential.as_ref())
            .filter(|_| trusted);
        for (header, _) in &self.credential_headers {
            // The host may set only the first of several values, so even its own header is removed first.
            apply(Edit::Remove(header.as_str()));
        }
        match environment {
            Some(environment) => {
                apply(Edit::Set(MODE_HEADER, environment.name.as_str().as_bytes()))
            }
            None => apply(Edit::Remove(MODE_HEADER)),
        }
        if let Some(credential) = own {
            apply(Edit::Set(
                credential.header.as_str(),
                credential.value.expose(),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::parse;

    fn edits(rollout: &Rollout, environment: Option<usize>, trusted: bool) -> Vec<String> {
        let mut edits = Vec::new();
        rollout.edit_attempt(environment, trusted, &mut |edit| {
            edits.push(match edit {
                Edit::Set(name, value) => format!("{name}={}", String::from_utf8_lossy(value)),
                Edit::Add(name, _) => format!("{name}+"),
                Edit::Remove(name) => format!("{name}-"),
            });
        });
        edits
    }

    #[test]
    fn every_other_credential_goes_first() {
        let document = parse(
            br#"{"attempts": true, "routing": {
                "blue": {"weight": 1, "clusters": ["blue-only"], "credential": {"header": "x-blue", "scheme": "", "value": "B"}},
                "green": {"weight": 1, "credential": {"value": "G"}},
                "plain": {"weight": 1}}}"#,
            &|_| None,
        )
        .unwrap();
        let rollout = &document.rollouts()[0];
        let by_cluster = |cluster: &str| rollout.environment_of_cluster(cluster.as_bytes());
        assert_eq!(
            edits(rollout, by_cluster("blue-only"), true),
            [
                "x-blue-",
                "authorization-",
                "x-deployment-mode=blue",
                "x-blue=B"
            ]
        );
        assert_eq!(
            edits(rollout, by_cluster("green"), true),
            [
                "x-blue-",
                "authorization-",
                "x-deployment-mode=green",
                "authorization=Bearer G"
            ]
        );
        assert_eq!(
            edits(rollout, by_cluster("green"), false),
            ["x-blue-", "authorization-", "x-deployment-mode=green"]
        );
        assert_eq!(
            edits(rollout, by_cluster("plain"), true),
            ["x-blue-", "authorization-", "x-deployment-mode=plain"]
        );
        assert_eq!(
            edits(rollout, by_cluster("blue"), true),
            ["x-blue-", "authorization-", "x-deployment-mode-"]
        );
    }

    #[test]
    fn models_bind_attempts() {
        let document = parse(
            br#"{"stable": "all", "attempts": true, "models": {"catalogue": [{"id": "a-1"}, {"id": "b"}], "hold_headers": true, "unknown": "pass"}, "routing": {
                "all": {"weight": 1}, "gen-a": {"weight": 1, "models": ["a*"]}, "only-b": {"weight": 1, "models": ["b"]}}}"#,
            &|_| None,
        )
        .unwrap();
        let takers = |model| document.rollouts()[0].takers(model);
        assert_eq!(takers(Some("a-1")), "all,gen-a");
        assert_eq!(takers(Some("b")), "all,only-b");
        assert_eq!(takers(Some("c;d")), "all");
        assert_eq!(takers(None), "");
        let may_go = |takers, to| {
            let origin = Origin {
                worker: 1,
                stream: 1,
            };
            let mark = Mark {
                rollout: "r",
                environment: "all",
                trusted: true,
                origin,
                takers,
                plugin: "p",
            };
            mark.may_go(to)
        };
        assert!(may_go("all,gen-a", "gen-a") && may_go("all,gen-a", "all") && may_go("", "only-b"));
        assert!(
            !may_go("all,gen-a", "only-b") && !may_go("all,gen-a", "gen") && !may_go("all", "")
        );
    }

    #[test]
    fn a_limit_that_was_met_elsewhere_is_told() {
        let document = parse(br#"{"routing": {"a": {"weight": 1}}}"#, &|_| None).unwrap();
        let reply = |last: &[u8]| {
            let reply = document.rollouts()[0].model_unavailable(last);
            let wait = reply
                .headers
                .iter()
                .find(|(name, _)| *name == "retry-after");
            (reply.status, wait.map(|(_, wait)| wait.clone()))
        };
        assert_eq!(reply(&failed(429, Some(b"7"))), (429, Some("7".into())));
        assert_eq!(reply(&failed(429, None)), (429, None));
        assert_eq!(reply(&failed(500, Some(b"7"))), (503, Some("7".into())));
        for unknown in [&b""[..], b"\xff\xff"] {
            assert_eq!(reply(unknown), (503, None));
        }
    }

    proptest! {
        #[test]
        fn marks_are_read_as_written(rollout in "[A-Za-z0-9._-]{1,8}", environment in "[a-z0-9-]{1,8}", trusted: bool, worker: u64, stream: u32, takers in "[a-z0-9,-]{0,8}", plugin in ".{0,8}") {
            let mark = Mark { rollout: &rollout, environment: &environment, trusted, origin: Origin { worker, stream }, takers: &takers, plugin: &plugin };
            let mut text = b"left over".to_vec();
            mark.write(&mut text);
            prop_assert_eq!(Mark::parse(&text), Some(mark));
        }

        #[test]
        fn anything_else_is_no_mark(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(Mark::parse(&bytes), None);
        }
    }
}
