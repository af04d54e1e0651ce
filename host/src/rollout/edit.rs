//! Changing members of a JSON text, and nothing else of it: order, spaces and line breaks stay.
//!
//! `serde_json` parses; the raw slices that it lends say where in the text each value stands.

use std::io;
use std::ops::Range;

use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::Formatter;
use serde_json::value::RawValue;

use crate::config::parts;

/// A member to be: its path within an object, and its value; `None` takes it out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Edit {
    /// The keys that lead to it.
    pub(crate) path: Vec<String>,
    /// Its new value.
    pub(crate) value: Option<Value>,
}

/// What an edit did.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// The member's path within the rollout, as in `routing.green.weight`.
    pub path: String,
    /// Its value before; `None` where there was none.
    pub before: Option<Value>,
    /// Its value now; `None` where it is gone.
    pub after: Option<Value>,
}

/// The members of an object within a text.
struct Members<'a> {
    text: &'a str,
    object: Range<usize>,
    list: Vec<(String, &'a RawValue)>,
}

/// Writes on one line, with a space after each colon and comma.
struct Spaced;

// === impl Edit ===

impl Edit {
    /// Sets a member.
    pub(crate) fn set(path: &[&str], value: impl Into<Value>) -> Self {
        Self {
            path: path.iter().map(|key| (*key).to_owned()).collect(),
            value: Some(value.into()),
        }
    }

    /// Takes a member out.
    pub(crate) fn remove(path: &[&str]) -> Self {
        Self {
            path: path.iter().map(|key| (*key).to_owned()).collect(),
            value: None,
        }
    }

    /// Carries it out below `base`, an object of a JSON text: the new text, and what has changed, if anything has.
    /// `None` if there is no object where the path says.
    pub(crate) fn apply(&self, text: &str, base: &[String]) -> Option<(String, Option<Change>)> {
        let (key, parents) = self.path.split_last()?;
        let object = base
            .iter()
            .chain(parents)
            .try_fold(text.trim(), |at, key| {
                let parts = parts(at).ok()?;
                let next = match key.parse() {
                    Ok(index) if at.starts_with('[') => parts.get::<usize>(index),
                    _ => parts.iter().find(|(name, _)| name == key),
                };
                Some(next?.1.get())
            })?;
        let members = Members::of(text, object)?;
        let found = members.list.iter().position(|(name, _)| name == key);
        let before = match found {
            Some(at) => Some(serde_json::from_str(members.list.get(at)?.1.get()).ok()?),
            None => None,
        };
        if before == self.value {
            return Some((text.to_owned(), None));
        }
        let (range, new) = match (found, &self.value) {
            (Some(at), Some(value)) => (members.value(at)?, members.written(value)?),
            (Some(at), None) => (members.whole(at)?, String::new()),
            (None, Some(value)) => members.appended(key, value)?,
            (None, None) => return Some((text.to_owned(), None)),
        };
        let change = Change {
            path: self.path.join("."),
            before,
            after: self.value.clone(),
        };
        let text = [text.get(..range.start)?, &new, text.get(range.end..)?].concat();
        Some((text, Some(change)))
    }
}

// === impl Members ===

impl<'a> Members<'a> {
    fn of(text: &'a str, object: &'a str) -> Option<Self> {
        let list = parts(object).ok().filter(|_| object.starts_with('{'))?;
        Some(Self {
            text,
            object: place(text, object),
            list,
        })
    }

    /// Where a member's value stands.
    fn value(&self, at: usize) -> Option<Range<usize>> {
        Some(place(self.text, self.list.get(at)?.1.get()))
    }

    /// From the end of what comes before a member to its key.
    fn gap(&self, at: usize) -> Option<Range<usize>> {
        let start = match at.checked_sub(1) {
            Some(previous) => self.value(previous)?.end,
            None => self.object.start + 1,
        };
        let between = self.text.get(start..self.value(at)?.start)?;
        Some(start..start + between.find('"')?)
    }

    /// A member with the comma that it brings along.
    fn whole(&self, at: usize) -> Option<Range<usize>> {
        let end = self.value(at)?.end;
        match (at, self.list.len()) {
            (0, 1) => Some(self.object.start + 1..self.object.end - 1),
            (0, _) => Some(self.gap(0)?.end..self.gap(1)?.end),
            _ => Some(self.gap(at)?.start..end),
        }
    }

    /// What stands between the last member's key and its value; a colon and a space where there is no member.
    fn colon(&self) -> &'a str {
        let last = self.list.len().checked_sub(1);
        let colon = last.and_then(|at| {
            let key_and_colon = self.text.get(self.gap(at)?.end..self.value(at)?.start)?;
            key_and_colon.get(key_and_colon.rfind('"')? + 1..)
        });
        colon.unwrap_or(": ")
    }

    /// A new last member, written as the ones before it, and where it goes.
    fn appended(&self, key: &str, value: &Value) -> Option<(Range<usize>, String)> {
        let key = serde_json::to_string(key).ok()?;
        let member = [&key, self.colon(), &self.written(value)?].concat();
        let Some(last) = self.list.len().checked_sub(1) else {
            return Some((self.object.start + 1..self.object.end - 1, member));
        };
        let gap = self.text.get(self.gap(last)?)?;
        let separator = match (last, gap) {
            (0, "") if self.colon() == ":" => ",".to_owned(),
            (0, "") => ", ".to_owned(),
            (0, space) => format!(",{space}"),
            (_, gap) => gap.to_owned(),
        };
        let end = self.value(last)?.end;
        Some((end..end, separator + &member))
    }

    /// A value on one line, with spaces if the text has them.
    fn written(&self, value: &Value) -> Option<String> {
        if self.colon() == ":" {
            return serde_json::to_string(value).ok();
        }
        let mut bytes = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Spaced);
        value.serialize(&mut serializer).ok()?;
        String::from_utf8(bytes).ok()
    }
}

/// Where a slice of a text stands in it.
fn place(text: &str, slice: &str) -> Range<usize> {
    let start = (slice.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + slice.len()
}

// === impl Spaced ===

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn apply(text: &str, base: &[&str], edit: &Edit) -> String {
        let base: Vec<String> = base.iter().map(|s| (*s).to_owned()).collect();
        edit.apply(text, &base).expect("an object there").0
    }

    #[test]
    fn the_text_keeps_its_manner() {
        let broad = "{\n  \"a\": {\"b\": 1},\n  \"c\": [ 2 ]\n}\n";
        let set = |path: &[&str], value: Value| Edit::set(path, value);
        for (text, edit, expected) in [
            (
                broad,
                set(&["a", "b"], json!(25)),
                "{\n  \"a\": {\"b\": 25},\n  \"c\": [ 2 ]\n}\n",
            ),
            (
                broad,
                set(&["a", "d"], json!("x")),
                "{\n  \"a\": {\"b\": 1, \"d\": \"x\"},\n  \"c\": [ 2 ]\n}\n",
            ),
            (
                broad,
                set(&["d"], json!({"x": [1, {"y": true}]})),
                "{\n  \"a\": {\"b\": 1},\n  \"c\": [ 2 ],\n  \"d\": {\"x\": [1, {\"y\": true}]}\n}\n",
            ),
            (broad, Edit::remove(&["c"]), "{\n  \"a\": {\"b\": 1}\n}\n"),
            (broad, Edit::remove(&["a"]), "{\n  \"c\": [ 2 ]\n}\n"),
            (
                broad,
                Edit::remove(&["a", "b"]),
                "{\n  \"a\": {},\n  \"c\": [ 2 ]\n}\n",
            ),
            (broad, Edit::remove(&["e"]), broad),
            (
                "{\"a\":1}",
                set(&["b"], json!({"c": [1, 2]})),
                "{\"a\":1,\"b\":{\"c\":[1,2]}}",
            ),
            (
                "{\n\t\"a\": 1\n}",
                set(&["b"], json!(2)),
                "{\n\t\"a\": 1,\n\t\"b\": 2\n}",
            ),
            ("{ }", set(&["b"], json!(2)), "{\"b\": 2}"),
            (
                "{\"\\\"\\u0061\" : 1}",
                set(&["\"a"], json!(2)),
                "{\"\\\"\\u0061\" : 2}",
            ),
        ] {
            assert_eq!(apply(text, &[], &edit), expected, "{edit:?}");
        }
        let several = "{\"rollouts\": [{\"a\": 1}, {\"a\": 2}]}";
        let second = apply(several, &["rollouts", "1"], &set(&["a"], json!(3)));
        assert_eq!(second, "{\"rollouts\": [{\"a\": 1}, {\"a\": 3}]}");
        assert_eq!(set(&["a", "b"], json!(1)).apply("{\"a\": 2}", &[]), None);
    }

    /// JSON objects of two levels, with keys that need escapes.
    fn objects() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(Value::from),
            ".*".prop_map(Value::from),
            Just(Value::Null)
        ];
        let inner = proptest::collection::btree_map("[a-c\"\\\\é]{1,2}", leaf, 0..4);
        let inner = inner.prop_map(|members| Value::Object(members.into_iter().collect()));
        proptest::collection::btree_map("[a-c]", inner, 0..4)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn an_edit_is_what_it_would_be_on_the_tree(
            before in objects(),
            pretty in any::<bool>(),
            outer in "[a-c]",
            inner in "[a-c\"\\\\é]{1,2}",
            value in proptest::option::of(".*".prop_map(Value::from)),
        ) {
            let text = if pretty { format!("{before:#}\n") } else { before.to_string() };
            let edit = Edit { path: vec![outer.clone(), inner.clone()], value: value.clone() };
            let mut expected = before.clone();
            let Some(object) = expected.get_mut(&outer).and_then(Value::as_object_mut) else {
                prop_assert_eq!(edit.apply(&text, &[]), None);
                return Ok(());
            };
            let was = match &value {
                Some(value) => object.insert(inner, value.clone()),
                None => object.remove(&inner),
            };
            let (new, change) = edit.apply(&text, &[]).expect("an object there");
            prop_assert_eq!(serde_json::from_str::<Value>(&new).expect("JSON"), expected);
            prop_assert_eq!(change.is_some(), was != value);
            if change.is_none() {
                prop_assert_eq!(new, text);
            }
        }
    }
}
