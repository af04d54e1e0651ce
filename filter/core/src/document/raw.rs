//! The rollout document as it is written, before it is checked as a whole. The doc comments here are the reference: `switchover schema` prints them.

use crate::document::read::{At, Problems, Read, choice, members, object};
use crate::document::text::{
    BodySize, ClusterName, CookieName, Count, Dollars, HeaderName, HostPattern, InARow, KeyDigest,
    Label, Method, ModelName, ModelPattern, Name, QueryName, Quota, Rate, RolloutId, Scheme, Size,
    UrlPath, Usd, VariableName, Volume, Weight,
};
use crate::json::Node;
use crate::schedule::Share;
use crate::secret::Secret;
use crate::time::{Duration, Timestamp};

/// A JSON array; items that could not be read are left out, so each keeps its index.
pub(crate) struct Items<T>(pub(crate) Vec<(usize, T)>);

/// A JSON object from environment names to `T`, in order of the names.
pub(crate) struct ByName<T>(pub(crate) Vec<(Name, T)>);

/// The whole document: one rollout, or several in `rollouts`.
pub(crate) enum Document {
    /// One rollout
    One(Box<Rollout>),
    /// Several
    Many(Rollouts),
}

object! {
    /// Several rollouts in one document: the first whose `match` fits a request decides; a request that fits none passes
    /// untouched.
    struct Rollouts {
        /// The rollouts, in the order in which they are tried.
        rollouts: Items<Rollout> [required],
    }
}

object! {
    /// A rollout: which environments there are, who gets which, and which credentials requests carry.
    struct Rollout {
        /// The identity of this rollout: salt of the sticky hash (a new one picks new first users) and metric label.
        /// Default: `default`.
        rollout: RolloutId,
        /// The environment that traffic goes to when in doubt. Default: `blue` if there is one, else the first by name.
        stable: Name,
        /// The environments by name, at least one, the sum of their weights above zero.
        routing: ByName<Environment> [required],
        /// How requests without a sticky key are shared out. Default: `weighted_round_robin`.
        strategy: Strategy,
        /// Which requests belong together and stay in one environment. Default: none, except for `consistent_hash`,
        /// which by default keeps each consumer in one environment.
        sticky: Sticky,
        /// Whether a request may name its environment itself. Default: nobody may.
        r#override: Override,
        /// What becomes of the clients' credentials. Default: they pass as they are.
        auth: Auth,
        /// A share that changes with time. Default: the weights stand as they are.
        schedule: Schedule,
        /// Limits at which all traffic returns to stable. Default: none.
        guard: Guard,
        /// Probes of each environment by the filter. Default: none.
        health: Health,
        /// Copies of requests for an environment, whose answers are dropped. Default: none.
        shadow: Shadow,
        /// The models of an OpenAI-compatible API: names, prices, what requests and tokens are limited to. Default: request
        /// bodies are not looked at.
        models: Models,
        /// Whether an attempt role (root id `switchover.attempt`) is installed as an upstream filter and injects the
        /// credentials, once for each attempt. Default: false, the route role injects them, and a retry in another
        /// environment would carry the first one's credential.
        attempts: bool,
        /// True: everything to stable, whatever the weights say; an allowed override still counts. Default: false.
        rollback: bool,
        /// Counts an operator's resumes; a new number opens a tripped latch. Default: 0.
        resume: Count,
        /// Which requests this rollout is for. Default: all.
        r#match: Match,
        /// Whether responses say who answered, in `x-deployment-mode` and `x-deployment-version`. Default: true.
        response_headers: bool,
    }
}

object! {
    /// One environment.
    struct Environment {
        /// Its share of the traffic relative to the other environments: an integer from 0 to 1,000,000.
        weight: Weight [required],
        /// The version that runs there; responses carry it as `x-deployment-version`. Default: none.
        version: Label,
        /// The clusters whose attempts belong to this environment, where endpoints carry no `switchover` metadata; leaf
        /// clusters only. Default: the environment's own name.
        clusters: Items<ClusterName>,
        /// The credential that requests for this environment carry. Default: none.
        credential: Credential,
        /// The only models that may go there: names of the catalogue, or what they begin with and `*`. Requests for others go
        /// to stable. It needs `models` with `hold_headers`. Default: all.
        models: Items<ModelPattern>,
    }
}

object! {
    /// A credential for an environment: exactly one of `value` and `env` holds it.
    struct Credential {
        /// The header that carries it. Default: `authorization`.
        header: HeaderName,
        /// What stands before the value, with a space. Default: `Bearer`; empty for the bare value.
        scheme: Scheme,
        /// The value itself. It appears in no log, metric or error.
        value: Secret,
        /// The environment variable of the VM that holds the value.
        env: VariableName,
    }
}

choice! {
    /// How requests without a sticky key are shared out.
    pub enum Strategy {
        /// Smooth and exact: of as many requests in a row as the weights add up to, each environment gets its weight.
        "weighted_round_robin" => WeightedRoundRobin,
        /// Each request draws lots.
        "weighted_random" => WeightedRandom,
        /// By the hash of the sticky key; a request without one is shared out in turn.
        "consistent_hash" => ConsistentHash,
    }
}

object! {
    /// Which requests belong together. A key moves only to an environment whose share rose or from one whose share fell.
    struct Sticky {
        /// Where the key comes from: the first source that the request has. Default: `["consumer"]`.
        by: Items<KeySource>,
        /// A cookie with an opaque random id for clients that send none. It is a source of keys like any other: in its
        /// place in `by` if it is named there, else before `source_address`, else last.
        set_cookie: SetCookie,
    }
}

/// One source of a sticky key.
pub(crate) enum KeySource {
    /// `"consumer"`
    Consumer,
    /// `"source_address"`
    SourceAddress,
    /// `{"header": …}` or `{"cookie": …}`
    Field(KeyField),
}

object! {
    /// A header or a cookie that holds a sticky key: exactly one of the two.
    struct KeyField {
        /// The name of the header.
        header: HeaderName,
        /// The name of the cookie.
        cookie: CookieName,
    }
}

object! {
    /// The sticky cookie that responses set.
    struct SetCookie {
        /// Its name. Default: `switchover`.
        name: CookieName,
        /// How long clients keep it, at least a second. Default: `1d`.
        max_age: Duration,
    }
}

object! {
    /// The header by which a request names its environment.
    struct Override {
        /// The header's name. Default: `x-deployment-mode`.
        header: HeaderName,
        /// Who may use it. Default: `nobody`.
        allow: Allow,
    }
}

choice! {
    /// Who may name the environment.
    pub enum Allow {
        /// Nobody; attempts are ignored and counted.
        "nobody" => Nobody,
        /// Verified consumers whose entry says `"override": true`.
        "consumers" => Consumers,
        /// Every request.
        "anyone" => Anyone,
    }
}

object! {
    /// What becomes of the credentials that clients send.
    struct Auth {
        /// What is done with them. Default: `pass`.
        mode: AuthMode,
        /// Where a credential may be. Default: `authorization` with `Bearer`, `api-key`, `x-api-key`.
        accept: Items<Source>,
        /// Who may use the API; required by `replace`, and only looked at there.
        consumers: Items<Consumer>,
        /// The header that tells the environment who the consumer is: set for verified ones, removed from all others.
        /// Default: none.
        identity_header: HeaderName,
        /// Requests that need no key; they get no environment's credential either. Default: none.
        exempt: Items<Exempt>,
    }
}

choice! {
    /// What is done with the clients' credentials.
    pub enum AuthMode {
        /// They pass as they are.
        "pass" => Pass,
        /// Whatever an accepted source held is rewritten into the first accepted form, and the rest is removed.
        "normalize" => Normalize,
        /// A consumer is verified, every client credential is removed, and the environment's own goes upstream.
        "replace" => Replace,
    }
}

object! {
    /// A place where a credential may be: exactly one of `header` and `query`.
    struct Source {
        /// A header.
        header: HeaderName,
        /// What stands before the credential in the header, with a space; compared without regard to case. Default: none.
        scheme: Scheme,
        /// A query parameter; it is removed from the path where credentials are rewritten.
        query: QueryName,
    }
}

object! {
    /// Someone who may use the API.
    struct Consumer {
        /// The consumer's name: sticky key and value of the identity header.
        name: Label [required],
        /// The keys, at least one; several overlap while one replaces another.
        keys: Items<Key> [required],
        /// Whether the consumer may name the environment, where `override.allow` is `consumers`. Default: false.
        r#override: bool,
        /// The only models that the consumer may use: names of the catalogue, or what they begin with and `*`; for the
        /// consumer no others exist. It needs `models`. Default: all.
        models: Items<ModelPattern>,
        /// What the consumer may use up. It needs `models`. Default: `models.limits`.
        limits: Limits,
    }
}

object! {
    /// A consumer's key.
    struct Key {
        /// The SHA-256 digest of the key, in 64 hexadecimal digits.
        sha256: KeyDigest [required],
        /// The instant (RFC 3339) from which on the key is good. Default: always.
        not_before: Timestamp,
        /// The instant (RFC 3339) from which on the key is no longer good. Default: never.
        not_after: Timestamp,
    }
}

object! {
    /// Requests that need no key: those that fit every field given, at least one.
    struct Exempt {
        /// The request method.
        method: Method,
        /// The whole path, without a query.
        path: UrlPath,
    }
}

object! {
    /// Which requests a rollout is for: those that fit every field given.
    struct Match {
        /// Hosts, without ports: exact names, or `*.` and what the host ends in. Default: all.
        hosts: Items<HostPattern>,
        /// What the path starts with, in whole segments: `/v1` fits `/v1` and `/v1/models`, not `/v10`. Default: all.
        path_prefix: UrlPath,
    }
}

object! {
    /// A share that is a function of the wall clock alone, so that all proxies agree. It is in force at once and looked at
    /// four times a second; the rest is shared among the other environments by their weights.
    struct Schedule {
        /// The environment whose share changes; it cannot be stable.
        environment: Name [required],
        /// The instant (RFC 3339) from which offsets count; from the year 2000 to 2199.
        start: Timestamp [required],
        /// Its shares, at least one; offsets rise, shares may fall. Before the first step the share is 0.
        steps: Items<Step> [required],
        /// How it gets from one share to the next. Default: `step`.
        ramp: Ramp,
        /// The instant (RFC 3339) at which the schedule's clock stands still. Default: never.
        hold: Timestamp,
    }
}

object! {
    /// One step of a schedule.
    struct Step {
        /// When it is reached, counted from `start`; at most `365d`.
        at: Duration [required],
        /// The share from then on, in percent of all traffic, with at most two decimals.
        weight: Share [required],
    }
}

choice! {
    /// How a schedule gets from one share to the next.
    pub enum Ramp {
        /// At once, when the next step is reached.
        "step" => Step,
        /// Evenly, so that it is there when the step is reached; to the first step from 0 at `start`.
        "linear" => Linear,
    }
}

object! {
    /// The tripwire: when the environment crosses a limit within the window, all traffic goes to stable, until the rollout
    /// gets another id or `resume` is raised. Failures are answers of 500 and above, and attempts without an answer; a
    /// client that goes away, or whose request turns out to be invalid, is none. At least one limit is needed.
    struct Guard {
        /// The environment that is watched; it cannot be stable.
        environment: Name [required],
        /// How far back outcomes count, from `1s` to `1h`. Default: `30s`.
        window: Duration,
        /// How many outcomes there must be within the window before any limit counts. Default: 50.
        min_requests: Volume,
        /// The part of failures above which it trips, from 0 to below 1. Default: none.
        max_error_rate: Rate,
        /// The latency until the response's head that at most half of the attempts may exceed, up to `10m`. Default: none.
        max_p50: Duration,
        /// The same for one of twenty. Default: none.
        max_p95: Duration,
        /// The same for one of a hundred. Default: none.
        max_p99: Duration,
        /// By how much the part of failures may be above that of stable, from 0 to below 1; it counts once stable has
        /// `min_requests` outcomes too. Default: none.
        worse_than_stable_by: Rate,
        /// Whether 429 is a failure. Default: false, for one noisy client must not trip everyone.
        count_429: bool,
    }
}

object! {
    /// Probes: `GET path` to the first of each environment's clusters, by one worker of each proxy once it has served a
    /// request. An environment other than stable gets its share only while it is known to be healthy; else stable gets it.
    struct Health {
        /// The path that answers 200 to 299 where all is well. Default: `/health`.
        path: UrlPath,
        /// The authority of the probes. Default: the cluster's name.
        host: HostPattern,
        /// From one probe to the next, from `250ms` to `1h`. Default: `5s`.
        interval: Duration,
        /// How long an answer may take, from `1ms` to `1m`. Default: `10s`.
        timeout: Duration,
        /// So many failures in a row make it unhealthy. Default: 3.
        unhealthy_after: InARow,
        /// So many successes in a row make it healthy again. Default: 2.
        healthy_after: InARow,
        /// Whether an unhealthy stable's share goes to the other healthy environments. Default: false, for the data plane
        /// fails over.
        failover: bool,
    }
}

object! {
    /// Copies of requests: those of safe methods (`GET`, `HEAD`, `OPTIONS`), and those to listed paths. A copy goes to the
    /// first of the environment's clusters with the environment's own credential; nobody waits for its answer.
    struct Shadow {
        /// The environment that gets copies.
        environment: Name [required],
        /// How many of the requests that go to other environments are copied, in percent, with at most two decimals.
        percent: Share [required],
        /// Requests with longer bodies are not copied; at most `1MiB`. Default: `64KiB`.
        max_body: Size,
        /// Paths (without a query) of which requests of every method are copied. Default: none.
        paths: Items<UrlPath>,
        /// How long a copy's answer may take, up to `10m`. Default: `30s`.
        timeout: Duration,
    }
}

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
        /// Whether streams of `/completions` endpoints are asked to say at their end what they took
        /// (`stream_options.include_usage`); clients that did not ask do not see it. Default: true.
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
        /// Tokens of the answer. Default: nothing, for there are answers without.
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
        /// The environment.
        "upstream" => Upstream,
    }
}

object! {
    /// What a consumer may use up; at least one. It is counted for each proxy by itself, in memory that all of its workers
    /// share. Requests are exact; the tokens and the cost of an answer count once they are known, so that a limit is exceeded by
    /// at most what the requests take that are on their way when it is reached. A fleet admits at most as much as that for each
    /// proxy.
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

// === impl Document ===

impl Read for Document {
    const EXPECTED: &'static str = "a rollout document";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        let Node::Object(fields) = node else {
            problems.wrong_type(at, "an object: a rollout document", node);
            return None;
        };
        if fields.iter().any(|(name, _)| name == "rollouts") {
            return Rollouts::read(node, at, problems).map(Self::Many);
        }
        Rollout::read(node, at, problems).map(|rollout| Self::One(Box::new(rollout)))
    }
}

// === impl Items ===

impl<T: Read> Read for Items<T> {
    const EXPECTED: &'static str = "an array";

    #[cold]
    #[inline(never)]
    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        let Node::Array(items) = node else {
            problems.wrong_type(at, Self::EXPECTED, node);
            return None;
        };
        let item = |(index, node)| Some((index, T::read(node, &at.item(index), problems)?));
        Some(Self(items.iter().enumerate().filter_map(item).collect()))
    }
}

// === impl ByName ===

impl<T: Read> Read for ByName<T> {
    const EXPECTED: &'static str = "an object from environment names to environments";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        let mut environments: Vec<(Name, T)> = Vec::new();
        for (name, node) in members(node, at, problems)? {
            let at = at.member(name);
            let value = T::read(node, &at, problems);
            match Name::new(name) {
                Some(name) => {
                    let place = environments.partition_point(|(other, _)| *other < name);
                    value
                        .into_iter()
                        .for_each(|value| environments.insert(place, (name.clone(), value)));
                }
                None => problems.push(
                    &at,
                    ["is no environment name: expected ", Name::EXPECTED].concat(),
                ),
            }
        }
        Some(Self(environments))
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

// === impl KeySource ===

impl Read for KeySource {
    const EXPECTED: &'static str =
        "`\"consumer\"`, `\"source_address\"`, `{\"header\": NAME}` or `{\"cookie\": NAME}`";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        match node {
            Node::String(word) if word == "consumer" => Some(Self::Consumer),
            Node::String(word) if word == "source_address" => Some(Self::SourceAddress),
            Node::Object(_) => KeyField::read(node, at, problems).map(Self::Field),
            Node::String(_) => {
                problems.push(at, ["expected ", Self::EXPECTED].concat());
                None
            }
            _ => {
                problems.wrong_type(at, Self::EXPECTED, node);
                None
            }
        }
    }
}

/// The configuration of an attempt role.
pub(crate) fn read_route_plugin(node: &Node, problems: &mut Problems) -> Option<String> {
    object! {
        /// The attempt role's own configuration.
        struct Attempt {
            /// The name of the route plugin whose requests get credentials. Default: any.
            route_plugin: ClusterName,
        }
    }
    let attempt = Attempt::read(node, &At::Root, problems)?;
    attempt.route_plugin.map(|name| name.as_str().to_owned())
}
