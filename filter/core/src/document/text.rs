//! The document's leaf values: types that hold only what is valid.

use crate::document::read::{At, Problems, Read};
use crate::json::Node;
use crate::secret::Secret;
use crate::time::{Duration, Timestamp};

pub use number::Rate;
pub(crate) use number::{Count, Dollars, InARow, Quota, Usd, Volume, Weight};

/// Declares a string type: what it may hold, as a check, a pattern for the JSON Schema, and words for messages.
macro_rules! text {
    ($(#[doc = $doc:literal])* $name:ident, $expected:literal, $pattern:literal, $check:expr) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the type may hold this text.
            fn is_valid(text: &str) -> bool {
                let check: fn(&str) -> bool = $check;
                check(text)
            }

            /// The text as this type.
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                Self::is_valid(text).then(|| Self(text.to_owned()))
            }
        }

        impl Read for $name {
            const EXPECTED: &'static str = $expected;

            fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
                text(node, at, problems, $expected, Self::is_valid).map(Self)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "title": $expected, "pattern": $pattern })
            }
        }

        #[cfg(test)]
        impl $name {
            /// For the test that keeps pattern and check in step.
            fn pattern_and_check() -> (&'static str, fn(&str) -> bool) {
                ($pattern, Self::is_valid)
            }
        }
    };
}

text!(
    /// The name of an environment, such as `blue`.
    Name, "1 to 32 of the characters a-z, 0-9 and `-`", "^[a-z0-9-]{1,32}$",
    |text| all(text, 32, |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
);
text!(
    /// The identity of a rollout.
    RolloutId, "1 to 64 of the characters A-Z, a-z, 0-9, `.`, `_` and `-`", "^[A-Za-z0-9._-]{1,64}$",
    |text| all(text, 64, |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
);
text!(
    /// Printable text that may stand in a header: a version, a consumer's name.
    Label, "1 to 64 printable ASCII characters, no space at either end", "^[!-~]([ -~]{0,62}[!-~])?$",
    |text| text.trim_matches(' ') == text && all(text, 64, |byte| matches!(byte, b' '..=b'~'))
);
text!(
    /// The name of a cluster.
    ClusterName, "1 to 256 printable ASCII characters without spaces", "^[!-~]{1,256}$",
    |text| all(text, 256, |byte| byte.is_ascii_graphic())
);
text!(
    /// The name of a header that the filter may write, in small letters.
    HeaderName,
    "a header's name in small letters (1 to 64 characters), none that frames or routes the message",
    "^(?!(connection|content-length|expect|host|keep-alive|te|trailer|transfer-encoding|upgrade)$)[a-z0-9!#$%&'*+.^_`|~-]{1,64}$",
    |text| all(text, 64, |byte| is_token(byte) && !byte.is_ascii_uppercase()) && !FRAMING_HEADERS.contains(&text)
);
text!(
    /// An authentication scheme, such as `Bearer`; empty for a bare value.
    Scheme, "an authentication scheme such as `Bearer`, or nothing for the bare value",
    "^[A-Za-z0-9!#$%&'*+.^_`|~-]{0,32}$",
    |text| text.is_empty() || all(text, 32, is_token)
);
text!(
    /// The name of a cookie.
    CookieName, "a cookie's name (1 to 64 token characters)", "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$",
    |text| all(text, 64, is_token)
);
text!(
    /// The name of a query parameter.
    QueryName, "1 to 64 of the characters A-Z, a-z, 0-9, `.`, `_`, `~` and `-`", "^[A-Za-z0-9._~-]{1,64}$",
    |text| all(text, 64, |byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
);
text!(
    /// The name of an environment variable.
    VariableName, "an environment variable's name: letters, digits and `_`, no digit first", "^[A-Za-z_][A-Za-z0-9_]{0,127}$",
    |text| !text.starts_with(|first: char| first.is_ascii_digit())
        && all(text, 128, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
);
text!(
    /// A request method.
    Method, "a request method in capital letters, such as `OPTIONS`", "^[A-Z]{1,32}$",
    |text| all(text, 32, |byte| byte.is_ascii_uppercase())
);
text!(
    /// A path, without a query.
    UrlPath, "a path that starts with `/`, without a query", "^/[!\"$->@-~]{0,1023}$",
    |text| text.starts_with('/') && all(text, 1024, |byte| byte.is_ascii_graphic() && !b"?#".contains(&byte))
);
text!(
    /// A host in small letters, without a port, or `*.` and what the host must end in.
    HostPattern, "a host name in small letters without a port, or `*.` and a suffix", "^(\\*\\.)?[a-z0-9._:\\[\\]-]{1,253}$",
    |text| all(text.strip_prefix("*.").unwrap_or(text), 253, |byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-:[]".contains(&byte)
    })
);

text!(
    /// The name of a model.
    ModelName, "a model's name: 1 to 128 of the characters A-Z, a-z, 0-9 and `._:/@+-`", "^[A-Za-z0-9._:/@+-]{1,128}$",
    |text| all(text, 128, is_of_model)
);
text!(
    /// The name of a model, or what names begin with and `*`.
    ModelPattern, "a model's name, or what names begin with and `*`", "^([A-Za-z0-9._:/@+-]{1,128}\\*?|\\*)$",
    |text| text == "*" || all(text.strip_suffix('*').unwrap_or(text), 128, is_of_model)
);

impl ModelPattern {
    /// Whether a model's name is this, or begins so.
    #[must_use]
    #[inline]
    pub fn fits(&self, name: &str) -> bool {
        match self.as_str().strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => self.as_str() == name,
        }
    }
}

/// Names that frame or route a message: the filter must never write or remove them.
const FRAMING_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn all(text: &str, longest: usize, allowed: impl Fn(u8) -> bool) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_of_model(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._:/@+-".contains(&byte)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a header may hold these bytes: none of the control characters, and something to hold.
pub(crate) fn is_header_value(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// Reads a string that `convert` accepts. Messages do not repeat it: it may be a secret in the wrong place.
#[cold]
#[inline(never)]
fn string<T>(
    node: &Node,
    at: &At<'_>,
    problems: &mut Problems,
    expected: &str,
    convert: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let Node::String(text) = node else {
        problems.wrong_type(at, ["a string: ", expected].concat().as_str(), node);
        return None;
    };
    let value = convert(text);
    if value.is_none() {
        problems.push(at, ["expected ", expected].concat());
    }
    value
}

/// Reads a string that `is_valid` accepts; one function for all types that are nothing but that.
#[cold]
#[inline(never)]
fn text(
    node: &Node,
    at: &At<'_>,
    problems: &mut Problems,
    expected: &str,
    is_valid: fn(&str) -> bool,
) -> Option<String> {
    string(node, at, problems, expected, |text| {
        is_valid(text).then(|| text.to_owned())
    })
}

/// Declares how a type is read from a string and what its JSON Schema is.
macro_rules! read_string {
    ($name:ident, $expected:literal, $schema:tt, $convert:expr) => {
        impl Read for $name {
            const EXPECTED: &'static str = $expected;

            fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
                string(node, at, problems, $expected, $convert)
            }
        }

        schema!($name, $schema, $expected);
    };
}

macro_rules! schema {
    ($name:ident, $schema:tt $(, $title:literal)?) => {
        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                #[allow(unused_mut, reason = "not every type has a title")]
                let mut schema = schemars::json_schema!($schema);
                $(schema.insert("title".to_owned(), $title.into());)?
                schema
            }
        }
    };
}

mod number;

/// The SHA-256 digest of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyDigest(pub(crate) [u8; 32]);

read_string!(
    Timestamp, "an RFC 3339 instant such as `2026-11-22T20:00:00Z`", { "type": "string", "format": "date-time" },
    Timestamp::parse
);
read_string!(
    Duration, "a duration such as `90s`, `5m` or `1h30m`",
    { "type": "string", "pattern": "^(?=.)(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?$" }, Duration::parse
);
read_string!(
    Secret, "the credential's value: 1 to 8192 characters, no control characters",
    { "type": "string", "minLength": 1, "maxLength": 8192 },
    |text| (text.len() <= 8192 && is_header_value(text.as_bytes())).then(|| Secret::new(text.as_bytes()))
);
read_string!(
    KeyDigest, "64 hexadecimal digits: the SHA-256 digest of the key", { "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" },
    |text| {
        let mut digest = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != digest.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            *byte = hex_value(*high)? << 4 | hex_value(*low)?;
        }
        Some(KeyDigest(digest))
    }
);

/// The value of a hexadecimal digit.
pub(crate) fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A number of bytes, at most 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub(crate) u32);

/// What a guest's memory holds without trouble for each of many requests at a time.
const MOST_BYTES: u32 = 1 << 20;

/// A number of bytes that the host holds, at most 64 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BodySize(pub(crate) u32);

const LONGEST_BODY: u32 = 64 << 20;

/// Reads a number of bytes such as `64KiB`, `1MiB`, `512B`, up to `most`.
fn bytes(text: &str, most: u32) -> Option<u32> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits)? {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| digits.parse::<u32>().ok())??;
    number.checked_mul(unit).filter(|bytes| *bytes <= most)
}

read_string!(
    Size, "a size such as `64KiB`, at most `1MiB`", { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB)$" },
    |text| bytes(text, MOST_BYTES).map(Size)
);
read_string!(
    BodySize, "a size such as `512KiB`, at most `64MiB`", { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB)$" },
    |text| bytes(text, LONGEST_BODY).map(BodySize)
);

#[cfg(test)]
mod tests;
