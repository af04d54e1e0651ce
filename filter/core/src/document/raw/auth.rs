//! Credentials: of environments, and of consumers.

use crate::document::raw::{Items, Limits};
use crate::document::read::{choice, object};
use crate::document::text::{
    HeaderName, KeyDigest, Label, Method, ModelPattern, QueryName, Scheme, UrlPath, VariableName,
};
use crate::secret::Secret;
use crate::time::Timestamp;

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
