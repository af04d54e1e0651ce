//! The models of an OpenAI-compatible API: which there are, what they cost, and what becomes of requests for them.

pub mod body;
pub mod events;
pub mod limits;
mod listing;

use crate::document::read::{distance, list};
use crate::document::text::{BodySize, Label, ModelName, ModelPattern, UrlPath};
use crate::document::{ModelList, Rollout, UnknownModel};
use crate::headers::{Headers, Slot};
use crate::models::limits::Limits;
use crate::reply::{Refusal, Reply};
use crate::scan::Usage;

/// As many names are proposed at most.
const MOST_HINTS: usize = 3;
/// How much of a wrong name is repeated in the answer.
const LONGEST_ECHO: usize = 64;

/// The models of a rollout.
#[derive(Debug)]
pub struct Models {
    pub(crate) catalogue: Vec<Model>,
    /// Whole names, each with the index of its model.
    pub(crate) aliases: Vec<(String, usize)>,
    /// What names begin with, the longest first.
    pub(crate) beginnings: Vec<(String, usize)>,
    pub(crate) unknown: UnknownModel,
    pub(crate) list: ModelList,
    pub(crate) endpoints: Vec<UrlPath>,
    /// `content-length` and `content-encoding`
    pub(crate) slots: [Slot; 2],
    pub(crate) max_body: BodySize,
    pub(crate) hold_headers: bool,
    pub(crate) count_usage: bool,
    pub(crate) include_usage: bool,
    pub(crate) limits: Option<Limits>,
}

/// What a request's headers say of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// They say how long it is.
    pub has_length: bool,
    /// So many bytes, where that is a number.
    pub length: Option<usize>,
    /// It is encoded, so that it cannot be looked through.
    pub is_encoded: bool,
}

/// A model of the catalogue.
#[derive(Debug)]
pub struct Model {
    pub(crate) id: ModelName,
    /// The same as a JSON string.
    pub(crate) quoted: Box<str>,
    pub(crate) owned_by: Option<Label>,
    pub(crate) created: u32,
    pub(crate) price: Price,
    pub(crate) reference: Option<Price>,
}

/// What tokens cost, in millionths of a US dollar for a million of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price {
    /// Of prompts
    pub input: u32,
    /// Of the cached part of prompts
    pub cached: u32,
    /// Of answers
    pub output: u32,
}

/// What an answer cost, in millionths of a millionth of a US dollar, for that is what a token of the least price costs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// By the price
    pub own: u64,
    /// By the price for comparison
    pub reference: u64,
}

/// The names of models that someone may use, or that may go somewhere; none is all.
pub(crate) type Allowed = Option<Vec<ModelPattern>>;

// === impl Models ===

impl Models {
    /// The models, in the order of the document.
    #[must_use]
    pub fn catalogue(&self) -> &[Model] {
        &self.catalogue
    }

    /// Whether headers wait for the body.
    #[must_use]
    pub fn hold_headers(&self) -> bool {
        self.hold_headers
    }

    /// Whether what answers take is counted.
    #[must_use]
    pub fn counts_usage(&self) -> bool {
        self.count_usage
    }

    /// The longest body that is held, in bytes.
    #[must_use]
    pub fn max_body(&self) -> usize {
        usize::try_from(self.max_body.0).unwrap_or(usize::MAX)
    }

    /// Whether what is not known passes.
    #[must_use]
    pub fn passes_unknown(&self) -> bool {
        self.unknown == UnknownModel::Pass
    }

    /// What a request's headers say of its body.
    #[must_use]
    #[inline]
    pub fn announced(&self, headers: &Headers<'_>) -> Announced {
        let [length, encoding] = self.slots.map(|slot| headers.get(slot));
        Announced {
            has_length: length.is_some(),
            length: length.and_then(|text| str::from_utf8(text).ok()?.parse().ok()),
            is_encoded: encoding.is_some_and(|own| !own.eq_ignore_ascii_case(b"identity")),
        }
    }

    /// The endpoint of this path, which may have a query, where its requests name a model in their body.
    #[inline]
    pub(crate) fn endpoint(&self, path: &[u8]) -> Option<&UrlPath> {
        self.endpoints.iter().find(|own| {
            let query = path.strip_prefix(own.as_str().as_bytes());
            matches!(query, Some([] | [b'?', ..]))
        })
    }

    /// The index of the model of this name or alias.
    #[must_use]
    #[inline]
    pub fn find(&self, name: &str) -> Option<usize> {
        if let Some(index) = self
            .catalogue
            .iter()
            .position(|model| model.id.as_str() == name)
        {
            return Some(index);
        }
        let exact = self.aliases.iter().find(|(alias, _)| alias == name);
        let aliases = exact.or_else(|| {
            let mut beginnings = self.beginnings.iter();
            beginnings.find(|(beginning, _)| name.starts_with(beginning.as_str()))
        });
        aliases.map(|(_, model)| *model)
    }

    /// What an answer of the model of this index cost.
    #[must_use]
    #[inline(never)]
    pub fn cost(&self, model: Option<usize>, usage: &Usage) -> Cost {
        let Some(model) = model.and_then(|index| self.catalogue.get(index)) else {
            return Cost::default();
        };
        Cost {
            own: model.price.of(usage),
            reference: model.reference.unwrap_or(model.price).of(usage),
        }
    }
}

/// Whether a list has this name; no list has all.
#[inline]
pub(crate) fn is_allowed(allowed: &Allowed, name: &str) -> bool {
    allowed
        .as_ref()
        .is_none_or(|patterns| patterns.iter().any(|pattern| pattern.fits(name)))
}

impl Rollout {
    /// The models, where request bodies are looked at.
    #[must_use]
    pub fn models(&self) -> Option<&Models> {
        self.models.as_ref()
    }

    /// The models that a consumer may use.
    #[inline]
    pub(crate) fn allowed_to(&self, consumer: Option<usize>) -> &Allowed {
        let consumer = consumer.and_then(|index| self.auth.consumers.get(index));
        consumer.map_or(&None, |consumer| &consumer.models)
    }

    /// Whether there is a model of this name for a consumer: one that it may use, and some environment takes.
    #[inline]
    pub(crate) fn offers(&self, consumer: Option<usize>, name: &str) -> bool {
        is_allowed(self.allowed_to(consumer), name) && self.for_model(self.stable, name).is_some()
    }

    /// The answer to a request for a model that there is not, for this consumer.
    pub(crate) fn not_found(&self, name: &str, consumer: Option<usize>) -> Reply {
        let echo: String = name.chars().take(LONGEST_ECHO).collect();
        let mut message = [
            "The model `",
            &echo,
            "` does not exist or you do not have access to it.",
        ]
        .concat();
        let hints = self.nearest(name, consumer);
        if !hints.is_empty() {
            message.extend([" Did you mean ", &list(hints), "?"]);
        }
        Refusal::ModelNotFound.reply(&message, Some("model"))
    }

    /// The names that differ least from this one, of those that there are for this consumer.
    fn nearest(&self, name: &str, consumer: Option<usize>) -> Vec<&str> {
        let farthest = (name.len() / 3).clamp(1, 8);
        let models = self.models.iter().flat_map(Models::catalogue);
        let near = models
            .map(Model::id)
            .filter(|id| id.len().abs_diff(name.len()) <= farthest && self.offers(consumer, id));
        let mut nearest: Vec<(usize, &str)> = Vec::new();
        for id in near {
            let own = (distance(name, id), id);
            if own.0 <= farthest {
                let place = nearest.partition_point(|other| *other < own);
                nearest.insert(place, own);
                nearest.truncate(MOST_HINTS);
            }
        }
        nearest.into_iter().map(|(_, id)| id).collect()
    }

    /// What a consumer may use up. Requests of nobody in particular are not limited.
    #[must_use]
    pub fn limits(&self, consumer: usize) -> Option<&Limits> {
        let models = self.models.as_ref()?;
        let own = self.auth.consumers.get(consumer)?.limits.as_deref();
        own.or(models.limits.as_ref())
    }

    /// The lists of models that environments and consumers have, each with its JSON path in the rollout.
    #[must_use]
    pub fn model_lists(&self) -> Vec<(String, &[ModelPattern])> {
        let environments = self.environments.iter().map(|own| {
            let path = ["routing.", own.name.as_str(), ".models"].concat();
            (path, own.models.as_ref())
        });
        let consumers = self.auth.consumers.iter().enumerate();
        let consumers = consumers.map(|(index, own)| {
            let path = ["auth.consumers[", &index.to_string(), "].models"].concat();
            (path, own.models.as_ref())
        });
        let lists = environments.chain(consumers);
        lists
            .filter_map(|(path, list)| Some((path, list?.as_slice())))
            .collect()
    }

    /// Whether some environment takes only some models.
    #[must_use]
    pub fn binds_models(&self) -> bool {
        self.environments.iter().any(|own| own.models.is_some())
    }

    /// Whether requests for a model may go to the environment of this index.
    #[must_use]
    pub fn may_go(&self, environment: usize, model: &str) -> bool {
        let environment = self.environments.get(environment);
        environment.is_some_and(|environment| is_allowed(&environment.models, model))
    }

    /// Where a request for a model goes that `chosen` was chosen for: there, else to stable, else to the first environment
    /// that takes it. `None` if none does.
    #[inline]
    pub(crate) fn for_model(&self, chosen: usize, model: &str) -> Option<usize> {
        let all = 0..self.environments.len();
        [chosen, self.stable]
            .into_iter()
            .chain(all)
            .find(|environment| self.may_go(*environment, model))
    }
}

// === impl Cost ===

impl Cost {
    /// What is more in this than in one before.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            own: self.own.saturating_sub(before.own),
            reference: self.reference.saturating_sub(before.reference),
        }
    }
}

// === impl Model ===

impl Model {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// What it costs.
    #[must_use]
    pub fn price(&self) -> Price {
        self.price
    }

    /// What it would cost elsewhere.
    #[must_use]
    pub fn reference(&self) -> Option<Price> {
        self.reference
    }
}

// === impl Price ===

impl Price {
    fn of(&self, usage: &Usage) -> u64 {
        let cached = usage.cached.min(usage.input);
        let parts = [
            (usage.input - cached, self.input),
            (cached, self.cached),
            (usage.output, self.output),
        ];
        let cost = |(tokens, price): (u64, u32)| tokens.saturating_mul(price.into());
        parts.into_iter().map(cost).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests;
