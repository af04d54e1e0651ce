//! What a callback did to the exchange's heads and trailers.

use http::HeaderMap;
use serde::Serialize;

use crate::stream::Stream;
use crate::stream::head;

/// Names and values, in their order.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A field that was added, removed, or has another value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where: `request`, `response`, `request trailers`, `response trailers`.
    pub map: &'static str,
    /// The field's name.
    pub name: String,
    /// The value before; `None` where it is new.
    pub before: Option<String>,
    /// The value after; `None` where it is gone.
    pub after: Option<String>,
}

/// The same before masking.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawChange {
    pub(super) map: &'static str,
    pub(super) name: Vec<u8>,
    pub(super) before: Option<Vec<u8>>,
    pub(super) after: Option<Vec<u8>>,
}

/// All maps of an exchange at a moment.
#[derive(Default)]
pub(super) struct Snapshot([Fields; 4]);

const MAPS: [&str; 4] = [
    "request",
    "response",
    "request trailers",
    "response trailers",
];

/// The request's head.
pub(super) fn request(stream: &Stream) -> Fields {
    collect(&head::Fields::Request(&stream.request))
}

/// The response's head; empty where there is none.
pub(super) fn response(stream: &Stream) -> Fields {
    let response = stream.response.as_ref();
    response.map_or_else(Fields::new, |head| collect(&head::Fields::Response(head)))
}

fn trailers(map: Option<&HeaderMap>) -> Fields {
    map.map_or_else(Fields::new, |map| collect(&head::Fields::Plain(map)))
}

fn collect(fields: &head::Fields<'_>) -> Fields {
    let mut all = Fields::new();
    fields.for_each(|name, value| all.push((name.to_vec(), value.to_vec())));
    all
}

// === impl Snapshot ===

impl Snapshot {
    pub(super) fn of(stream: &Stream) -> Self {
        Self([
            request(stream),
            response(stream),
            trailers(stream.request_trailers.as_ref()),
            trailers(stream.response_trailers.as_ref()),
        ])
    }

    /// All fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = &(Vec<u8>, Vec<u8>)> {
        self.0.iter().flatten()
    }

    /// What is different in `after`.
    pub(super) fn changes(&self, after: &Self) -> Vec<RawChange> {
        let pairs = self.0.iter().zip(&after.0).zip(MAPS);
        pairs
            .flat_map(|((before, after), map)| differences(map, before, after))
            .collect()
    }
}

/// Fields of one name are compared in their order: the first with the first.
fn differences(map: &'static str, before: &Fields, after: &Fields) -> Vec<RawChange> {
    let values = |fields: &Fields, name: &[u8]| -> Vec<Vec<u8>> {
        let own = fields.iter().filter(|(other, _)| other == name);
        own.map(|(_, value)| value.clone()).collect()
    };
    let mut names: Vec<&[u8]> = Vec::new();
    for (name, _) in before.iter().chain(after) {
        if !names.contains(&name.as_slice()) {
            names.push(name);
        }
    }
    let mut changes = Vec::new();
    for name in names {
        let (old, new) = (values(before, name), values(after, name));
        for at in 0..old.len().max(new.len()) {
            let (before, after) = (old.get(at), new.get(at));
            if before != after {
                changes.push(RawChange {
                    map,
                    name: name.to_vec(),
                    before: before.cloned(),
                    after: after.cloned(),
                });
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_removed_and_changed_fields_are_told_one_by_one() {
        let fields = |list: &[(&str, &str)]| -> Fields {
            let list = list.iter();
            list.map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()))
                .collect()
        };
        let before = fields(&[("same", "1"), ("gone", "2"), ("other", "3"), ("twice", "a")]);
        let after = fields(&[
            ("same", "1"),
            ("other", "4"),
            ("twice", "a"),
            ("twice", "b"),
            ("new", "5"),
        ]);
        let found = differences("request", &before, &after);
        let text = |bytes: &Option<Vec<u8>>| {
            let bytes = bytes.as_ref()?;
            Some(String::from_utf8(bytes.clone()).unwrap())
        };
        let found: Vec<_> = found
            .iter()
            .map(|c| {
                (
                    String::from_utf8(c.name.clone()).unwrap(),
                    text(&c.before),
                    text(&c.after),
                )
            })
            .collect();
        let change = |name: &str, before: Option<&str>, after: Option<&str>| {
            (
                name.to_owned(),
                before.map(str::to_owned),
                after.map(str::to_owned),
            )
        };
        assert_eq!(
            found,
            [
                change("gone", Some("2"), None),
                change("other", Some("3"), Some("4")),
                change("twice", None, Some("b")),
                change("new", None, Some("5")),
            ]
        );
    }
}
