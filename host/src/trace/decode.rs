//! A hostcall's numbers as what they stand for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::names::{self, BUFFERS, LEVELS, MAPS, METRICS, STREAMS};
use super::{Argument, CallTrace};
use crate::abi::memory::Peek;
use crate::abi::observe::Hostcall;
use crate::abi::{self, Kind, Parameter};

/// What an argument stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A number that may be negative.
    Signed(i64),
    /// A number that has a name.
    Word(&'static str),
    /// Yes or no.
    Flag(bool),
    /// Bytes: text, mostly.
    Bytes(Vec<u8>),
    /// Header fields.
    Fields(Vec<(Vec<u8>, Vec<u8>)>),
    /// An address in guest memory.
    Address(u32),
    /// It points out of the guest's memory, or is no header map.
    Unreadable,
}

/// Longer bytes are not kept: the rest of a body tells nothing more.
pub(super) const MOST_BYTES: usize = 64 * 1024;
/// Parts of a write that are read, at most.
const MOST_PARTS: u32 = 64;

/// Decodes a hostcall.
pub(super) fn call(call: &Hostcall<'_>, memory: Peek<'_>) -> CallTrace {
    let is_ok = matches!(call.result, Ok(Some(0) | None));
    let (mut arguments, mut returned) = (Vec::new(), Vec::new());
    let mut words = call.arguments;
    for parameter in call.import.parameters {
        let (own, rest) = words
            .split_at_checked(parameter.kind.width())
            .unwrap_or((words, &[]));
        words = rest;
        let name = parameter.name;
        if is_out(parameter.kind) {
            if is_ok {
                let value = out(parameter.kind, own, memory).unwrap_or(Value::Unreadable);
                returned.push(Argument { name, value });
            }
        } else {
            let value = given(*parameter, own, memory).unwrap_or(Value::Unreadable);
            arguments.push(Argument { name, value });
        }
    }
    // What is written stands behind a list of addresses.
    if call.import.name == "fd_write"
        && let Some(argument) = arguments.iter_mut().find(|a| a.name == "vectors")
    {
        argument.value = written(call.arguments, memory).unwrap_or(Value::Unreadable);
    }
    CallTrace {
        name: call.import.name,
        arguments,
        status: match call.result {
            Ok(Some(number)) => Some(names::status(call.import, number)),
            Ok(None) => None,
            Err(_) => Some("TRAP".to_owned()),
        },
        returned,
        took: call.took,
    }
}

fn is_out(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::OutU32 | Kind::OutU64 | Kind::OutBytes | Kind::OutPairs
    )
}

fn given(parameter: Parameter, words: &[u64], memory: Peek<'_>) -> Option<Value> {
    let number = *words.first()?;
    let narrow = u32::try_from(number).ok();
    let word = |names: &[&'static str]| match names::word(names, number) {
        Some(name) => Value::Word(name),
        None => Value::Number(number),
    };
    Some(match parameter.kind {
        Kind::Delta => Value::Signed(number.cast_signed()),
        Kind::Signed => Value::Signed(i64::from(narrow?.cast_signed())),
        Kind::Flag => Value::Flag(number != 0),
        Kind::LogLevel => word(&LEVELS),
        Kind::Map => word(&MAPS),
        Kind::Buffer => word(&BUFFERS),
        Kind::Stream => word(&STREAMS),
        Kind::Metric => word(&METRICS),
        Kind::Bytes => Value::Bytes(cut(span(words, memory)?)),
        // The names of a path are joined by NUL.
        Kind::Path => {
            let path = cut(span(words, memory)?);
            let dotted = path
                .into_iter()
                .map(|byte| if byte == 0 { b'.' } else { byte });
            Value::Bytes(dotted.collect())
        }
        Kind::Pairs => fields(span(words, memory)?),
        Kind::Address => Value::Address(narrow?),
        _ => Value::Number(number),
    })
}

fn out(kind: Kind, words: &[u64], memory: Peek<'_>) -> Option<Value> {
    let at = |index: usize| u32::try_from(*words.get(index)?).ok();
    let bytes = || memory.bytes(memory.u32(at(0)?)?, memory.u32(at(1)?)?);
    Some(match kind {
        Kind::OutU32 => Value::Number(memory.u32(at(0)?)?.into()),
        Kind::OutU64 => Value::Number(memory.u64(at(0)?)?),
        Kind::OutPairs => fields(bytes()?),
        _ => Value::Bytes(cut(bytes()?)),
    })
}

fn span<'a>(words: &[u64], memory: Peek<'a>) -> Option<&'a [u8]> {
    let [at, len] = *words else { return None };
    memory.bytes(u32::try_from(at).ok()?, u32::try_from(len).ok()?)
}

fn fields(bytes: &[u8]) -> Value {
    match abi::read_pairs(bytes) {
        Some(pairs) => {
            let owned = pairs
                .iter()
                .map(|(name, value)| (name.to_vec(), value.to_vec()));
            Value::Fields(owned.collect())
        }
        None => Value::Unreadable,
    }
}

/// The text of a write: its arguments are file, list of (address, length), count.
fn written(words: &[u64], memory: Peek<'_>) -> Option<Value> {
    let list = u32::try_from(*words.get(1)?).ok()?;
    let count = u32::try_from(*words.get(2)?).ok()?;
    let mut text = Vec::new();
    for part in 0..count.min(MOST_PARTS) {
        let at = list.checked_add(part.checked_mul(8)?)?;
        let length = memory.u32(at.checked_add(4)?)?;
        text.extend_from_slice(memory.bytes(memory.u32(at)?, length)?);
    }
    Some(Value::Bytes(cut(&text)))
}

fn cut(bytes: &[u8]) -> Vec<u8> {
    bytes.get(..MOST_BYTES).unwrap_or(bytes).to_vec()
}

// === impl Value ===

/// Bytes as a string, or as `{"base64": …}` where they are no UTF-8.
#[derive(Serialize)]
#[serde(untagged)]
enum Json<'a> {
    Text(&'a str),
    Bytes { base64: String },
}

impl<'a> From<&'a Vec<u8>> for Json<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Bytes {
                base64: STANDARD.encode(bytes),
            },
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => to.serialize_u64(*number),
            Self::Signed(number) => to.serialize_i64(*number),
            Self::Word(word) => to.serialize_str(word),
            Self::Flag(flag) => to.serialize_bool(*flag),
            Self::Bytes(bytes) => Json::from(bytes).serialize(to),
            Self::Fields(fields) => {
                let fields = fields.iter();
                to.collect_seq(fields.map(|(name, value)| (Json::from(name), Json::from(value))))
            }
            Self::Address(address) => to.serialize_str(&format!("{address:#x}")),
            Self::Unreadable => to.serialize_unit(),
        }
    }
}
