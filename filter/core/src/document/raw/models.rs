//! Models: their names and prices, and what consumers may use up.

use crate::document::raw::Items;
use crate::document::read::{At, Problems, Read, choice, members, object};
use crate::document::text::{
    BodySize, Count, Dollars, Label, ModelName, ModelPattern, Quota, UrlPath, Usd,
};
use crate::json::Node;

object! {
    /// The models of an OpenAI-compatible API. The bodies of requests to `endpoints` are held until they are whole, up to
    /// `max_body`, and looked through for `model`; answers pass as they come, and the tokens that they took are counted.
    struct Models {
        /// The models, at least one.
        catalogue: Items<CatalogueModel> [required],
        /// Other names for models of the catalogue: a whole name, or what names begin with and `*`. A whole name comes first,
        /// then the longest beginning. The request goes on with the model's own name. Default: none.
        aliases: Aliases,
        /// What becomes of requests for other models, and of those that cannot be read. Default: `reject`.
        unknown: UnknownModel,
        /// Who answers `GET /v1/models` and `GET /v1/models/{id}`. Default: `local`.
        list: ModelList,
        /// The paths to which requests name their model in a JSON body, without a query. Default: `/v1/chat/completions`,
        /// `/v1/completions`, `/v1/responses` and `/v1/embeddings`.
        endpoints: Items<UrlPath>,
        /// The longest body that is held, at most `64MiB`. A longer one gets 413, or passes unread where `unknown` is `pass`.
        /// Envoy itself refuses bodies above the listener's `per_connection_buffer_limit_bytes`. Default: `4MiB`.
        max_body: BodySize,
        /// Whether the plugin's configuration says `allow_on_headers_stop_iteration`, so that headers wait for the body.
        /// Without it an attempt has begun by the time the model is known, and is broken off if there is no such model.
        /// Default: false.
        hold_headers: bool,
        /// Whether what answers take is counted. Otherwise they pass unread and `accept-encoding` stays the client's: there
        /// are no metrics of tokens and costs, and no limits of them. Default: true.
        count_usage: bool,
        /// Whether streams of `/completions` endpoints are asked to say at their end what they took
        /// (`stream_options.include_usage`); clients that did not ask do not see it. Default: as
        /// `count_usage`.
        include_usage: bool,
        /// What each consumer may use up that has no limits of its own. Default: no limits.
        limits: Limits,
    }
}

object! {
    /// A model of the catalogue.
    struct CatalogueModel {
        /// Its name, as the API knows it.
        id: ModelName [required],
        /// Whose it is. Default: `system`.
        owned_by: Label,
        /// When it was made, in seconds since 1970. Default: 0.
        created: Count,
        /// What a million tokens cost, in US dollars: one price, or one each for `input`, `cached_input` and `output`.
        /// Default: nothing.
        usd_per_million: Price,
        /// What they would cost elsewhere, for comparison. Default: what they cost.
        reference_usd_per_million: Price,
    }
}

/// A price for all tokens, or one for each kind.
pub(crate) enum Price {
    /// For all
    One(Usd),
    /// For each kind
    Each(Prices),
}

object! {
    /// Prices of a million tokens, in US dollars.
    struct Prices {
        /// Tokens of the prompt.
        input: Usd [required],
        /// Tokens of the prompt that were cached. Default: as `input`.
        cached_input: Usd,
        /// Tokens of the answer. Default: they are free, as of embeddings, which have none.
        output: Usd,
    }
}

/// A JSON object from aliases to the names of models.
pub(crate) struct Aliases(pub(crate) Vec<(ModelPattern, ModelName)>);

choice! {
    /// What becomes of requests for models that are not in the catalogue.
    pub enum UnknownModel {
        /// They get 404, in the API's own words; bodies that cannot be read get 400.
        "reject" => Reject,
        /// They pass as they are.
        "pass" => Pass,
    }
}

choice! {
    /// Who lists the models.
    pub enum ModelList {
        /// The filter, from the catalogue: what the consumer may use.
        "local" => Local,
        /// The environment, for all consumers alike.
        "upstream" => Upstream,
    }
}

object! {
    /// What a consumer may use up; at least one. It is counted for each proxy by itself, in memory that all of its workers
    /// share. Requests count when they are admitted; the tokens and the cost of an answer once it tells them, so that a limit is
    /// exceeded by at most what the requests take that are on their way when it is reached. An answer that does not tell, such
    /// as a stream that its client leaves before the last event, counts as a request alone. A fleet admits at most as much as
    /// that for each proxy.
    struct Limits {
        /// Requests a minute, refilled evenly.
        requests_per_minute: Quota,
        /// Tokens a minute, refilled evenly, those of prompts and answers together.
        tokens_per_minute: Quota,
        /// US dollars a day (UTC), with at most two decimals.
        usd_per_day: Dollars,
        /// US dollars a month (UTC), with at most two decimals.
        usd_per_month: Dollars,
    }
}

// === impl Price ===

impl Read for Price {
    const EXPECTED: &'static str =
        "a price in US dollars, or an object with `input`, `cached_input` and `output`";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        match node {
            Node::Number(_) => Usd::read(node, at, problems).map(Self::One),
            Node::Object(_) => Prices::read(node, at, problems).map(Self::Each),
            _ => {
                problems.wrong_type(at, Self::EXPECTED, node);
                None
            }
        }
    }
}

// === impl Aliases ===

impl Read for Aliases {
    const EXPECTED: &'static str = "an object from aliases to names of the catalogue";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        let mut aliases = Vec::new();
        for (name, node) in members(node, at, problems)? {
            let at = at.member(name);
            let model = ModelName::read(node, &at, problems);
            match ModelPattern::new(name) {
                Some(alias) => aliases.extend(model.map(|model| (alias, model))),
                None => {
                    let message = ["is no alias: expected ", ModelPattern::EXPECTED].concat();
                    problems.push(&at, message);
                }
            }
        }
        Some(Self(aliases))
    }
}
