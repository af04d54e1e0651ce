//! The rollout document: parsed, checked as a whole, and compiled into types that cannot be invalid.

mod compile;
mod digest;
pub(crate) mod raw;
pub(crate) mod read;
#[cfg(feature = "schema")]
mod schema;
pub(crate) mod text;

#[cfg(test)]
mod tests;

use siphasher::sip::SipHasher24;

use crate::auth::Auth;
use crate::auth::source::without_query;
use crate::document::read::{At, Problems};
use crate::guard::Guard;
use crate::headers::{Headers, Names, Slot, Spans};
use crate::health::Health;
use crate::json::Node;
use crate::models::{Allowed, Models};
use crate::schedule::Schedule;
use crate::secret::Secret;
use crate::shadow::Shadow;
use crate::sticky::Sticky;
use crate::strategy::rendezvous;

pub use raw::{Allow, AuthMode, ModelList, Ramp, Strategy, UnknownModel};
pub use read::Problem;
#[cfg(feature = "schema")]
pub use schema::schema;
pub use text::{
    BodySize, ClusterName, CookieName, HeaderName, HostPattern, Label, Method, ModelName,
    ModelPattern, Name, QueryName, Rate, RolloutId, Scheme, Size, UrlPath, VariableName,
};

/// The header that names the environment, on requests and responses.
pub const MODE_HEADER: &str = "x-deployment-mode";
/// The header that names the version of the environment that answered.
pub const VERSION_HEADER: &str = "x-deployment-version";

/// Looks an environment variable up, for credentials with `env`.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A document: one rollout or several.
#[derive(Debug)]
pub struct Document {
    pub(crate) rollouts: Vec<Rollout>,
    names: Names,
    slots: CommonSlots,
    variables: Vec<String>,
    digest: String,
}

/// The headers that every document asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommonSlots {
    pub(crate) method: Slot,
    pub(crate) path: Slot,
    pub(crate) authority: Slot,
    pub(crate) mode: Slot,
    pub(crate) cookie: Slot,
    pub(crate) shadow: Slot,
}

/// A rollout.
#[derive(Debug)]
pub struct Rollout {
    pub(crate) id: RolloutId,
    /// Index of the environment that traffic goes to when in doubt.
    pub(crate) stable: usize,
    /// In order of their names, at least one, the sum of their weights above zero.
    pub(crate) environments: Vec<Environment>,
    /// The weights, in the environments' order.
    pub(crate) weights: Vec<u32>,
    pub(crate) strategy: Strategy,
    pub(crate) sticky: Sticky,
    pub(crate) override_header: HeaderName,
    pub(crate) override_slot: Slot,
    pub(crate) allow: Allow,
    pub(crate) auth: Auth,
    pub(crate) attempts: bool,
    pub(crate) rollback: bool,
    pub(crate) resume: u32,
    pub(crate) schedule: Option<Schedule>,
    pub(crate) guard: Option<Guard>,
    pub(crate) health: Option<Health>,
    pub(crate) shadow: Option<Shadow>,
    pub(crate) models: Option<Models>,
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) path_prefix: Option<UrlPath>,
    pub(crate) response_headers: bool,
    /// Every header that carries some environment's credential, each once.
    pub(crate) credential_headers: Vec<(HeaderName, Slot)>,
}

/// An environment.
#[derive(Debug)]
pub struct Environment {
    pub(crate) name: Name,
    pub(crate) version: Option<Label>,
    pub(crate) clusters: Vec<ClusterName>,
    pub(crate) credential: Option<Credential>,
    /// The models that may go there.
    pub(crate) models: Allowed,
    hasher: SipHasher24,
}

/// A credential, as it goes upstream.
#[derive(Debug)]
pub struct Credential {
    pub(crate) header: HeaderName,
    pub(crate) value: Secret,
}

// === impl Document ===

impl Document {
    /// The rollouts, in the order in which they are tried.
    #[must_use]
    pub fn rollouts(&self) -> &[Rollout] {
        &self.rollouts
    }

    /// What the document says, as 12 hexadecimal digits: a metric label. See [`digest`].
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The environment variables that hold credentials, each once, in the order of the document.
    #[must_use]
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// Whether some rollout leaves credentials to an attempt role.
    #[must_use]
    pub fn has_attempts(&self) -> bool {
        self.rollouts.iter().any(|rollout| rollout.attempts)
    }

    /// The rollout of this identity, with its index.
    #[must_use]
    pub fn rollout(&self, id: &str) -> Option<(usize, &Rollout)> {
        self.rollouts
            .iter()
            .enumerate()
            .find(|(_, rollout)| rollout.id.as_str() == id)
    }

    /// Finds the headers that this document asks for in a serialised map; `None` if the map is malformed.
    #[inline]
    pub fn index<'a>(&'a self, pairs: &'a [u8], spans: &'a mut Spans) -> Option<Headers<'a>> {
        self.names.index(pairs, spans)
    }

    /// The headers of a map in which [`Document::index`] of this document has found these spans.
    #[must_use]
    pub fn indexed<'a>(&'a self, pairs: &'a [u8], spans: &'a Spans) -> Headers<'a> {
        self.names.indexed(pairs, spans)
    }

    /// The first rollout that is for this request, with its index.
    #[must_use]
    #[inline]
    pub fn select(&self, headers: &Headers<'_>) -> Option<(usize, &Rollout)> {
        let authority = headers.get(self.slots.authority).unwrap_or_default();
        let path = headers.get(self.slots.path).unwrap_or_default();
        self.rollouts
            .iter()
            .enumerate()
            .find(|(_, rollout)| rollout.fits(authority, path))
    }

    pub(crate) fn slots(&self) -> CommonSlots {
        self.slots
    }
}

// === impl Rollout ===

impl Rollout {
    /// The rollout's identity.
    #[must_use]
    pub fn id(&self) -> &RolloutId {
        &self.id
    }

    /// The environments, in order of their names.
    #[must_use]
    pub fn environments(&self) -> &[Environment] {
        &self.environments
    }

    /// The environment of this name, as an index.
    #[must_use]
    #[inline]
    pub fn environment(&self, name: &[u8]) -> Option<usize> {
        self.environments
            .iter()
            .position(|environment| environment.name.as_str().as_bytes() == name)
    }

    /// The index of the environment that traffic goes to when in doubt.
    #[must_use]
    pub fn stable(&self) -> usize {
        self.stable
    }

    /// The weights as they are written, in the environments' order; see [`Rollout::weights_at`] for those in force.
    #[must_use]
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// How requests without a sticky key are shared out.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Whether an attempt role injects the credentials.
    #[must_use]
    pub fn attempts(&self) -> bool {
        self.attempts
    }

    /// Whether another environment may answer than the one that was chosen. Where the route role itself injects the
    /// chosen environment's credential, no other can.
    #[must_use]
    pub fn may_answer_elsewhere(&self) -> bool {
        self.attempts
            || self
                .environments
                .iter()
                .all(|environment| environment.credential.is_none())
    }

    /// The count of resumes.
    #[must_use]
    pub fn resume(&self) -> u32 {
        self.resume
    }

    /// Whether everything goes to stable.
    #[must_use]
    pub fn rollback(&self) -> bool {
        self.rollback
    }

    /// The share that changes with time.
    #[must_use]
    pub fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    /// The tripwire.
    #[must_use]
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// The probes.
    #[must_use]
    pub fn health(&self) -> Option<&Health> {
        self.health.as_ref()
    }

    /// The copies of requests.
    #[must_use]
    pub fn shadow(&self) -> Option<&Shadow> {
        self.shadow.as_ref()
    }

    /// The hosts that the rollout is for; none: all.
    #[must_use]
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// What the paths start with that the rollout is for, in whole segments; `None`: all paths.
    #[must_use]
    pub fn path_prefix(&self) -> Option<&UrlPath> {
        self.path_prefix.as_ref()
    }

    /// The header that tells an environment who the consumer is.
    #[must_use]
    pub fn identity_header(&self) -> Option<&HeaderName> {
        self.auth.identity.as_ref().map(|(header, _)| header)
    }

    /// The environment that a sticky key belongs to under these weights.
    #[must_use]
    pub fn environment_of_key(&self, weights: &[u32], key: &[u8]) -> usize {
        rendezvous::choose(&self.environments, weights, key).unwrap_or(self.stable)
    }

    /// The name of a consumer.
    #[must_use]
    pub fn consumer(&self, index: usize) -> Option<&Label> {
        let consumer = self.auth.consumers.get(index);
        consumer.map(|consumer| &consumer.name)
    }

    /// Whether the rollout is for every request.
    #[must_use]
    pub fn fits_all(&self) -> bool {
        self.hosts.is_empty() && self.path_prefix.is_none()
    }

    #[inline]
    fn fits(&self, authority: &[u8], path: &[u8]) -> bool {
        if self.fits_all() {
            return true;
        }
        let host = without_port(authority);
        let of_host = self.hosts.is_empty()
            || self
                .hosts
                .iter()
                .any(|pattern| fits_host(pattern.as_str(), host));
        let prefix = self
            .path_prefix
            .as_ref()
            .map(|prefix| prefix.as_str().as_bytes());
        of_host && prefix.is_none_or(|prefix| fits_path(prefix, without_query(path)))
    }
}

fn without_port(authority: &[u8]) -> &[u8] {
    match authority
        .iter()
        .rposition(|byte| *byte == b':' || *byte == b']')
    {
        Some(colon) if authority.get(colon) == Some(&b':') => {
            authority.get(..colon).unwrap_or(authority)
        }
        _ => authority,
    }
}

#[inline]
fn fits_host(pattern: &str, host: &[u8]) -> bool {
    match pattern.strip_prefix('*') {
        None => host.eq_ignore_ascii_case(pattern.as_bytes()),
        Some(suffix) => host
            .len()
            .checked_sub(suffix.len())
            .filter(|start| *start > 0)
            .and_then(|start| host.get(start..))
            .is_some_and(|end| end.eq_ignore_ascii_case(suffix.as_bytes())),
    }
}

#[inline]
fn fits_path(prefix: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.ends_with(b"/") || matches!(rest.first(), None | Some(b'/')))
}

// === impl Environment ===

impl Environment {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The version that runs there.
    #[must_use]
    pub fn version(&self) -> Option<&Label> {
        self.version.as_ref()
    }

    /// The clusters whose attempts belong here.
    #[must_use]
    pub fn clusters(&self) -> &[ClusterName] {
        &self.clusters
    }

    /// The credential that requests carry.
    #[must_use]
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// The hash of the rollout's salt and this name, to which a sticky key is to be added.
    pub(crate) fn hasher(&self) -> SipHasher24 {
        self.hasher
    }

    #[cfg(test)]
    pub(crate) fn for_tests(name: &str, rollout: &str) -> Self {
        let hasher = crate::strategy::Salt::new(rollout).hasher(name);
        Self {
            name: Name::new(name).unwrap(),
            version: None,
            clusters: Vec::new(),
            credential: None,
            models: None,
            hasher,
        }
    }
}

// === impl Credential ===

impl Credential {
    /// The header that carries it.
    #[must_use]
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The header's whole value, scheme included.
    #[must_use]
    pub fn value(&self) -> &Secret {
        &self.value
    }
}

// === parsing ===

/// Envoy 1.40 hands a `google.protobuf.Struct` over as the bytes of the message, of which the first is a line feed.
const STRUCT_HINT: &str =
    " (Envoy hands a `google.protobuf.Struct` over as protobuf: use a `StringValue`)";

/// Parses and checks a rollout document.
///
/// # Errors
/// Everything that is wrong with it, each with its path; at least one problem. No problem repeats a secret.
pub fn parse(bytes: &[u8], variables: Variables<'_>) -> Result<Document, Vec<Problem>> {
    let mut problems = Problems::default();
    let document = read_json(bytes, &mut problems)
        .and_then(|node| compile::document(&node, variables, &mut problems));
    let problems = problems.into_vec();
    match document {
        Some(document) if problems.is_empty() => Ok(document),
        _ => Err(problems),
    }
}

/// What a document says, as the first 12 hexadecimal digits of a SHA-256 digest: the same for every text that says it,
/// whatever its order of members, its spaces or its way to write a number. `None` where the text is no JSON.
#[must_use]
pub fn digest(bytes: &[u8]) -> Option<String> {
    Some(digest::short(&Node::parse(bytes).ok()?))
}

/// Parses the configuration of an attempt role: nothing, `{}`, or `{"route_plugin": NAME}`; gives that name.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_attempt(bytes: &[u8]) -> Result<Option<String>, Vec<Problem>> {
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let mut problems = Problems::default();
    let plugin = read_json(bytes, &mut problems)
        .and_then(|node| raw::read_route_plugin(&node, &mut problems));
    let problems = problems.into_vec();
    if problems.is_empty() {
        Ok(plugin)
    } else {
        Err(problems)
    }
}

fn read_json(bytes: &[u8], problems: &mut Problems) -> Option<Node> {
    if bytes.trim_ascii().is_empty() {
        problems.push(
            &At::Root,
            "the configuration is empty: expected a rollout document, a JSON object",
        );
        return None;
    }
    let hint = if bytes.starts_with(b"\n") {
        STRUCT_HINT
    } else {
        ""
    };
    let note = |error: String| problems.push(&At::Root, ["is not JSON: ", &error, hint].concat());
    Node::parse(bytes).map_err(note).ok()
}
