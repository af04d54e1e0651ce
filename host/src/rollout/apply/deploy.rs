//! A new version: a new rollout, without traffic.

use switchover_core::Share;
use switchover_core::document::{Label, RolloutId};

use super::{Known, Nonsense, Plan, Site};
use crate::rollout::edit::Edit;

/// The longest id of a rollout.
const LONGEST_ID: usize = 64;

// === impl Known ===

impl Known<'_> {
    /// Whether a rollout is called so, or was.
    fn has(self, id: &str) -> bool {
        let was = self.history.as_ref().is_some_and(|ids| ids.contains(id));
        was || self.document.rollout(id).is_some()
    }
}

// === impl Site ===

impl Site<'_> {
    pub(super) fn deploy(
        &self,
        name: &str,
        version: &str,
        id: Option<&str>,
        known: Known<'_>,
    ) -> Result<Plan, Nonsense> {
        let environment = self.environment(name)?;
        if Label::new(version).is_none() {
            return Err(Nonsense::Version(version.to_owned()));
        }
        let id = match id {
            Some(id) => self.checked_id(id, known)?,
            None => self.derived_id(version, known),
        };
        let shares = self.with_share(environment, Share::NONE)?;
        let mut edits = vec![
            Edit::set(&["routing", name, "version"], version),
            Edit::set(&["rollout"], id.as_str()),
        ];
        // A latch is kept under its rollout's id with the count of resumes: with a higher one, none applies.
        let resume = self.rollout.resume().saturating_add(1);
        edits.extend(self.weights(&shares));
        let old = self.version(environment);
        let was = old.map_or(String::new(), |old| format!(" (was {old})"));
        let mut notes = vec![
            format!(
                "{name} is {version}{was}, without traffic; `start` or `set {name}=1` gives it some"
            ),
            format!(
                "the rollout is {id} (was {}), its count of resumes {resume}: it picks new first users, and no latch that \
                 tripped before applies",
                self.named.id()
            ),
        ];
        if known.history.is_none() {
            notes.push(format!(
                "there was no audit log that tells of earlier rollouts: if one was called {id}, its first users are the same"
            ));
        }
        self.end_schedule(&mut edits, &mut notes);
        edits.push(Edit::set(&["resume"], resume));
        self.end_rollback(&mut edits);
        Ok(Plan {
            rollout: id,
            edits,
            notes,
        })
    }

    fn checked_id(&self, id: &str, known: Known<'_>) -> Result<String, Nonsense> {
        let refuse = |why| {
            Err(Nonsense::Id {
                id: id.to_owned(),
                why,
            })
        };
        if RolloutId::new(id).is_none() {
            return refuse("expected 1 to 64 of the characters A-Z, a-z, 0-9, `.`, `_` and `-`");
        }
        if known.document.rollout(id).is_some() {
            return refuse("a rollout of this document has it; a new one picks new first users");
        }
        if known.has(id) {
            return refuse(
                "an earlier rollout in the audit log had it; a new one picks new first users",
            );
        }
        Ok(id.to_owned())
    }

    /// The old id with the new version in the place of an old one, or behind it; with a number where that is or was taken.
    fn derived_id(&self, version: &str, known: Known<'_>) -> String {
        let word = |text: &str| -> String {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            text.chars()
                .map(|c| if allowed(c) { c } else { '-' })
                .collect()
        };
        let id = self.named.id();
        let versions = (0..self.rollout.environments().len()).filter_map(|e| self.version(e));
        // A version may have been deployed before, with a number behind it.
        let without_number = match id.rsplit_once("-r") {
            Some((rest, number)) if number.parse::<u32>().is_ok() => rest,
            _ => id,
        };
        let base = versions
            .filter_map(|old| without_number.strip_suffix(&word(old))?.strip_suffix('-'))
            .min_by_key(|base| base.len())
            .unwrap_or(id);
        let numbered = |number: u32| {
            let ending = match number {
                1 => format!("-{}", word(version)),
                _ => format!("-{}-r{number}", word(version)),
            };
            let room = LONGEST_ID.saturating_sub(ending.len());
            let base = base.get(..room.min(base.len())).unwrap_or_default();
            let whole = base.to_owned() + &ending;
            whole
                .get(whole.len().saturating_sub(LONGEST_ID)..)
                .unwrap_or_default()
                .to_owned()
        };
        let mut ids = (1..).map(numbered);
        ids.find(|id| !known.has(id)).unwrap_or_default()
    }
}
