//! Reading header edits.

use http::{HeaderName, HeaderValue};

use super::HeaderEdit;
use crate::config::reader::{Field, Object};

type Make = fn(HeaderName, HeaderValue) -> HeaderEdit;

/// The names of `append_action`.
const ACTIONS: [(&str, Make); 4] = [
    ("APPEND_IF_EXISTS_OR_ADD", HeaderEdit::Append),
    ("ADD_IF_ABSENT", HeaderEdit::AddIfAbsent),
    ("OVERWRITE_IF_EXISTS_OR_ADD", HeaderEdit::Overwrite),
    ("OVERWRITE_IF_EXISTS", HeaderEdit::OverwriteIfPresent),
];

/// Reads `request_headers_to_add` and `request_headers_to_remove`.
pub(super) fn request(o: &Object<'_>) -> Vec<HeaderEdit> {
    edits(
        o,
        "request_headers_to_add",
        "request_headers_to_remove",
        true,
    )
}

/// Reads `response_headers_to_add` and `response_headers_to_remove`.
pub(super) fn response(o: &Object<'_>) -> Vec<HeaderEdit> {
    edits(
        o,
        "response_headers_to_add",
        "response_headers_to_remove",
        false,
    )
}

/// Removals come first, as in Envoy.
fn edits(
    o: &Object<'_>,
    add: &'static str,
    remove: &'static str,
    request: bool,
) -> Vec<HeaderEdit> {
    let removals = o.list(remove);
    let additions = o.list(add);
    let removals = removals.iter().filter_map(|f| removed(f, request));
    removals
        .chain(additions.iter().filter_map(|f| value_option(f, request)))
        .collect()
}

/// Reads the name of a header to remove.
pub(in crate::config) fn removed(field: &Field<'_>, request: bool) -> Option<HeaderEdit> {
    header_name(field, request).map(HeaderEdit::Remove)
}

/// Reads a `HeaderValueOption`.
pub(in crate::config) fn value_option(field: &Field<'_>, request: bool) -> Option<HeaderEdit> {
    field.object(|o| {
        let keep_empty = o.bool("keep_empty_value", false);
        let make = match o.one_of(&["append_action", "append"]) {
            Some(("append_action", f)) => f.choice(&ACTIONS),
            Some((_, f)) => f.bool().map(|append| if append { HeaderEdit::Append } else { HeaderEdit::Overwrite }),
            None => Some(HeaderEdit::Append as Make),
        };
        let header = o.required("header")?;
        let (name, value) = header.object(|o| {
            let name = o.required("key").and_then(|f| header_name(&f, request));
            let value = match o.one_of(&["value", "raw_value"]) {
                Some(("value", f)) => f.text().and_then(|text| header_value(&f, text.as_bytes())),
                Some((_, f)) => f.bytes().and_then(|bytes| header_value(&f, &bytes)),
                None => Some(HeaderValue::from_static("")),
            };
            Some((name?, value?))
        })??;
        if value.is_empty() && !keep_empty {
            header.error("has an empty value, so Envoy drops it; set keep_empty_value: true, or leave the edit out");
        }
        Some(make?(name, value))
    })?
}

/// Reads a header's name that edits may touch.
fn header_name(field: &Field<'_>, request: bool) -> Option<HeaderName> {
    let name = field.name()?;
    if name.starts_with(':') || request && name.eq_ignore_ascii_case("host") {
        field.error(format!(
            "{name:?} may not be edited: pseudo-headers and host belong to the route"
        ));
        return None;
    }
    let parsed = name.parse().ok();
    if parsed.is_none() {
        field.expected("a header's name");
    }
    parsed
}

/// A header's value without format strings.
fn header_value(field: &Field<'_>, text: &[u8]) -> Option<HeaderValue> {
    let mut value = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'%' && bytes.next_if_eq(&b'%').is_none() {
            field.error("format strings (%…%) are not supported; write %% for a percent sign");
            return None;
        }
        value.push(byte);
    }
    let value = HeaderValue::from_bytes(&value).ok();
    if value.is_none() {
        field.expected("a header's value, without line breaks and other control characters");
    }
    value
}
