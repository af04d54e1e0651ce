//! Reading a [`Node`] into typed fields: every problem is collected, with its path, and reading goes on.
//!
//! A member that is missing or wrong becomes `None`, so that the checks that span fields still see all the others.

use std::collections::BTreeMap;
use std::fmt;

use crate::json::Node;

/// What is wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The JSON path, such as `routing.green.weight` or `auth.consumers[3].keys[0].sha256`; empty for the whole text.
    pub path: String,
    /// What is wrong and what would be right. It never repeats a value that may be a secret.
    pub message: String,
}

/// Where the reader is: a list that grows on the stack, written out only when there is a problem.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    /// The whole document
    Root,
    /// A member of an object
    Member(&'a At<'a>, &'a str),
    /// An item of an array
    Item(&'a At<'a>, usize),
}

/// All problems found so far.
#[derive(Default)]
pub(crate) struct Problems(Vec<Problem>);

/// A type that can be read from a [`Node`].
pub(crate) trait Read: Sized {
    /// What is right here, for messages: "a string", "an integer from 0 to 10".
    const EXPECTED: &'static str;

    /// Reads a value; `None` once a problem has been noted.
    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self>;
}

/// An object with known fields; implemented by [`object!`].
pub(crate) trait Object: Read {
    /// The names of all fields, in the order of the reference.
    const FIELDS: &'static [&'static str];
    /// The names of those that must be there.
    #[cfg(all(test, feature = "schema"))]
    const REQUIRED: &'static [&'static str];
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            f.write_str(&self.path)?;
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

// === impl At ===

impl<'a> At<'a> {
    /// The member `name` of this object.
    pub(crate) fn member(&'a self, name: &'a str) -> At<'a> {
        At::Member(self, name)
    }

    /// The item `index` of this array.
    pub(crate) fn item(&'a self, index: usize) -> At<'a> {
        At::Item(self, index)
    }

    /// The path as text.
    pub(crate) fn path(&self) -> String {
        let mut path = String::new();
        self.write(&mut path);
        path
    }

    fn write(&self, path: &mut String) {
        match self {
            At::Root => {}
            At::Item(parent, index) => {
                parent.write(path);
                path.push('[');
                path.push_str(&index.to_string());
                path.push(']');
            }
            At::Member(parent, name) => {
                parent.write(path);
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
                if name.is_empty() || !name.bytes().all(plain) {
                    path.push_str("[\"");
                    path.push_str(&name.escape_default().to_string());
                    path.push_str("\"]");
                    return;
                }
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
        }
    }
}

// === impl Problems ===

impl Problems {
    /// Notes a problem.
    pub(crate) fn push(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.0.push(Problem {
            path: at.path(),
            message: message.into(),
        });
    }

    /// Notes that a value of the wrong type is there.
    pub(crate) fn wrong_type(&mut self, at: &At<'_>, expected: &str, found: &Node) {
        self.push(
            at,
            ["expected ", expected, ", found ", found.kind()].concat(),
        );
    }

    /// Everything noted; empty if all was right.
    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

// === reading ===

const DUPLICATE: &str = "is there more than once";

/// Where each name was seen first.
pub(crate) type FirstSeen<'a> = BTreeMap<&'a str, usize>;

/// The members of an object; notes duplicate ones.
pub(crate) fn members<'n>(
    node: &'n Node,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<&'n [(String, Node)]> {
    let Node::Object(members) = node else {
        problems.wrong_type(at, "an object", node);
        return None;
    };
    let mut seen = FirstSeen::new();
    for (index, (name, _)) in members.iter().enumerate() {
        if seen.insert(name, index).is_some() {
            problems.push(&at.member(name), DUPLICATE);
        }
    }
    Some(members)
}

/// The members of an object with known fields; notes duplicate and unknown ones. It allocates nothing where all is right,
/// for there may be ten thousand consumers.
pub(crate) fn fields<'n>(
    node: &'n Node,
    at: &At<'_>,
    problems: &mut Problems,
    allowed: &[&str],
) -> Option<&'n [(String, Node)]> {
    let Node::Object(members) = node else {
        problems.wrong_type(at, "an object", node);
        return None;
    };
    let mut seen = 0_u64;
    for (name, _) in members {
        match allowed.iter().position(|field| field == name) {
            None => problems.push(&at.member(name), unknown_field(name, allowed)),
            Some(field) if seen >> field & 1 == 1 => problems.push(&at.member(name), DUPLICATE),
            Some(field) => seen |= 1 << field,
        }
    }
    Some(members)
}

/// Reads the member `name`; absent and `null` are `None`, and a problem if it is required.
pub(crate) fn member<T: Read>(
    members: &[(String, Node)],
    name: &str,
    required: bool,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<T> {
    let at = at.member(name);
    let node = find(
        members,
        name,
        required.then_some(T::EXPECTED),
        &at,
        problems,
    )?;
    T::read(node, &at, problems)
}

/// The part of [`member`] that is the same for all types; `expected` is what a required member is.
#[cold]
#[inline(never)]
fn find<'n>(
    members: &'n [(String, Node)],
    name: &str,
    expected: Option<&str>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<&'n Node> {
    match (members.iter().find(|(member, _)| member == name), expected) {
        (Some((_, Node::Null)), None) | (None, None) => None,
        (Some((_, node)), _) => Some(node),
        (None, Some(expected)) => {
            problems.push(at, ["is missing: expected ", expected].concat());
            None
        }
    }
}

/// `a`, `b` or `c`.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut names = names.into_iter().peekable();
    while let Some(name) = names.next() {
        if !text.is_empty() {
            text.push_str(if names.peek().is_some() { ", " } else { " or " });
        }
        text.push('`');
        text.push_str(name);
        text.push('`');
    }
    text
}

fn unknown_field(name: &str, allowed: &[&str]) -> String {
    let allowed_list = list(allowed.iter().copied());
    let nearest = allowed
        .iter()
        .map(|field| (distance(name, field), field))
        .min();
    match nearest {
        Some((distance, field)) if distance <= 2 => [
            "is unknown; did you mean `",
            field,
            "`? Allowed here: ",
            &allowed_list,
        ]
        .concat(),
        _ => ["is unknown; allowed here: ", &allowed_list].concat(),
    }
}

/// The edit distance of two names (insertions, deletions, replacements), of short ones only: `usize::MAX` for long ones.
pub(crate) fn distance(left: &str, right: &str) -> usize {
    const LONGEST: usize = 64;
    if left.len() > LONGEST || right.len() > LONGEST {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.bytes().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(right.bytes()) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            before = replaced.min(diagonal + 1).min(before + 1);
            *cell = before;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

impl Read for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        let Node::Bool(value) = node else {
            problems.wrong_type(at, Self::EXPECTED, node);
            return None;
        };
        Some(*value)
    }
}

/// Declares a document object once: the struct, its JSON Schema, and a reader that notes every problem.
///
/// Each field becomes an `Option`, `None` where it is absent or wrong; `[required]` notes a problem where it is absent.
macro_rules! object {
    (
        $(#[$meta:meta])*
        struct $name:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty $([$required:ident])?,)*
        }
    ) => {
        $(#[$meta])*
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
        #[allow(dead_code, reason = "fields that are not supported yet are only ever refused")]
        pub(crate) struct $name {
            $(
                $(#[$field_meta])*
                $(#[cfg_attr(feature = "schema", schemars($required))])?
                pub(crate) $field: Option<$type>,
            )*
        }

        impl $crate::document::read::Object for $name {
            const FIELDS: &'static [&'static str] =
                &[$($crate::document::read::plain(stringify!($field))),*];
            #[cfg(all(test, feature = "schema"))]
            const REQUIRED: &'static [&'static str] = &[
                $($($crate::document::read::plain({ let _ = stringify!($required); stringify!($field) }),)?)*
            ];
        }

        impl $crate::document::read::Read for $name {
            const EXPECTED: &'static str = "an object";

            #[cold]
            #[inline(never)]
            fn read(
                node: &$crate::json::Node,
                at: &$crate::document::read::At<'_>,
                problems: &mut $crate::document::read::Problems,
            ) -> Option<Self> {
                use $crate::document::read::{Object, fields, member, plain};
                let members = fields(node, at, problems, <Self as Object>::FIELDS)?;
                Some(Self {
                    $($field: member(
                        members,
                        plain(stringify!($field)),
                        false $(|| { let _ = stringify!($required); true })?,
                        at,
                        problems,
                    ),)*
                })
            }
        }
    };
}
pub(crate) use object;

/// Declares a choice among fixed words: the enum, its JSON Schema and its reader.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident { $($(#[$variant_meta:meta])* $word:literal => $variant:ident,)* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        $visibility enum $name {
            $($(#[$variant_meta])* #[cfg_attr(feature = "schema", schemars(rename = $word))] $variant,)*
        }

        impl $crate::document::read::Read for $name {
            const EXPECTED: &'static str = concat!("one of", $(" `", $word, "`",)*);

            fn read(
                node: &$crate::json::Node,
                at: &$crate::document::read::At<'_>,
                problems: &mut $crate::document::read::Problems,
            ) -> Option<Self> {
                match node {
                    $($crate::json::Node::String(word) if word == $word => Some(Self::$variant),)*
                    $crate::json::Node::String(_) => {
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
    };
}
pub(crate) use choice;

/// A field's name without the `r#` of a Rust keyword.
pub(crate) const fn plain(identifier: &str) -> &str {
    match identifier.as_bytes() {
        [b'r', b'#', ..] => identifier.split_at(2).1,
        _ => identifier,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths() {
        let root = At::Root;
        let auth = root.member("auth");
        let consumers = auth.member("consumers");
        let third = consumers.item(3);
        assert_eq!(third.member("name").path(), "auth.consumers[3].name");
        assert_eq!(auth.member("a \"b\"\n").path(), "auth[\"a \\\"b\\\"\\n\"]");
        assert_eq!(At::Root.path(), "");
    }

    #[test]
    fn names_are_listed_and_guessed() {
        assert_eq!(list(["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(distance("wieght", "weight"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert!(
            unknown_field("wheight", &["version", "weight"]).contains("did you mean `weight`?")
        );
        assert!(!unknown_field("zzz", &["version", "weight"]).contains("did you mean"));
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_bounded(left in "[a-c]{0,8}", right in "[a-c]{0,8}") {
            prop_assert_eq!(distance(&left, &right), distance(&right, &left));
            prop_assert!(distance(&left, &right) <= left.len().max(right.len()));
            prop_assert_eq!(distance(&left, &right) == 0, left == right);
        }
    }
}
