//! What becomes of a request whose body has been looked through.

use crate::document::Rollout;
use crate::models::{Model as Listed, Models};
use crate::reply::{Refusal, Reply};
use crate::scan::{Fault, Found, Model, Options};

/// A body grows by no more: by a model's name in quotes, and by what asks for the usage.
const LONGEST_EDITS: usize = 256;

/// How the look at a body ended; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyOutcome {
    /// It names a model of the catalogue
    Known,
    /// It names a model by an alias
    Aliased,
    /// It names another model
    Unknown,
    /// It names no model
    Missing,
    /// It cannot be read
    Unreadable,
    /// It is too long
    TooLarge,
    /// The consumer has used up what it may
    Limited,
}

/// A request that goes on.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// How the look at the body ended.
    pub outcome: BodyOutcome,
    /// Index of the model in the catalogue.
    pub model: Option<usize>,
    /// The model's name, where it has one that is not in the catalogue.
    pub unknown: Option<String>,
    /// What is changed in the body, in order.
    edits: [Option<Splice>; 2],
    /// The answer may be a stream: the request asks for one, or has not been read.
    pub streams: bool,
    /// The client gets no event that tells the usage: it did not ask for it.
    pub hides_usage: bool,
}

/// A request that does not go on.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub outcome: BodyOutcome,
    /// The answer.
    pub reply: Reply,
}

/// A part of a body that is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Splice {
    start: u64,
    end: u64,
    by: Text,
}

/// What comes in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// The name of the model of this index.
    Model(usize),
    Own(&'static str),
}

// === impl BodyOutcome ===

impl BodyOutcome {
    /// All outcomes.
    pub const ALL: [Self; 7] = [
        Self::Known,
        Self::Aliased,
        Self::Unknown,
        Self::Missing,
        Self::Unreadable,
        Self::TooLarge,
        Self::Limited,
    ];

    /// The label's value.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Aliased => "aliased",
            Self::Unknown => "unknown",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::Limited => "limited",
        }
    }
}

// === impl Passed ===

impl Passed {
    /// A request that goes on as it is.
    #[must_use]
    pub fn unread(outcome: BodyOutcome) -> Self {
        Self {
            outcome,
            model: None,
            unknown: None,
            edits: [None; 2],
            streams: true,
            hides_usage: false,
        }
    }

    /// Whether something is changed in the body.
    #[must_use]
    #[inline]
    pub fn is_changed(&self) -> bool {
        self.edits != [None; 2]
    }

    /// So many bytes at the body's start hold all that is changed.
    #[must_use]
    #[inline]
    pub fn reach(&self) -> usize {
        let last = self.edits.iter().flatten().last();
        last.map_or(0, |edit| offset(edit.end))
    }
}

impl Models {
    /// Writes the start of the body, of [`Passed::reach`] bytes, as it goes on. `None` where there is no memory for it.
    #[inline]
    pub fn rewrite(&self, passed: &Passed, start: &[u8], to: &mut Vec<u8>) -> Option<()> {
        to.try_reserve(start.len().saturating_add(LONGEST_EDITS))
            .ok()?;
        let mut at = 0;
        for edit in passed.edits.iter().flatten() {
            to.extend_from_slice(start.get(at..offset(edit.start)).unwrap_or_default());
            let text = match edit.by {
                Text::Model(index) => self.catalogue.get(index).map(|model| &*model.quoted),
                Text::Own(text) => Some(text),
            };
            to.extend_from_slice(text.unwrap_or_default().as_bytes());
            at = offset(edit.end);
        }
        to.extend_from_slice(start.get(at..).unwrap_or_default());
        Some(())
    }

    /// The name of the model that a request is for; `None` where it names none that can be read.
    #[must_use]
    #[inline]
    pub fn name<'a>(&'a self, model: Option<usize>, unknown: Option<&'a str>) -> Option<&'a str> {
        let known = model.and_then(|index| self.catalogue.get(index));
        known.map(Listed::id).or(unknown)
    }
}

#[inline]
fn offset(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Rollout {
    /// Decides about a request by what its body holds; `completes` tells whether it is for a chat's or a text's
    /// completion, whose streams tell what they took only where they are asked to.
    ///
    /// # Errors
    /// The answer that it gets at once.
    #[inline]
    pub fn judge_body(
        &self,
        found: Result<&Found, Fault>,
        completes: bool,
        consumer: Option<usize>,
    ) -> Result<Passed, Box<Refused>> {
        let Some(models) = &self.models else {
            return Ok(Passed::unread(BodyOutcome::Unknown));
        };
        let found = match found {
            Ok(found) => found,
            Err(fault) => {
                return self.unread(BodyOutcome::Unreadable, consumer, || unreadable(fault));
            }
        };
        let (name, span) = match &found.model {
            Some(Model::Text(name, span)) => (name.as_str(), *span),
            Some(Model::TooLong) => {
                let reply = || self.not_found("…", consumer);
                return self.unread(BodyOutcome::Unknown, consumer, reply);
            }
            Some(Model::NotText) => return self.unread(BodyOutcome::Missing, consumer, not_text),
            None => return self.unread(BodyOutcome::Missing, consumer, missing),
        };
        let index = models.find(name);
        let own = index
            .and_then(|index| models.catalogue.get(index))
            .map(|model| model.id());
        let is_known = own.is_some() || models.passes_unknown();
        if !is_known || !self.offers(consumer, own.unwrap_or(name)) {
            let reply = self.not_found(name, consumer);
            return Err(Box::new(Refused {
                outcome: BodyOutcome::Unknown,
                reply,
            }));
        }
        let renamed = index.filter(|_| own != Some(name)).map(|index| Splice {
            start: span.0,
            end: span.1,
            by: Text::Model(index),
        });
        let asks = models.include_usage && completes && found.stream;
        let asked = if asks { ask_for_usage(found) } else { None };
        Ok(Passed {
            outcome: match (renamed, own) {
                (Some(_), _) => BodyOutcome::Aliased,
                (None, Some(_)) => BodyOutcome::Known,
                (None, None) => BodyOutcome::Unknown,
            },
            model: index,
            unknown: own.is_none().then(|| name.to_owned()),
            edits: match (renamed, asked) {
                (Some(one), Some(other)) if one.start > other.start => [asked, renamed],
                (None, _) => [asked, None],
                _ => [renamed, asked],
            },
            streams: found.stream,
            hides_usage: asked.is_some(),
        })
    }

    /// What becomes of a request whose body is above the limit, by its length or as it comes.
    ///
    /// # Errors
    /// The answer that it gets at once.
    pub fn judge_long_body(&self, consumer: Option<usize>) -> Result<Passed, Box<Refused>> {
        self.unread(BodyOutcome::TooLarge, consumer, || self.too_large())
    }

    /// The answer to a request whose body cannot be held.
    #[must_use]
    pub fn too_large(&self) -> Reply {
        let most = self.models.as_ref().map_or(0, |models| models.max_body.0);
        let message = [
            "The request's body is too large: at most ",
            &most.to_string(),
            " bytes.",
        ];
        Refusal::BodyTooLarge.reply(&message.concat(), None)
    }

    /// What becomes of a request whose body is encoded.
    ///
    /// # Errors
    /// The answer that it gets at once.
    pub fn judge_encoded_body(&self, consumer: Option<usize>) -> Result<Passed, Box<Refused>> {
        self.unread(BodyOutcome::Unreadable, consumer, || {
            let message = "The request's body must be sent without a content-encoding.";
            Refusal::EncodedBody.reply(message, None)
        })
    }

    /// Whoever may not use all models gets none by hiding which it is, and none gets to an environment that does not take all.
    fn may_pass_unread(&self, consumer: Option<usize>) -> bool {
        self.models.as_ref().is_none_or(Models::passes_unknown)
            && self.allowed_to(consumer).is_none()
            && self.for_model(self.stable, "").is_some()
    }

    /// A request without a readable model.
    fn unread(
        &self,
        outcome: BodyOutcome,
        consumer: Option<usize>,
        reply: impl FnOnce() -> Reply,
    ) -> Result<Passed, Box<Refused>> {
        if self.may_pass_unread(consumer) {
            return Ok(Passed::unread(outcome));
        }
        let reply = reply();
        Err(Box::new(Refused { outcome, reply }))
    }
}

/// Makes a stream tell its usage; `None` where it does already.
fn ask_for_usage(found: &Found) -> Option<Splice> {
    let splice = |start, end, text| {
        let by = Text::Own(text);
        Some(Splice { start, end, by })
    };
    match found.options {
        None => {
            let start = found.root?;
            splice(start, start, "\"stream_options\":{\"include_usage\":true},")
        }
        Some(Options::Null((start, end))) => splice(start, end, "{\"include_usage\":true}"),
        Some(
            Options::Object {
                include_usage: Some((_, true)),
                ..
            }
            | Options::Other,
        ) => None,
        Some(Options::Object {
            include_usage: Some(((start, end), _)),
            ..
        }) => splice(start, end, "true"),
        Some(Options::Object {
            start,
            is_empty: true,
            ..
        }) => splice(start, start, "\"include_usage\":true"),
        Some(Options::Object { start, .. }) => splice(start, start, "\"include_usage\":true,"),
    }
}

fn unreadable(fault: Fault) -> Reply {
    let message = match fault {
        Fault::NotJson => "We could not parse the JSON body of your request: it is not valid JSON.",
        Fault::TooDeep => {
            "We could not parse the JSON body of your request: it is nested too deeply."
        }
    };
    Refusal::InvalidJson.reply(message, None)
}

fn missing() -> Reply {
    Refusal::MissingModel.reply("You must provide a model parameter.", Some("model"))
}

fn not_text() -> Reply {
    let message = "Invalid type for 'model': expected a string.";
    Refusal::ModelNotText.reply(message, Some("model"))
}
