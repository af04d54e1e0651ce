//! Making a trip permanent: what one proxy saw becomes a rollback for all, also after restarts.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::live::{Admin, Figures, LiveError};
use super::status::Status;
use super::{Loaded, Outcome, Request, RolloutError, Verb, change, timestamp};

/// How long a tripwire must be seen tripped before it counts, where it was not seen armed before: a proxy may not have
/// taken up a resume that has just been written.
const CONFIRMATION: Duration = Duration::from_secs(1);

/// Who a watcher is in the audit log.
const WATCH: &str = "watch";

/// A watcher.
pub struct Watch {
    document: PathBuf,
    rollout: Option<String>,
    audit: Option<PathBuf>,
    proxies: Vec<Admin>,
    seen: HashMap<Key, Tripwire>,
    reachable: HashMap<String, bool>,
    /// The rollouts of the last document that could be read.
    rollouts: Vec<Status>,
    /// Why the document cannot be read, as it was told last.
    unreadable: Option<String>,
    /// Why a rollout that has tripped is not rolled back, as it was told last.
    pending: HashMap<String, String>,
}

/// A tripwire of a proxy: a new rollout or a new count of resumes is another.
type Key = (String, String, u32);

/// A tripwire as it was last seen.
#[derive(Debug, Clone, Copy)]
enum Tripwire {
    Armed,
    /// Tripped since this instant or before, and not seen armed.
    Tripped(Instant),
}

/// What a watcher has seen or done.
#[derive(Debug)]
pub enum Event {
    /// A proxy gives no figures; told once, until it does.
    Lost(LiveError),
    /// A proxy gives figures, the first or again.
    Found(String),
    /// A proxy's tripwire has tripped, and the document was changed.
    RolledBack {
        /// The proxy.
        proxy: String,
        /// The change.
        outcome: Outcome,
    },
    /// A proxy's tripwire has tripped, and the document cannot be changed; told once for each reason, and tried again.
    Pending {
        /// The proxy.
        proxy: String,
        /// The rollout.
        rollout: String,
        /// Why not.
        error: RolloutError,
    },
    /// Rollouts whose guards are watched further, after another was rolled back.
    Remaining(Vec<String>),
    /// The document cannot be read: proxies are watched for what it was before. Told once for each reason, and tried
    /// again.
    Failed(RolloutError),
}

// === impl Watch ===

impl Watch {
    /// A watcher of a document's rollouts, or of one of them.
    #[must_use]
    pub fn new(
        document: PathBuf,
        rollout: Option<String>,
        audit: Option<PathBuf>,
        proxies: Vec<Admin>,
    ) -> Self {
        Self {
            document,
            rollout,
            audit,
            proxies,
            seen: HashMap::new(),
            reachable: HashMap::new(),
            rollouts: Vec::new(),
            unreadable: None,
            pending: HashMap::new(),
        }
    }

    /// Looks at every proxy once, and rolls back what has tripped.
    pub async fn look(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        match self.read() {
            Ok(rollouts) => {
                self.rollouts = rollouts;
                self.unreadable = None;
            }
            Err(error) => {
                let message = Some(error.to_string());
                if self.unreadable != message {
                    self.unreadable = message;
                    events.push(Event::Failed(error));
                }
            }
        }
        let rollouts = self.rollouts.clone();
        let asked = self.proxies.iter().map(|proxy| proxy.figures(&rollouts));
        let answers = futures_util::future::join_all(asked).await;
        let proxies: Vec<String> = self.proxies.iter().map(|p| p.name().to_owned()).collect();
        let mut looked: Vec<&str> = Vec::new();
        let mut done: Vec<&str> = Vec::new();
        for (proxy, answer) in proxies.into_iter().zip(answers) {
            let before = self.reachable.insert(proxy.clone(), answer.is_ok());
            let figures = match answer {
                Ok(figures) => figures,
                Err(error) => {
                    events.extend((before != Some(false)).then_some(Event::Lost(error)));
                    continue;
                }
            };
            if before != Some(true) {
                events.push(Event::Found(proxy));
            }
            for (status, figures) in rollouts.iter().zip(figures) {
                if self.has_tripped(status, &figures) && !looked.contains(&status.rollout.as_str())
                {
                    looked.push(&status.rollout);
                    let event = self.roll_back(status, figures);
                    if matches!(event, Some(Event::RolledBack { .. })) {
                        done.push(&status.rollout);
                    }
                    events.extend(event);
                }
            }
        }
        let is_watched =
            |s: &&Status| s.guard && !s.rollback && !done.contains(&s.rollout.as_str());
        let watched = rollouts.iter().filter(is_watched);
        let remaining: Vec<_> = watched.map(|s| s.rollout.clone()).collect();
        if !done.is_empty() && !remaining.is_empty() {
            events.push(Event::Remaining(remaining));
        }
        events
    }

    fn read(&self) -> Result<Vec<Status>, RolloutError> {
        let loaded = Loaded::read(&self.document)?;
        let now = timestamp(SystemTime::now());
        let ids = match &self.rollout {
            Some(id) => vec![id.clone()],
            None => {
                let all = loaded.document().rollouts().iter();
                all.map(|rollout| rollout.id().as_str().to_owned())
                    .collect()
            }
        };
        let status = |id: &String| Ok(Status::at(&loaded.named(Some(id))?, now));
        ids.iter().map(status).collect()
    }

    /// Whether a proxy's tripwire is certain to have tripped under the document as it is, and nobody has acted yet.
    fn has_tripped(&mut self, status: &Status, figures: &Figures) -> bool {
        let key = (figures.proxy.clone(), status.rollout.clone(), status.resume);
        match (figures.tripped, self.seen.get(&key).copied()) {
            (Some(true), Some(Tripwire::Armed)) => !status.rollback,
            (Some(true), Some(Tripwire::Tripped(since))) => {
                !status.rollback && since.elapsed() >= CONFIRMATION
            }
            (Some(true), None) => {
                self.seen.insert(key, Tripwire::Tripped(Instant::now()));
                false
            }
            (Some(false), _) => {
                self.seen.insert(key, Tripwire::Armed);
                false
            }
            (None, _) => false,
        }
    }

    /// `None` where it fails as it did before.
    fn roll_back(&mut self, status: &Status, figures: Figures) -> Option<Event> {
        let proxy = figures.proxy.clone();
        let request = Request {
            rollout: Some(status.rollout.clone()),
            verb: Verb::Rollback {
                reason: json!({"tripped": figures}),
            },
            now: SystemTime::now(),
            who: WATCH.to_owned(),
            audit: self.audit.clone(),
            dry_run: false,
            expected: None,
        };
        match change(&self.document, &request) {
            Ok(outcome) => {
                self.pending.remove(&status.rollout);
                Some(Event::RolledBack { proxy, outcome })
            }
            Err(error) => {
                let (rollout, message) = (status.rollout.clone(), error.to_string());
                let before = self.pending.insert(rollout.clone(), message.clone());
                (before != Some(message)).then_some(Event::Pending {
                    proxy,
                    rollout,
                    error,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::status::Phase;

    fn status(resume: u32, rollback: bool) -> Status {
        Status {
            rollout: "r".to_owned(),
            phase: Phase::Fixed,
            environments: Vec::new(),
            schedule: None,
            rollback,
            resume,
            guard: true,
        }
    }

    fn figures(tripped: Option<bool>) -> Figures {
        Figures {
            proxy: "a".to_owned(),
            rollout: "r".to_owned(),
            follows: true,
            tripped,
            environments: Vec::new(),
        }
    }

    #[test]
    fn only_a_trip_that_is_certain_counts() {
        let mut watch = Watch::new(PathBuf::new(), None, None, Vec::new());
        let mut look =
            |resume, tripped| watch.has_tripped(&status(resume, false), &figures(tripped));
        assert!(!look(0, None));
        assert!(!look(0, Some(false)));
        assert!(look(0, Some(true)), "it was armed before");
        assert!(look(0, Some(true)), "until somebody acts");
        assert!(
            !look(1, Some(true)),
            "the proxy may not have seen the resume yet"
        );
        assert!(!look(1, Some(true)), "nor a moment later");
        assert!(!look(1, Some(false)));
        assert!(look(1, Some(true)));
        assert!(
            !watch.has_tripped(&status(1, true), &figures(Some(true))),
            "it is rolled back already"
        );
    }

    #[test]
    fn a_trip_from_before_counts_after_a_while() {
        let mut watch = Watch::new(PathBuf::new(), None, None, Vec::new());
        let before = Instant::now()
            .checked_sub(CONFIRMATION)
            .expect("the machine runs longer");
        let key = ("a".to_owned(), "r".to_owned(), 0);
        watch.seen.insert(key, Tripwire::Tripped(before));
        assert!(watch.has_tripped(&status(0, false), &figures(Some(true))));
    }
}
