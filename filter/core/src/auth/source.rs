//! Where clients put their credentials.

use std::borrow::Cow;

use crate::document::text::{HeaderName, QueryName, Scheme, hex_value, is_header_value};
use crate::headers::{Headers, Slot};

/// A place where a credential may be.
#[derive(Debug)]
pub(crate) enum Source {
    /// A header, perhaps with a scheme before the credential
    Header {
        name: HeaderName,
        slot: Slot,
        scheme: Scheme,
    },
    /// A query parameter
    Query { name: QueryName },
}

/// What all accepted sources of a request hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// No credential
    Nothing,
    /// One credential, in one place or in several
    One(Cow<'a, [u8]>),
    /// Different credentials
    Conflict,
    /// A credential that no header could hold
    Malformed,
}

/// Finds the credential in all accepted places. `path` is the request's path with its query.
#[inline]
pub(crate) fn find<'a>(
    sources: &[Source],
    headers: &Headers<'a>,
    path: Option<&'a [u8]>,
) -> Found<'a> {
    let mut found = Found::Nothing;
    let mut note = |credential: Cow<'a, [u8]>| {
        found = match &found {
            Found::Nothing if is_header_value(&credential) => Found::One(credential),
            Found::Nothing => Found::Malformed,
            Found::One(other) if *other == credential => return,
            Found::Malformed => return,
            _ => Found::Conflict,
        }
    };
    for source in sources {
        match source {
            Source::Header { slot, scheme, .. } => {
                let values = headers
                    .values(*slot)
                    .filter_map(|value| strip_scheme(value, scheme.as_str().as_bytes()));
                values.for_each(|credential| note(Cow::Borrowed(credential)));
            }
            Source::Query { name } => {
                let values = parameters(path.unwrap_or_default())
                    .filter(|(key, _)| key == &name.as_str().as_bytes());
                values
                    .filter(|(_, value)| !value.is_empty())
                    .for_each(|(_, value)| note(percent_decode(value)));
            }
        }
    }
    found
}

/// What follows the scheme, without spaces at either end; `None` if the scheme is another or nothing follows.
#[inline]
fn strip_scheme<'a>(value: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let value = value.trim_ascii();
    if scheme.is_empty() {
        return (!value.is_empty()).then_some(value);
    }
    let (before, after) = value.split_at_checked(scheme.len())?;
    let credential = after.trim_ascii_start();
    let separated = credential.len() < after.len() && !credential.is_empty();
    (separated && before.eq_ignore_ascii_case(scheme)).then_some(credential)
}

/// The path without its query.
#[inline]
pub(crate) fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// Names and values of the query, as they stand there.
#[inline]
fn parameters(path: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let query = path
        .split_at_checked(without_query(path).len() + 1)
        .map_or(&[][..], |(_, query)| query);
    query.split(|byte| *byte == b'&').map(|parameter| {
        let name = parameter
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default();
        (name, parameter.get(name.len() + 1..).unwrap_or_default())
    })
}

/// Writes the path without the query parameters that are sources; false if there are none of them.
#[inline]
pub(crate) fn strip_query(sources: &[Source], path: &[u8], stripped: &mut Vec<u8>) -> bool {
    let is_source = |name: &[u8]| {
        sources.iter().any(|source| matches!(source, Source::Query { name: known } if known.as_str().as_bytes() == name))
    };
    if !parameters(path).any(|(name, _)| is_source(name)) {
        return false;
    }
    let bare = without_query(path);
    stripped.clear();
    stripped.extend_from_slice(bare);
    let mut separator = b'?';
    let query = path.get(bare.len() + 1..).unwrap_or_default();
    for (parameter, (name, _)) in query.split(|byte| *byte == b'&').zip(parameters(path)) {
        if !is_source(name) {
            stripped.push(separator);
            stripped.extend_from_slice(parameter);
            separator = b'&';
        }
    }
    true
}

/// Replaces `%XX`; anything else stands for itself.
pub(crate) fn percent_decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, after @ ..] if *first == b'%' => hex_value(*high)
                .zip(hex_value(*low))
                .map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, after));
        decoded.push(byte);
        rest = after;
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::headers::tests::serialise;
    use crate::headers::{Names, Spans};

    fn sources(names: &mut Names) -> Vec<Source> {
        let mut header = |name: &str, scheme: &str| Source::Header {
            slot: names.slot(name),
            name: HeaderName::new(name).unwrap(),
            scheme: Scheme::new(scheme).unwrap(),
        };
        let headers = [header("authorization", "Bearer"), header("api-key", "")];
        headers
            .into_iter()
            .chain([Source::Query {
                name: QueryName::new("api_key").unwrap(),
            }])
            .collect()
    }

    fn check(headers: &[(&str, &[u8])], path: &[u8], expected: &Found<'_>) {
        let mut names = Names::default();
        let sources = sources(&mut names);
        let map = serialise(headers);
        let mut spans = Spans::default();
        let headers = names.index(&map, &mut spans).unwrap();
        assert_eq!(find(&sources, &headers, Some(path)), *expected);
    }

    #[test]
    fn finds_credentials_in_every_place() {
        let one = |text: &'static [u8]| Found::One(Cow::Borrowed(text));
        check(&[], b"/", &Found::Nothing);
        check(&[("authorization", b"bEARER  k1 ")], b"/", &one(b"k1"));
        check(&[("authorization", b"Bearerk1")], b"/", &Found::Nothing);
        check(&[("authorization", b"Bearer")], b"/", &Found::Nothing);
        check(
            &[("authorization", b"Basic k1"), ("api-key", b"k2")],
            b"/",
            &one(b"k2"),
        );
        check(&[("api-key", b"")], b"/?api_key=", &Found::Nothing);
        check(&[], b"/?a=1&api_key=k%31&b", &one(b"k1"));
        check(&[("api-key", b"\xffk")], b"/", &one(b"\xffk"));
        check(
            &[("api-key", b"k1"), ("authorization", b"Bearer k1")],
            b"/?api_key=k1",
            &one(b"k1"),
        );
        check(
            &[("api-key", b"k1"), ("authorization", b"Bearer k2")],
            b"/",
            &Found::Conflict,
        );
        check(
            &[("api-key", b"k1"), ("api-key", b"k2")],
            b"/",
            &Found::Conflict,
        );
        check(&[], b"/?api_key=k1&api_key=k2", &Found::Conflict);
        check(&[], b"/?api_key=k%0d%0ax-evil:%201", &Found::Malformed);
        check(&[("api-key", b"k1")], b"/?api_key=%00", &Found::Conflict);
    }

    #[test]
    fn strips_the_query() {
        let sources = sources(&mut Names::default());
        let strip = |path: &str| {
            let mut stripped = Vec::new();
            strip_query(&sources, path.as_bytes(), &mut stripped)
                .then(|| String::from_utf8(stripped).unwrap())
        };
        assert_eq!(strip("/a?api_key=k"), Some("/a".into()));
        assert_eq!(
            strip("/a?x=1&api_key=k&y&api_key="),
            Some("/a?x=1&y".into())
        );
        assert_eq!(strip("/a?api_key"), Some("/a".into()));
        assert_eq!(strip("/a?xapi_key=k"), None);
        assert_eq!(strip("/a"), None);
        assert_eq!(strip(""), None);
    }

    proptest! {
        #[test]
        fn a_stripped_path_holds_no_source(path in "[/?&=a]{0,12}(api_key)?[=&?]{0,2}(api_key)?[=&?k%0-9]{0,6}") {
            let sources = sources(&mut Names::default());
            let (mut once, mut twice) = (Vec::new(), Vec::new());
            if strip_query(&sources, path.as_bytes(), &mut once) {
                prop_assert!(!strip_query(&sources, &once, &mut twice));
                prop_assert_eq!(without_query(&once), without_query(path.as_bytes()));
            }
        }

        #[test]
        fn decoding_never_panics(text in proptest::collection::vec(any::<u8>(), 0..20)) {
            prop_assert!(percent_decode(&text).len() <= text.len());
        }
    }
}
