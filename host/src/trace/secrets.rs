//! Which values are secret, and their removal from all that is shown.
//!
//! A value is secret by the name it goes by: of a header, of a member of the configuration, of a query parameter; all
//! values of the guest's variables are. Where such a value occurs elsewhere, in a log line or under a name of no
//! meaning, it is masked there too. Names are gathered while the exchange runs, and masked by when it is over.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::changes::{Change, RawChange};
use super::{Argument, CallTrace, CallbackTrace, Value};
use crate::config::WasmPlugin;
use crate::rig::Exchange;

/// The secrets that are known so far.
pub(super) struct Secrets {
    /// Names of the user's own, in lower case without `-` and `_`.
    names: Vec<String>,
    /// Values in the order in which they were found: a value's number is its place.
    values: Vec<Secret>,
}

/// A secret value.
struct Secret {
    bytes: Vec<u8>,
    /// Its number in what is shown.
    number: usize,
}

/// Parts of names of secrets, in lower case without `-` and `_`.
const TELLING: [&str; 11] = [
    "secret",
    "token",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "auth",
    "cookie",
];

/// Names that have such a part and are no secrets. `authenticate` is a challenge, tokens are also counted.
const HARMLESS: [&str; 6] = [
    ":authority",
    "authority",
    "wwwauthenticate",
    "proxyauthenticate",
    "maxtokens",
    "author",
];

/// Members that say where a secret is, or of what kind, within one that tells of a secret.
const ABOUT: [&str; 7] = ["env", "header", "scheme", "name", "query", "mode", "form"];

/// Shorter values are masked only where they stand by themselves: as parts they would be in every other word.
const SHORT: usize = 4;

// === impl Secrets ===

impl Secrets {
    pub(super) fn new(names: &[String]) -> Self {
        Self {
            names: names.iter().map(|name| plain(name)).collect(),
            values: Vec::new(),
        }
    }

    /// Whether what goes by that name is secret.
    fn is_secret(&self, name: &str) -> bool {
        let name = plain(name);
        if self.names.contains(&name) {
            return true;
        }
        let is_telling = TELLING.iter().any(|part| name.contains(part));
        let is_key = name == "key" || name == "keys" || name.ends_with("signingkey");
        (is_telling || is_key) && !HARMLESS.contains(&name.as_str())
    }

    /// Learns from the request and the responses.
    pub(super) fn learn_exchange(&mut self, exchange: &Exchange) {
        let Exchange {
            request,
            response,
            callout,
        } = exchange;
        let mut maps = vec![request.headers(), response.headers()];
        maps.extend(callout.iter().map(http::Response::headers));
        for (name, value) in maps.into_iter().flatten() {
            self.learn_field(name.as_str().as_bytes(), value.as_bytes());
        }
        self.learn_query(request.uri().query().unwrap_or_default());
        let bodies = [request.body(), response.body()];
        let answers = callout.iter().map(http::Response::body);
        for body in bodies.into_iter().chain(answers) {
            if let Ok(json) = serde_json::from_slice::<Json>(body) {
                self.learn_json(&json, false);
            }
        }
    }

    /// Learns from a plugin's configurations and its guest's variables.
    pub(super) fn learn_plugin(&mut self, plugin: &WasmPlugin) {
        for value in plugin.vm.environment.values() {
            self.add(value.as_bytes());
        }
        for configuration in [&plugin.configuration, &plugin.vm.configuration] {
            match serde_json::from_slice::<Json>(configuration) {
                Ok(json) => self.learn_json(&json, false),
                Err(_) => self.learn_lines(&String::from_utf8_lossy(configuration)),
            }
        }
    }

    /// Learns from a header field.
    pub(super) fn learn_field(&mut self, name: &[u8], value: &[u8]) {
        let name = String::from_utf8_lossy(name);
        if name == ":path" {
            let text = String::from_utf8_lossy(value);
            self.learn_query(text.split_once('?').map_or("", |(_, query)| query));
        }
        if !self.is_secret(&name) {
            return;
        }
        match plain(&name).as_str() {
            "cookie" => value
                .split(|byte| *byte == b';')
                .for_each(|pair| self.add_pair(pair)),
            "setcookie" => {
                self.add_pair(value.split(|byte| *byte == b';').next().unwrap_or_default())
            }
            _ => self.add_credential(value),
        }
    }

    /// Learns from what a guest gave and got.
    pub(super) fn learn_call(&mut self, call: &CallTrace) {
        let all = || call.arguments.iter().chain(&call.returned);
        let named = |name: &str| {
            all().find_map(|argument| match &argument.value {
                Value::Bytes(bytes) if argument.name == name => Some(bytes.clone()),
                _ => None,
            })
        };
        for argument in all() {
            if let Value::Fields(fields) = &argument.value {
                for (name, value) in fields.clone() {
                    self.learn_field(&name, &value);
                }
            }
        }
        let Some(value) = named("value") else { return };
        // A path's last part is a header's name, or a member's.
        let path = named("path").map(|path| match path.iter().rposition(|byte| *byte == b'.') {
            Some(dot) => path.get(dot + 1..).unwrap_or_default().to_vec(),
            None => path,
        });
        if let Some(name) = named("name").or_else(|| named("key")).or(path) {
            self.learn_field(&name, &value);
        }
    }

    /// Strings of members that go by a secret's name, and all strings within them.
    fn learn_json(&mut self, json: &Json, is_secret: bool) {
        match json {
            Json::String(text) if is_secret => {
                self.add_credential(text.as_bytes());
                // As it stands in the configuration's own text.
                let escaped = Json::from(text.as_str()).to_string();
                let number = self.number_of(text.as_bytes());
                self.add_as(escaped.trim_matches('"').as_bytes(), number);
            }
            Json::Array(items) => items
                .iter()
                .for_each(|item| self.learn_json(item, is_secret)),
            Json::Object(members) => {
                for (name, value) in members {
                    let is_about = is_secret && ABOUT.contains(&name.as_str());
                    let is_secret = self.is_secret(name) || is_secret && !is_about;
                    self.learn_json(value, is_secret);
                }
            }
            _ => {}
        }
    }

    /// `name: value` and `name=value` in text that is not JSON.
    fn learn_lines(&mut self, text: &str) {
        let is_quote = |c| matches!(c, '"' | '\'' | ',');
        for line in text.lines() {
            let Some(at) = line.find(['=', ':']) else {
                continue;
            };
            let (name, value) = line.split_at(at);
            let name = name.trim_matches(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
            let value = value
                .get(1..)
                .unwrap_or_default()
                .trim()
                .trim_matches(is_quote);
            if self.is_secret(name.rsplit([' ', '.']).next().unwrap_or(name)) {
                self.add_credential(value.as_bytes());
            }
        }
    }

    fn learn_query(&mut self, query: &str) {
        for pair in query.split('&') {
            if let Some((name, value)) = pair.split_once('=')
                && self.is_secret(name)
            {
                self.add(value.as_bytes());
            }
        }
    }

    /// `name=value` of a cookie.
    fn add_pair(&mut self, pair: &[u8]) {
        let at = pair.iter().position(|byte| *byte == b'=');
        let value = at.and_then(|at| pair.get(at + 1..)).unwrap_or(pair);
        self.add(value.trim_ascii());
    }

    /// A credential: what stands behind its scheme, and for `Basic` what that holds.
    fn add_credential(&mut self, value: &[u8]) {
        let value = value.trim_ascii();
        let space = value.iter().position(|byte| *byte == b' ');
        let Some((scheme, rest)) = space.map(|at| value.split_at(at)) else {
            return self.add(value);
        };
        let rest = rest.trim_ascii();
        self.add(rest);
        if scheme.eq_ignore_ascii_case(b"basic")
            && let Ok(pair) = STANDARD.decode(rest)
        {
            self.add(&pair);
            if let Some(colon) = pair.iter().position(|byte| *byte == b':') {
                self.add(pair.get(colon + 1..).unwrap_or_default());
            }
        }
    }

    fn add(&mut self, value: &[u8]) {
        let number = self.number_of(value);
        self.add_as(value, number);
    }

    fn add_as(&mut self, value: &[u8], number: usize) {
        let is_known = |secret: &Secret| secret.bytes == value;
        if !value.is_empty() && !self.values.iter().any(is_known) {
            let bytes = value.to_vec();
            self.values.push(Secret { bytes, number });
            // The longest first: what holds another is masked as one.
            self.values
                .sort_by_key(|secret| std::cmp::Reverse(secret.bytes.len()));
        }
    }

    fn number_of(&self, value: &[u8]) -> usize {
        let known = self.values.iter().find(|secret| secret.bytes == value);
        let most = self.values.iter().map(|secret| secret.number).max();
        known.map_or(most.unwrap_or(0) + 1, |secret| secret.number)
    }

    /// Masks a whole callback.
    pub(super) fn mask_callback(&self, callback: &mut CallbackTrace) {
        callback.plugin = self.mask_text(callback.plugin.as_bytes());
        if let Some(trap) = &mut callback.trap {
            *trap = self.mask_text(trap.as_bytes());
        }
        for call in &mut callback.calls {
            let all = call.arguments.iter_mut().chain(&mut call.returned);
            all.for_each(|argument| self.mask_argument(argument));
        }
    }

    fn mask_argument(&self, argument: &mut Argument) {
        match &mut argument.value {
            Value::Bytes(bytes) => *bytes = self.mask(bytes),
            Value::Fields(fields) => {
                for (name, value) in fields {
                    *value = self.mask_field(name, value).into_bytes();
                    *name = self.mask(name);
                }
            }
            _ => {}
        }
    }

    /// Masks a header's change.
    pub(super) fn mask_change(&self, change: &RawChange) -> Change {
        let value = |value: &Option<Vec<u8>>| {
            let value = value.as_ref();
            value.map(|value| self.mask_field(&change.name, value))
        };
        Change {
            map: change.map,
            name: self.mask_text(&change.name),
            before: value(&change.before),
            after: value(&change.after),
        }
    }

    /// A field's value with all secrets masked; where its name tells of one, none of it is left by accident.
    pub(super) fn mask_field(&self, name: &[u8], value: &[u8]) -> String {
        let masked = self.mask_text(value);
        let is_secret = self.is_secret(&String::from_utf8_lossy(name));
        if is_secret && !value.is_empty() && masked.as_bytes() == value {
            return "<secret>".to_owned();
        }
        masked
    }

    /// Masks bytes, and gives them as text.
    pub(super) fn mask_text(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(&self.mask(bytes)).into_owned()
    }

    /// Masks bytes.
    pub(super) fn mask(&self, bytes: &[u8]) -> Vec<u8> {
        let mut found: Vec<(Range<usize>, usize)> = Vec::new();
        for secret in &self.values {
            for at in memchr::memmem::find_iter(bytes, &secret.bytes) {
                let range = at..at + secret.bytes.len();
                let is_free = |(other, _): &(Range<usize>, usize)| {
                    range.end <= other.start || other.end <= range.start
                };
                let counts = secret.bytes.len() >= SHORT || stands_alone(bytes, &range);
                if counts && found.iter().all(is_free) {
                    found.push((range, secret.number));
                }
            }
        }
        found.sort_by_key(|(range, _)| range.start);
        let mut masked = Vec::with_capacity(bytes.len());
        let mut from = 0;
        for (range, number) in found {
            masked.extend_from_slice(bytes.get(from..range.start).unwrap_or_default());
            masked.extend_from_slice(format!("<secret {number}>").as_bytes());
            from = range.end;
        }
        masked.extend_from_slice(bytes.get(from..).unwrap_or_default());
        masked
    }
}

/// Whether neither side of a range goes on with a letter or a digit.
fn stands_alone(bytes: &[u8], range: &Range<usize>) -> bool {
    let before = range.start.checked_sub(1).and_then(|at| bytes.get(at));
    let after = bytes.get(range.end);
    let is_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    !is_word(before) && !is_word(after)
}

/// In lower case, without what words are joined by.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '-' | '_' | ' '));
    letters.collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(names: &[&str]) -> Secrets {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Secrets::new(&names)
    }

    #[test]
    fn a_value_is_masked_wherever_it_occurs_and_keeps_its_number() {
        let mut s = secrets(&[]);
        s.learn_field(b"authorization", b"Bearer abc-123");
        s.learn_field(b"x-api-key", b"def-456");
        s.learn_field(b"accept", b"text/plain");
        assert_eq!(s.mask_text(b"Bearer abc-123"), "Bearer <secret 1>");
        assert_eq!(
            s.mask_text(b"got def-456 and abc-123."),
            "got <secret 2> and <secret 1>."
        );
        assert_eq!(s.mask_text(b"text/plain"), "text/plain");
    }

    #[test]
    fn what_is_within_credentials_is_secret_too() {
        let mut s = secrets(&[]);
        s.learn_field(b"proxy-authorization", b"Basic dXNlcjpodW50ZXIy");
        s.learn_field(b"cookie", b"session=s3ss10n; theme=dark");
        s.learn_field(b"set-cookie", b"id=fresh1; Path=/; HttpOnly");
        s.learn_field(b":path", b"/a?api_key=qu3ry&page=2");
        for text in ["dXNlcjpodW50ZXIy", "hunter2", "s3ss10n", "fresh1", "qu3ry"] {
            assert!(!s.mask_text(text.as_bytes()).contains(text), "{text}");
        }
        assert_eq!(s.mask_text(b"/a?page=2; Path=/"), "/a?page=2; Path=/");
    }

    #[test]
    fn configuration_members_are_secret_by_name() {
        let mut s = secrets(&["pepper"]);
        let json = serde_json::json!({
            "credential": {"header": "authorization", "scheme": "Bearer", "value": "v4lue"},
            "api_key": "with\"quote", "keys": ["one1", {"sha256": "d1gest"}], "pepper": "p3pper",
            "max_tokens": "many", "name": "plain", "credentials": {"env": "GREEN_API_KEY"},
        });
        s.learn_json(&json, false);
        let masked = s.mask_text(json.to_string().as_bytes());
        for secret in ["v4lue", "quote", "one1", "d1gest", "p3pper"] {
            assert!(!masked.contains(secret), "{secret} in {masked}");
        }
        for harmless in ["authorization", "Bearer", "many", "plain", "GREEN_API_KEY"] {
            assert!(masked.contains(harmless), "{harmless} in {masked}");
        }
        let mut s = secrets(&[]);
        s.learn_lines("listen = 80\nclient_secret: \"l1ne\"\nother.token=tok3n");
        assert_eq!(s.mask_text(b"l1ne tok3n 80"), "<secret 1> <secret 2> 80");
    }

    #[test]
    fn a_short_value_is_masked_only_by_itself() {
        let mut s = secrets(&[]);
        s.add(b"ab");
        assert_eq!(
            s.mask_text(b"tab ab=ab, about"),
            "tab <secret 1>=<secret 1>, about"
        );
    }

    #[test]
    fn the_longer_of_two_secrets_is_masked_as_one() {
        let mut s = secrets(&[]);
        s.add(b"secret-1");
        s.add(b"secret-1-and-more");
        assert_eq!(
            s.mask_text(b"secret-1-and-more secret-1"),
            "<secret 2> <secret 1>"
        );
    }

    /// No value of a credential's field is shown, even where nothing of it could be told apart.
    #[test]
    fn a_field_of_a_secret_name_is_never_shown() {
        let s = secrets(&["x-mine"]);
        assert_eq!(s.mask_field(b"x-mine", b"anything"), "<secret>");
        assert_eq!(s.mask_field(b"X-Auth-Token", b"anything"), "<secret>");
        assert_eq!(s.mask_field(b":authority", b"host"), "host");
    }
}
