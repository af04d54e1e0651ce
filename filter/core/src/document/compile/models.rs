//! Models: the catalogue, other names, who may use what.

use crate::document::Environment;
use crate::document::compile::values;
use crate::document::raw::{self, Aliases, Items, ModelList, UnknownModel};
use crate::document::read::{At, FirstSeen, Problems};
use crate::document::text::{BodySize, ModelPattern, UrlPath};
use crate::headers::Names;
use crate::models::limits::Limits;
use crate::models::{Allowed, Model, Models, Price};
use crate::reply::quote;

/// Where the common API has models in bodies.
const ENDPOINTS: [&str; 4] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
];
const NEEDED_BY_LIMITS: &str = "must be true where tokens or dollars are limited: they are known only where answers are counted";
const ASKED_BY_LIMITS: &str = "must be true where tokens or dollars are limited: many streams tell them only where they are asked to";
const DEFAULT_BODY: BodySize = BodySize(4 << 20);

#[cold]
#[inline(never)]
pub(super) fn models(
    raw: Option<raw::Models>,
    environments: &[Environment],
    names: &mut Names,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<Models> {
    let Some(raw) = raw else {
        for environment in environments.iter().filter(|own| own.models.is_some()) {
            let name = environment.name.as_str();
            problems.push(
                at,
                ["is missing, and `routing.", name, ".models` needs it"].concat(),
            );
        }
        return None;
    };
    let hold_headers = raw.hold_headers.unwrap_or(false);
    if !hold_headers && environments.iter().any(|own| own.models.is_some()) {
        let message = "must be true where an environment has `models`: the body is needed before the route is chosen";
        problems.push(&at.member("hold_headers"), message);
    }
    let count_usage = raw.count_usage.unwrap_or(true);
    if !count_usage && raw.include_usage == Some(true) {
        let message =
            "must be false where `count_usage` is: nobody would count what streams are asked for";
        problems.push(&at.member("include_usage"), message);
    }
    let include_usage = raw.include_usage.unwrap_or(count_usage);
    let limits = limits(raw.limits, &at.member("limits"), problems);
    let catalogue = catalogue(raw.catalogue?, &at.member("catalogue"), problems);
    let aliases = raw
        .aliases
        .map(|Aliases(aliases)| aliases)
        .unwrap_or_default();
    let (mut exact, mut beginnings) = (Vec::new(), Vec::new());
    for (alias, model) in aliases {
        let aliases = at.member("aliases");
        let at = aliases.member(alias.as_str());
        let named = |name: &str| catalogue.iter().position(|own| own.id.as_str() == name);
        if named(alias.as_str()).is_some() {
            problems.push(&at, "is the name of a model of the catalogue itself");
        }
        match (named(model.as_str()), alias.as_str().strip_suffix('*')) {
            (Some(index), Some(beginning)) => {
                let is_longer = |(own, _): &(String, usize)| own.len() >= beginning.len();
                let place = beginnings.partition_point(is_longer);
                beginnings.insert(place, (beginning.to_owned(), index));
            }
            (Some(index), None) => exact.push((alias.as_str().to_owned(), index)),
            (None, _) => problems.push(&at, "names no model of the catalogue"),
        }
    }
    let endpoints = match raw.endpoints {
        Some(endpoints) => values(endpoints),
        None => ENDPOINTS
            .iter()
            .filter_map(|path| UrlPath::new(path))
            .collect(),
    };
    Some(Models {
        slots: ["content-length", "content-encoding"].map(|name| names.slot(name)),
        catalogue,
        aliases: exact,
        beginnings,
        unknown: raw.unknown.unwrap_or(UnknownModel::Reject),
        list: raw.list.unwrap_or(ModelList::Local),
        endpoints,
        max_body: raw.max_body.unwrap_or(DEFAULT_BODY),
        hold_headers,
        count_usage,
        include_usage,
        limits,
    })
}

impl Models {
    /// Notes where limits, which may be a consumer's own, need what nobody reads.
    pub(super) fn note_unread(&self, is_limited: bool, at: &At<'_>, problems: &mut Problems) {
        if !is_limited && !self.limits.as_ref().is_some_and(Limits::need_usage) {
            return;
        }
        if !self.count_usage {
            problems.push(&at.member("count_usage"), NEEDED_BY_LIMITS);
        } else if !self.include_usage {
            problems.push(&at.member("include_usage"), ASKED_BY_LIMITS);
        }
    }
}

fn catalogue(
    Items(raw): Items<raw::CatalogueModel>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Vec<Model> {
    if raw.is_empty() {
        problems.push(at, "has no valid model: expected at least one");
    }
    let mut seen = FirstSeen::new();
    for (index, id) in raw
        .iter()
        .filter_map(|(index, raw)| Some((index, raw.id.as_ref()?)))
    {
        let first = *seen.entry(id.as_str()).or_insert(*index);
        if first != *index {
            let message = [
                "is the same as that of `catalogue[",
                &first.to_string(),
                "]`",
            ];
            problems.push(&at.item(*index).member("id"), message.concat());
        }
    }
    drop(seen);
    let model = |raw: raw::CatalogueModel| {
        let id = raw.id?;
        let mut quoted = String::new();
        quote(id.as_str(), &mut quoted);
        Some(Model {
            id,
            quoted: quoted.into(),
            owned_by: raw.owned_by,
            created: raw.created.map_or(0, |created| created.0),
            price: raw
                .usd_per_million
                .as_ref()
                .map_or_else(Price::default, price),
            reference: raw.reference_usd_per_million.as_ref().map(price),
        })
    };
    raw.into_iter().filter_map(|(_, raw)| model(raw)).collect()
}

fn price(raw: &raw::Price) -> Price {
    let (input, cached, output) = match raw {
        raw::Price::One(usd) => (Some(usd), Some(usd), Some(usd)),
        raw::Price::Each(each) => (
            each.input.as_ref(),
            each.cached_input.as_ref().or(each.input.as_ref()),
            each.output.as_ref(),
        ),
    };
    let [input, cached, output] = [input, cached, output].map(|usd| usd.map_or(0, |usd| usd.0));
    Price {
        input,
        cached,
        output,
    }
}

/// What may be used up, if anything is limited.
pub(super) fn limits(
    raw: Option<raw::Limits>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<Limits> {
    let raw = raw?;
    let limits = Limits {
        requests: raw.requests_per_minute.map(|quota| quota.0),
        tokens: raw.tokens_per_minute.map(|quota| quota.0),
        day: raw.usd_per_day.map(|dollars| dollars.0),
        month: raw.usd_per_month.map(|dollars| dollars.0),
    };
    if limits
        == (Limits {
            requests: None,
            tokens: None,
            day: None,
            month: None,
        })
    {
        problems.push(at, "limits nothing: expected at least one field");
    }
    Some(limits)
}

/// A list of models, all where there is none.
pub(super) fn allowed(
    raw: Option<Items<ModelPattern>>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Allowed {
    let list = values(raw?);
    if list.is_empty() {
        problems.push(at, "is empty: leave it out to allow all models");
    }
    Some(list)
}
