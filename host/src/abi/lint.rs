//! The lint: what a filter does that breaks, or is answered otherwise, in another host or by an SDK.
//!
//! Each rule is noticed where the host takes the decision it is about, on paths that well-behaved filters do not take;
//! what can only be seen on busy paths is looked at in `after`, which runs under the lint only.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use wasmtime::Caller;

use super::import::ImportInfo;
use super::memory::split;
use super::{callbacks, headers};
use crate::vm::state::State;

/// What was found, each rule once for each plugin.
#[derive(Debug, Default)]
pub struct Lint(Mutex<BTreeSet<Finding>>);

/// A rule that a plugin met.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The plugin's name.
    pub plugin: String,
    /// The rule.
    pub rule: Rule,
}

/// Declares the rules: name, id and text of each.
macro_rules! rules {
    ($($name:ident $id:literal $text:literal)*) => {
        /// A rule of the lint.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = $text] $name,)*
        }

        impl Rule {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// A short name.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)*
                }
            }

            /// What the filter did, and what comes of it where.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

rules! {
    UnavailableHeader "header-of-absent-map"
        "asked for a header of a map that this callback does not have: Envoy answers BAD_ARGUMENT, on which the Rust \
         SDK panics; the specification has NOT_FOUND. Keep the value from the callback that brings the map"
    UnavailablePairs "pairs-of-absent-map"
        "asked for all fields of a map that this callback does not have: Envoy answers OK without any, other hosts an \
         error, on which the Rust SDK panics"
    UnavailableEdit "edit-of-absent-map"
        "changed a map that this callback does not have: nothing is changed, and BAD_ARGUMENT, which Envoy answers, \
         makes the Rust SDK panic"
    UnavailableBuffer "absent-buffer"
        "used a buffer that this callback does not have: Envoy shows an empty one that cannot be changed, the \
         specification has NOT_FOUND"
    PastTheEnd "read-past-the-end"
        "read a buffer from behind its end: Envoy answers OK with nothing, the specification BAD_ARGUMENT, on which \
         the Rust SDK panics"
    PartialReplace "replace-of-a-part"
        "replaced a part of a body other than its beginning: Envoy answers BAD_ARGUMENT, on which the Rust SDK panics; \
         it only replaces what a body begins with, and appends from its end"
    MalformedPairs "malformed-map"
        "handed over a header map that cannot be read (lengths, NULs, more than 1,024 fields or 1 MiB): Envoy takes it \
         for an empty map"
    InvalidHeader "invalid-header"
        "set a header whose name or value no HTTP message can carry: this host answers BAD_ARGUMENT, Envoy takes it as \
         it is"
    InvalidPath "path-that-is-none"
        "set a `:path` that does not begin with a slash or has characters that no path has: this host answers such a \
         request with 404, Envoy answers it with 503 or sends it"
    MissingPseudo "missing-pseudo-header"
        "took a pseudo header away that the message needs: Envoy then answers the request itself, with 400 or 502"
    ManyValues "first-of-many-values"
        "asked for a header that has several values: Envoy hands over the first only. A decision that depends on it can \
         be circumvented; read all pairs"
    NotUtf8 "value-not-utf8"
        "was given a header value that is not UTF-8: the Rust SDK's functions without `_bytes` panic on it"
    RecordCounter "record-on-counter"
        "recorded a value on a counter: Envoy adds it, the specification sets it"
    ReadHistogram "read-of-histogram"
        "read a histogram: Envoy answers BAD_ARGUMENT, the specification knows only NOT_FOUND"
    CasOnMissing "cas-on-missing-key"
        "set shared data that is not there with a compare-and-swap number: Envoy creates it, the specification has \
         CAS_MISMATCH"
    DoneLater "stream-done-later"
        "answered false in proxy_on_done of a stream: Envoy deletes the context all the same"
    LateReply "reply-after-response"
        "sent a local response where the response's headers had passed it: Envoy cannot send it and resets the stream \
         or drops it"
    GrpcStatus "grpc-status-out-of-range"
        "sent a local response with a gRPC status above 16 (other than -1, which means none): it is left out"
    InvalidStatus "reply-without-status"
        "sent a local response with a number that is no status of an answer (below 200 or above 999): this host sends \
         500, Envoy a broken response"
    BareProperty "bare-property"
        "read a property by a name that Envoy has not had since 1.33: there it is under `xds`"
    NestedProperty "nested-property"
        "set a property under a path of several names: Envoy finds it under none of them again"
    LateProperty "request-property-later"
        "read a property of the request's headers after they had passed it: Envoy answers NOT_FOUND then, except in \
         proxy_on_log"
    ConnectionStream "connection-of-http-filter"
        "continued or closed a connection from an HTTP filter: it does nothing in Envoy; continuing the upstream's \
         answers UNIMPLEMENTED, on which the Rust SDK panics"
    MissingForeign "foreign-function"
        "called a foreign function that this host does not have; each host has its own"
    NeverCalled "callback-never-called"
        "exports callbacks of TCP or metadata, which this host never calls"
}

/// Whether a module has callbacks that no host of HTTP filters calls, or not this one.
pub(crate) fn has_uncalled(module: &wasmtime::Module) -> bool {
    module.exports().any(|export| {
        let name = export.name();
        (name.starts_with("proxy_on_") || name.starts_with("envoy_on_"))
            && name != "proxy_on_memory_allocate"
            && !callbacks::CALLBACKS
                .iter()
                .any(|known| known.called && known.name == name)
    })
}

// === impl Finding ===

impl fmt::Display for Finding {
    /// `PLUGIN [RULE] the filter did so and so: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, rule } = self;
        write!(f, "{plugin} [{}] the filter {}", rule.id(), rule.text())
    }
}

// === impl Lint ===

impl Lint {
    /// What was found so far, by plugin and rule.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.iter().cloned().collect()
    }

    /// Notes that a plugin met a rule; the first time it is said in the log.
    pub fn note(&self, plugin: &str, rule: Rule) {
        let finding = Finding {
            plugin: plugin.to_owned(),
            rule,
        };
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.insert(finding.clone()) {
            drop(found);
            tracing::warn!(target: "lint", "{finding}");
        }
    }
}

/// Looks at a hostcall that has ended, with its arguments: what busy paths do not look for.
pub(super) fn after(
    caller: &mut Caller<'_, State>,
    import: &ImportInfo,
    arguments: &[u64],
    result: Option<u32>,
) {
    let (Some(0), "proxy_get_header_map_value", [map, at, len, ..]) =
        (result, import.name, arguments)
    else {
        return;
    };
    let number = |word: &u64| u32::try_from(*word).unwrap_or(u32::MAX);
    let Ok((view, state)) = split(caller) else {
        return;
    };
    let Ok(name) = view.bytes(number(at), number(len)) else {
        return;
    };
    let (values, text) = headers::values(state, number(map), name);
    if values > 1 {
        lint(state, Rule::ManyValues);
    }
    if !text {
        lint(state, Rule::NotUtf8);
    }
}

/// Notes that the effective plugin met a rule, where there is a lint.
#[cold]
pub(crate) fn lint(state: &State, rule: Rule) {
    if let Some(lint) = &state.process.abi.lint {
        lint.note(state.plugin_name(), rule);
    }
}
