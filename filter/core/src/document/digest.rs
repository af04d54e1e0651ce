//! A short name for what a document says: the same for every text that says it.

use crate::auth::keys::digest as sha256;
use crate::json::Node;

/// Bytes of the digest that are shown, each as two digits.
const SHOWN: usize = 6;

/// The first 12 hexadecimal digits of the SHA-256 digest of a form that neither the order of members, spaces, the writing of
/// numbers nor a `null` changes.
pub(super) fn short(node: &Node) -> String {
    let mut form = Vec::new();
    write(node, &mut form);
    let mut text = String::new();
    for byte in sha256(&form).iter().take(SHOWN) {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(nibble.into(), 16));
        }
    }
    text
}

/// Values as [`put`] writes them; an array is followed by its items, an object by its members in order of their names, and
/// both by their end.
#[cold]
fn write(node: &Node, form: &mut Vec<u8>) {
    match node {
        Node::Null => put(b'z', &[], form),
        Node::Bool(value) => put(b'b', &[(*value).into()], form),
        // There are two zeros.
        Node::Number(value) => put(b'n', &(value + 0.0).to_bits().to_le_bytes(), form),
        Node::String(text) => put(b's', text.as_bytes(), form),
        Node::Array(items) => {
            put(b'a', &[], form);
            items.iter().for_each(|item| write(item, form));
            put(b'e', &[], form);
        }
        Node::Object(members) => {
            let mut sorted: Vec<&(String, Node)> = Vec::with_capacity(members.len());
            for member in members {
                if !matches!(member.1, Node::Null) {
                    let place = sorted.partition_point(|other| other.0 < member.0);
                    sorted.insert(place, member);
                }
            }
            put(b'o', &[], form);
            for (name, value) in sorted {
                put(b's', name.as_bytes(), form);
                write(value, form);
            }
            put(b'e', &[], form);
        }
    }
}

/// A letter for the kind, the length, and the bytes.
#[cold]
#[inline(never)]
fn put(kind: u8, bytes: &[u8], form: &mut Vec<u8>) {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    form.push(kind);
    form.extend_from_slice(&length.to_le_bytes());
    form.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        short(&Node::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn says_the_same_whatever_the_order_and_the_writing() {
        let one = of(r#"{"a": 1, "b": {"c": [0.05, -0, "x"], "d": true}}"#);
        assert_eq!(one.len(), 12);
        assert_eq!(
            one,
            of(r#"{"b":{"d":true,"c":[5e-2,0,"\u0078"],"e":null},"a":1.0}"#)
        );
    }

    #[test]
    fn tells_apart_what_differs() {
        let texts = [
            "{}",
            "[]",
            "0",
            "\"\"",
            "null",
            "false",
            "true",
            "1",
            r#"{"a": 1}"#,
            r#"{"a": "1"}"#,
            r#"{"b": 1}"#,
            "[1]",
            "[1, 2]",
            "[2, 1]",
            "[[1, 2]]",
            r#"{"a": {"b": 1}}"#,
            r#"{"a": {}, "b": 1}"#,
            r#"["a", "b"]"#,
            r#"["ab"]"#,
        ];
        let all: std::collections::BTreeSet<_> = texts.into_iter().map(of).collect();
        assert_eq!(all.len(), texts.len());
    }
}
