//! Scalars as protobuf's JSON mapping writes them.

use std::time::Duration;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::super::node::Value;
use super::{Field, Object};

/// The longest duration of protobuf, in seconds: about 10,000 years.
const MAX_SECONDS: u64 = 315_576_000_000;

/// Protobuf's JSON accepts both alphabets, with padding or without.
const PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PADDING);

impl<'a> Field<'a> {
    /// A string.
    pub(in super::super) fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text { text, .. } => Some(text),
            Value::Bool(_) | Value::Number(_) => {
                self.expected("text; put quotes around it");
                None
            }
            _ => {
                self.expected("text");
                None
            }
        }
    }

    /// A string that is not empty.
    pub(in super::super) fn name(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.is_empty() {
            self.error("must not be empty");
            return None;
        }
        Some(text)
    }

    /// A boolean.
    pub(in super::super) fn bool(&self) -> Option<bool> {
        match self.node.value {
            Value::Bool(b) => Some(b),
            _ => {
                self.expected("true or false");
                None
            }
        }
    }

    /// An unsigned integer within bounds, as a number or as its text.
    pub(in super::super) fn uint(&self, min: u32, max: u32) -> Option<u32> {
        let number = match &self.node.value {
            Value::Number(n) => Some(*n),
            Value::Text { text, .. } => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(n) if n.fract() == 0.0 && n >= f64::from(min) && n <= f64::from(max) => {
                Some(whole(n))
            }
            _ => {
                let what = match (min, max) {
                    (0, u32::MAX) => "an unsigned integer".to_owned(),
                    (_, u32::MAX) => format!("an integer of at least {min}"),
                    _ => format!("an integer from {min} to {max}"),
                };
                self.expected(&what);
                None
            }
        }
    }

    /// Percent, in hundredths of one.
    pub(in super::super) fn percent(&self) -> Option<u32> {
        let number = match &self.node.value {
            Value::Number(n) => Some(*n),
            Value::Text { text, .. } => text.parse().ok(),
            _ => None,
        };
        match number.filter(|n| (0.0..=100.0).contains(n)) {
            Some(n) => Some(whole((n * 100.0).floor())),
            None => {
                self.expected("a number from 0 to 100");
                None
            }
        }
    }

    /// A duration: seconds with up to nine decimals and an `s`.
    pub(in super::super) fn duration(&self) -> Option<Duration> {
        let duration = match &self.node.value {
            Value::Text { text, .. } => seconds(text),
            _ => None,
        };
        if duration.is_none() {
            self.expected("a duration in seconds such as \"0.25s\"");
        }
        duration
    }

    /// A duration above zero.
    pub(in super::super) fn positive_duration(&self) -> Option<Duration> {
        let duration = self.duration()?;
        if duration.is_zero() {
            self.error("must be above 0s");
            return None;
        }
        Some(duration)
    }

    /// Bytes in base64.
    pub(in super::super) fn bytes(&self) -> Option<Bytes> {
        let text = self.text()?;
        match STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)) {
            Ok(bytes) => Some(Bytes::from(bytes)),
            Err(e) => {
                self.error(format!("expected bytes in base64: {e}"));
                None
            }
        }
    }

    /// One of an enum's names.
    pub(in super::super) fn choice<T: Copy>(&self, names: &[(&str, T)]) -> Option<T> {
        let text = match &self.node.value {
            Value::Text { text, .. } => Some(text.as_str()),
            _ => None,
        };
        let found = names.iter().find(|(name, _)| Some(*name) == text);
        if found.is_none() {
            let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
            self.error(format!(
                "{} is not supported here; supported: {}",
                self.node.value.describe(),
                names.join(", ")
            ));
        }
        found.map(|(_, value)| *value)
    }
}

impl<'a> Object<'a> {
    /// A string field; empty where it is absent, as in protobuf.
    pub(in super::super) fn text(&self, name: &'static str) -> String {
        self.get(name)
            .and_then(|f| f.text())
            .unwrap_or_default()
            .to_owned()
    }

    /// A string field that must be there and not empty; empty after an error.
    pub(in super::super) fn required_name(&self, name: &'static str) -> String {
        self.required(name)
            .and_then(|f| f.name())
            .unwrap_or_default()
            .to_owned()
    }

    /// A boolean field.
    pub(in super::super) fn bool(&self, name: &'static str, default: bool) -> bool {
        self.get(name).and_then(|f| f.bool()).unwrap_or(default)
    }

    /// An unsigned integer field without bounds of its own.
    pub(in super::super) fn uint(&self, name: &'static str, default: u32) -> u32 {
        self.get(name)
            .and_then(|f| f.uint(0, u32::MAX))
            .unwrap_or(default)
    }

    /// A duration field.
    pub(in super::super) fn duration(&self, name: &'static str, default: Duration) -> Duration {
        self.get(name).and_then(|f| f.duration()).unwrap_or(default)
    }
}

/// A whole number that is known to be within `u32`.
fn whole(n: f64) -> u32 {
    // Through text, since a lossless conversion does not exist and `as` would hide a wrong bound.
    format!("{n:.0}").parse().unwrap_or(u32::MAX)
}

/// Protobuf's text form of a duration that is not negative.
fn seconds(text: &str) -> Option<Duration> {
    let text = text.strip_suffix('s')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let seconds = whole.parse().ok().filter(|s| *s <= MAX_SECONDS)?;
    Some(Duration::new(
        seconds,
        format!("{fraction:0<9}").parse().ok()?,
    ))
}
