//! Which names tell of a secret.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Tells names of secrets from others.
pub(super) struct Names {
    /// The user's own, as [`plain`] makes them.
    own: Vec<String>,
}

/// Parts of names of secrets, as [`plain`] makes them.
const TELLING: [&str; 20] = [
    "secret",
    "token",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "subscriptionkey",
    "functionskey",
    "auth",
    "cookie",
    "session",
    "jwt",
    "assertion",
    "signature",
    "csrf",
    "xsrf",
];

/// Names of secrets that are parts of too many others.
const WHOLE: [&str; 8] = ["key", "keys", "sid", "sig", "otp", "pin", "pwd", "pass"];

/// Parts that hold a telling one and tell of no secret. `authenticate` is a challenge.
const HARMLESS: [&str; 7] = [
    "wwwauthenticate",
    "proxyauthenticate",
    "authority",
    "author",
    "maxtokens",
    "tokentype",
    "tokenizer",
];

/// Ends of names of amounts: a number that goes by such a name is no secret, whatever else it tells of.
const AMOUNTS: [&str; 14] = [
    "tokens", "count", "age", "ttl", "size", "length", "timeout", "limit", "minute", "seconds",
    "hour", "day", "percent", "version",
];

/// Members that say where a secret is, or of what kind, within one that tells of a secret.
const ABOUT: [&str; 7] = ["env", "header", "scheme", "name", "query", "mode", "form"];

/// Longer runs of bytes are no names.
pub(super) const LONGEST: usize = 128;

// === impl Names ===

impl Names {
    pub(super) fn new(own: &[String]) -> Self {
        Self {
            own: own.iter().map(|name| plain(name)).collect(),
        }
    }

    /// Whether what goes by that name is secret.
    pub(super) fn is_secret(&self, name: &[u8]) -> bool {
        let name = plain(&readable(name));
        if self.own.contains(&name) {
            return true;
        }
        // As in `user[password]`, `auth.key`.
        let mut words = name.split(['.', '[', ']', '/', ':']);
        if words.any(|word| WHOLE.contains(&word)) {
            return true;
        }
        let left = name.replace("authoriz", "auth ");
        let left = HARMLESS
            .iter()
            .fold(left, |left, part| left.replace(part, " "));
        TELLING.iter().any(|part| left.contains(part))
    }

    /// Whether a number of that name is how much there is of something.
    pub(super) fn is_amount(&self, name: &[u8]) -> bool {
        let name = plain(&readable(name));
        let is_amount = name.starts_with("max") || AMOUNTS.iter().any(|end| name.ends_with(end));
        is_amount && !self.own.contains(&name)
    }
}

/// Whether a member says something about the secret it stands beside.
pub(super) fn is_about(name: &[u8]) -> bool {
    ABOUT.iter().any(|about| about.as_bytes() == name)
}

fn readable(name: &[u8]) -> Cow<'_, str> {
    let decoded: Cow<'_, [u8]> = percent_decode(name).into();
    match decoded {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// In lower case, without what words are joined by.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '-' | '_' | ' ' | '+'));
    letters.collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whether_their_values_are_secret() {
        let names = Names::new(&["X-Mine".to_owned()]);
        for secret in [
            "Authorization",
            "proxy-authorization",
            "X-Auth-Token",
            "x-session-id",
            "PHPSESSION",
            "x-jwt-assertion",
            "X-Signature",
            "x-csrf-token",
            "xsrf",
            "sid",
            "connect.sid",
            "user[password]",
            "pass%77ord",
            "API_KEY",
            "x_mine",
            "Ocp-Apim-Subscription-Key",
        ] {
            assert!(names.is_secret(secret.as_bytes()), "{secret}");
        }
        for harmless in [
            ":authority",
            "www-authenticate",
            "author_id",
            "max_tokens",
            "token_type",
            "side",
            "design",
            "sec-websocket-key",
            "accept",
        ] {
            assert!(!names.is_secret(harmless.as_bytes()), "{harmless}");
        }
        assert!(names.is_amount(b"prompt_tokens") && names.is_amount(b"cookie_max_age"));
        assert!(!names.is_amount(b"password") && !names.is_amount(b"x-mine"));
    }
}
