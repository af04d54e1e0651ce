//! Properties that are whole messages, as protobuf. Sources of the field numbers: `envoy/config/core/v3/base.proto`,
//! `google/protobuf/struct.proto`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value as Json;

/// Kinds of fields on the wire.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;

/// The node's `user_agent_name`.
const USER_AGENT: &str = "switchover";

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

/// `Node`, by its `id` and `cluster`.
pub(super) fn node(id: &str, cluster: &str) -> Bytes {
    let mut node = Message::default();
    for (number, text) in [(1, id), (2, cluster), (6, USER_AGENT)] {
        if !text.is_empty() {
            node.bytes(number, text.as_bytes());
        }
    }
    node.0.into()
}

/// `Metadata`: its `filter_metadata` by namespace.
pub(super) fn metadata(all: &BTreeMap<String, Json>) -> Bytes {
    let mut metadata = Message::default();
    for (namespace, value) in all {
        metadata.entry(namespace, structure(value));
    }
    metadata.0.into()
}

/// `Struct`; what is no object is an empty one.
fn structure(value: &Json) -> Message {
    let mut message = Message::default();
    for (name, value) in value.as_object().into_iter().flatten() {
        message.entry(name, any(value));
    }
    message
}

/// `Value`.
fn any(value: &Json) -> Message {
    let mut message = Message::default();
    match value {
        Json::Null => message.varint(1, 0),
        Json::Number(number) => {
            message.tag(2, FIXED64);
            let number = number.as_f64().unwrap_or_default();
            message.0.extend_from_slice(&number.to_le_bytes());
        }
        Json::String(text) => message.bytes(3, text.as_bytes()),
        Json::Bool(value) => message.varint(4, u64::from(*value)),
        Json::Object(_) => message.bytes(5, &structure(value).0),
        Json::Array(items) => {
            let mut list = Message::default();
            for item in items {
                list.bytes(1, &any(item).0);
            }
            message.bytes(6, &list.0);
        }
    }
    message
}

// === impl Message ===

impl Message {
    /// An entry of the map that is field 1.
    fn entry(&mut self, key: &str, value: Self) {
        let mut entry = Self::default();
        entry.bytes(1, key.as_bytes());
        entry.bytes(2, &value.0);
        self.bytes(1, &entry.0);
    }

    fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.tag(field, LENGTH);
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, field: u8, value: u64) {
        self.tag(field, VARINT);
        self.number(value);
    }

    /// Fields here are below 16.
    fn tag(&mut self, field: u8, kind: u8) {
        self.0.push(field << 3 | kind);
    }

    fn number(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.0.push(low & 0x7f);
            }
            self.0.push(low | 0x80);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As Envoy 1.40 hands it over.
    #[test]
    fn metadata_is_the_message() {
        let all = BTreeMap::from([("switchover".to_owned(), json!({"environment": "blue"}))]);
        let expected =
            b"\x0a\x25\x0a\x0aswitchover\x12\x17\x0a\x15\x0a\x0benvironment\x12\x06\x1a\x04blue";
        assert_eq!(&metadata(&all)[..], expected);
        assert!(metadata(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn every_kind_of_value_is_written() {
        let list = json!([null, true, 1.0, {"a": {}}]);
        let bytes = any(&list).0;
        assert_eq!(bytes.first(), Some(&0x32));
        assert_eq!(usize::from(bytes[1]), bytes.len() - 2);
        assert_eq!(&bytes[2..10], b"\x0a\x02\x08\x00\x0a\x02\x20\x01");
        assert_eq!(
            &bytes[10..21],
            b"\x0a\x09\x11\x00\x00\x00\x00\x00\x00\xf0\x3f"
        );
        assert_eq!(
            &bytes[21..],
            b"\x0a\x0b\x2a\x09\x0a\x07\x0a\x01a\x12\x02\x2a\x00"
        );
    }

    #[test]
    fn long_lengths_take_several_bytes() {
        let text = "x".repeat(300);
        let node = node(&text, "");
        assert_eq!(&node[..4], b"\x0a\xac\x02x");
    }
}
