//! Which requests belong together, and who may name an environment.

use crate::document::raw::Items;
use crate::document::read::{At, Problems, Read, choice, object};
use crate::document::text::{CookieName, HeaderName};
use crate::json::Node;
use crate::time::Duration;

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
