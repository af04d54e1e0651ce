//! Whether a text is as it is expected.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::model::{Amount, Match, Span};

/// What was expected and what came instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// What was expected, in words or as the text itself.
    pub(super) expected: String,
    /// What was there, in the same way.
    pub(super) actual: String,
}

/// All values of something, in order; none where it is not there.
pub(super) type Values<'a> = Vec<Cow<'a, str>>;

/// A header's values.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Values<'a> {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return Vec::new();
    };
    let values = headers.get_all(name).iter();
    values
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect()
}

// === impl Match ===

impl Match {
    /// Whether it holds of something that is there once.
    pub(super) fn holds(&self, value: &str) -> bool {
        self.check(&[Cow::Borrowed(value)]).is_ok()
    }

    /// Whether it holds of these values.
    ///
    /// # Errors
    /// The first condition that does not.
    pub(super) fn check(&self, values: &[Cow<'_, str>]) -> Result<(), Mismatch> {
        if let Some(absent) = self.absent {
            return match (absent, values) {
                (true, []) | (false, [_, ..]) => Ok(()),
                (true, _) => mismatch("nothing (absent)", values),
                (false, []) => mismatch("something", values),
            };
        }
        if let Some(expected) = &self.values
            && !expected
                .iter()
                .map(String::as_str)
                .eq(values.iter().map(Cow::as_ref))
        {
            return mismatch(&format!("{expected:?}"), values);
        }
        if self.values.is_some() {
            return Ok(());
        }
        if values.is_empty() && self.not.is_none() {
            return mismatch(&self.describe(), values);
        }
        let whole = values.join(", ");
        if let Some(expected) = &self.equals
            && expected.0.0 != whole
        {
            return Err(Mismatch {
                expected: expected.0.0.clone(),
                actual: whole,
            });
        }
        let found = self.texts(&whole).and_then(|()| self.json(&whole));
        if let Err(expected) = found {
            return mismatch(&expected, values);
        }
        match &self.not {
            Some(not) if not.check(values).is_ok() => {
                mismatch(&format!("not {}", not.describe()), values)
            }
            _ => Ok(()),
        }
    }

    fn texts(&self, whole: &str) -> Result<(), String> {
        let parts = self.contains.iter().flat_map(|parts| parts.iter());
        if let Some(part) = parts
            .map(|part| &part.0.0)
            .find(|part| !whole.contains(*part))
        {
            return Err(format!("something with {part:?} in it"));
        }
        if let Some(start) = &self.starts_with
            && !whole.starts_with(&start.0.0)
        {
            return Err(format!("something that starts with {:?}", start.0.0));
        }
        if let Some(end) = &self.ends_with
            && !whole.ends_with(&end.0.0)
        {
            return Err(format!("something that ends with {:?}", end.0.0));
        }
        match &self.matches {
            Some(pattern) if !pattern.0.is_match(whole) => {
                Err(format!("something that matches /{}/", pattern.0))
            }
            _ => Ok(()),
        }
    }

    fn json(&self, whole: &str) -> Result<(), String> {
        if self.json.is_none() && self.json_includes.is_none() {
            return Ok(());
        }
        let actual: Value =
            serde_json::from_str(whole).map_err(|error| format!("JSON ({error})"))?;
        if let Some(expected) = &self.json
            && *expected != actual
        {
            return Err(format!("the JSON {expected:#}"));
        }
        match &self.json_includes {
            Some(expected) if !includes(&actual, expected) => {
                Err(format!("JSON with at least {expected:#}"))
            }
            _ => Ok(()),
        }
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        let mut words = Vec::new();
        let mut say = |what: &str, text: &str| words.push(format!("{what}{text:?}"));
        if let Some(text) = &self.equals {
            say("", &text.0.0);
        }
        for part in self.contains.iter().flat_map(|parts| parts.iter()) {
            say("something with ", &part.0.0);
        }
        if let Some(text) = &self.starts_with {
            say("something that starts with ", &text.0.0);
        }
        if let Some(text) = &self.ends_with {
            say("something that ends with ", &text.0.0);
        }
        if let Some(pattern) = &self.matches {
            words.push(format!("something that matches /{}/", pattern.0));
        }
        for json in self.json.iter().chain(&self.json_includes) {
            words.push(format!("the JSON {json}"));
        }
        if let Some(values) = &self.values {
            words.push(format!("{values:?}"));
        }
        if let Some(absent) = self.absent {
            words.push(if absent { "nothing" } else { "something" }.to_owned());
        }
        if let Some(not) = &self.not {
            words.push(format!("not {}", not.describe()));
        }
        match words.is_empty() {
            true => "something".to_owned(),
            false => words.join(" and "),
        }
    }
}

fn mismatch(expected: &str, values: &[Cow<'_, str>]) -> Result<(), Mismatch> {
    let actual = match values {
        [] => "nothing (absent)".to_owned(),
        [only] => only.to_string(),
        several => format!("{several:?}"),
    };
    Err(Mismatch {
        expected: expected.to_owned(),
        actual,
    })
}

/// Whether all members of `part` are in `whole`; of lists, item by item.
fn includes(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(name, part)| whole.get(name).is_some_and(|whole| includes(whole, part))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(w, p)| includes(w, p))
        }
        _ => whole == part,
    }
}

// === impl Amount ===

impl Amount<u64> {
    /// At least one.
    pub(super) const SOME: Self = Self {
        at_least: Some(1),
        at_most: None,
    };

    /// Whether it is so many.
    ///
    /// # Errors
    /// Where it is another number.
    pub(super) fn check(&self, actual: u64) -> Result<(), Mismatch> {
        self.within(actual, |number| number, u64::to_string)
    }
}

impl Amount<Span> {
    /// Whether it is so long.
    ///
    /// # Errors
    /// Where it is longer or shorter.
    pub(super) fn check(&self, actual: std::time::Duration) -> Result<(), Mismatch> {
        let text =
            |duration: &std::time::Duration| humantime::format_duration(*duration).to_string();
        self.within(actual, |span| span.0, text)
    }
}

impl<T: Copy> Amount<T> {
    fn within<U: PartialOrd>(
        &self,
        actual: U,
        value: impl Fn(T) -> U,
        text: impl Fn(&U) -> String,
    ) -> Result<(), Mismatch> {
        let least = self.at_least.map(&value);
        let most = self.at_most.map(&value);
        if least.as_ref().is_none_or(|least| actual >= *least)
            && most.as_ref().is_none_or(|most| actual <= *most)
        {
            return Ok(());
        }
        let expected = match (least, most) {
            (Some(least), Some(most)) if least == most => text(&least),
            (Some(least), Some(most)) => format!("from {} to {}", text(&least), text(&most)),
            (Some(least), None) => format!("at least {}", text(&least)),
            (None, Some(most)) => format!("at most {}", text(&most)),
            (None, None) => "anything".to_owned(),
        };
        Err(Mismatch {
            expected,
            actual: text(&actual),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use crate::scenario::model::Short;

    fn condition(yaml: &str) -> Match {
        let read = read::read::<Short<Match>>(std::path::Path::new("test.yaml"), yaml);
        read.map(|(condition, _)| condition.0)
            .unwrap_or_else(|problems| {
                panic!("{yaml}: {problems:?}");
            })
    }

    fn holds(yaml: &str, values: &[&str]) -> bool {
        let values: Vec<_> = values.iter().map(|value| Cow::Borrowed(*value)).collect();
        condition(yaml).check(&values).is_ok()
    }

    #[test]
    fn conditions() {
        for (yaml, values, expected) in [
            ("a", &["a"][..], true),
            ("a", &["b"], false),
            ("a", &[], false),
            // Several values are not one of them.
            ("a", &["a", "b"], false),
            ("\"a, b\"", &["a", "b"], true),
            ("5", &["5"], true),
            ("true", &["true"], true),
            ("[a, b]", &["a", "b"], true),
            ("[a, b]", &["b", "a"], false),
            ("[]", &[], true),
            ("null", &[], true),
            ("null", &[""], false),
            ("{absent: false}", &[""], true),
            ("{absent: false}", &[], false),
            ("{contains: [a, b]}", &["b or a"], true),
            ("{contains: [a, c]}", &["b or a"], false),
            ("{starts_with: a, ends_with: c}", &["abc"], true),
            ("{starts_with: a, ends_with: b}", &["abc"], false),
            ("{matches: '^a+$'}", &["aaa"], true),
            ("{matches: '^a+$'}", &["aab"], false),
            ("{not: a}", &["b"], true),
            ("{not: a}", &["a"], false),
            ("{not: a}", &[], true),
            ("{json: {a: [1, 2.5]}}", &["{ \"a\": [1, 2.5] }"], true),
            ("{json: {a: 1}}", &["{\"a\": 1, \"b\": 2}"], false),
            (
                "{json_includes: {a: {c: 1}}}",
                &["{\"a\": {\"b\": 0, \"c\": 1}}"],
                true,
            ),
            (
                "{json_includes: {a: {c: 2}}}",
                &["{\"a\": {\"c\": 1}}"],
                false,
            ),
            ("{json_includes: {a: 1}}", &["no JSON"], false),
        ] {
            assert_eq!(holds(yaml, values), expected, "{yaml} of {values:?}");
        }
    }
}
