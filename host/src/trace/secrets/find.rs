//! Which values in a text are secret.

use std::ops::Range;

use super::members::{self, Holds, Scalar};
use super::names::Names;
use super::{SHORT, text};

/// A secret that stands in a text.
pub(super) struct Found {
    /// Where its name begins, or what else it is known by.
    pub(super) at: usize,
    /// Where it stands.
    pub(super) value: Range<usize>,
    /// What it is.
    pub(super) what: What,
}

/// What a secret is, and so where it is masked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A value.
    Value,
    /// A value that may have others within it.
    Credential,
    /// Yes, no, or a number of few digits, as there are everywhere.
    Flag,
}

/// Longer values are no secrets with separators in them.
const JOINED: usize = 1024;

/// All secrets in a text.
pub(super) fn all(text: &[u8], names: &Names) -> Vec<Found> {
    let bytes = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
    let is_secret = |name: &Range<usize>| names.is_secret(bytes(name));
    let mut found = Vec::new();
    // Where the last array or object ends that was looked through.
    let mut end = 0;
    let mut add = |at, value, what| found.push(Found { at, value, what });
    for member in members::members(text).filter(|member| is_secret(&member.name)) {
        let at = member.name.start;
        match member.holds {
            Holds::Scalar(Scalar {
                value, is_string, ..
            }) => {
                if let Some(what) = scalar(bytes(&value), bytes(&member.name), is_string, names) {
                    add(at, value, what);
                }
            }
            Holds::Several(start) if start >= end => {
                let within;
                (within, end) = members::within(text, start, |name| names.is_secret(name));
                for Scalar {
                    name,
                    value,
                    is_string,
                } in within
                {
                    let name = name.unwrap_or_default();
                    match scalar(bytes(&value), bytes(&name), is_string, names) {
                        // Settings beside a secret are most often such.
                        Some(What::Flag) | None => {}
                        Some(what) => add(value.start, value, what),
                    }
                }
            }
            // It is in one that was looked through.
            Holds::Several(_) => {}
        }
    }
    // What is within a value is masked with it.
    let mut end = 0;
    for pair in text::pairs(text).filter(|pair| is_secret(&pair.name)) {
        let (at, start) = (pair.name.start, pair.value.start);
        if start <= end {
            continue;
        }
        // Where several are joined, the value is the first of them, or all.
        end = start + text::run(bytes(&pair.value), |byte| !matches!(byte, b';' | b','));
        add(at, start..end, What::Value);
        if end < pair.value.end && pair.value.len() <= JOINED {
            add(at, pair.value, What::Value);
        }
    }
    for pair in text::parts(text).filter(|pair| is_secret(&pair.name)) {
        add(pair.name.start, pair.value, What::Value);
    }
    for pair in text::passwords(text) {
        add(pair.name.start, pair.value, What::Value);
    }
    for pair in text::credentials(text) {
        add(pair.name.start, pair.value, What::Credential);
    }
    found
}

fn scalar(value: &[u8], name: &[u8], is_string: bool, names: &Names) -> Option<What> {
    let is_flag = matches!(value, b"true" | b"false") || value.len() < SHORT;
    if is_string {
        Some(What::Credential)
    } else if value == b"null" || names.is_amount(name) {
        None
    } else if is_flag {
        Some(What::Flag)
    } else {
        Some(What::Value)
    }
}
