//! Leaf values that are numbers.

use crate::document::read::{At, Problems, Read};
use crate::json::Node;
use crate::schedule::Share;

/// The share of an environment, relative to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight(pub(crate) u32);

/// A counter that only an operator raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u32);

/// A part of the whole in millionths, from 0 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub(crate) u32);

/// A price in millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usd(pub(crate) u32);

/// A sum in US cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dollars(pub(crate) u32);

/// How many outcomes a guard waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Volume(pub(crate) u32);

/// So much a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota(pub(crate) u32);

/// How many probes in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InARow(pub(crate) u32);

impl Rate {
    /// Millionths of the whole.
    #[must_use]
    pub fn millionths(self) -> u32 {
        self.0
    }
}

impl Read for Weight {
    const EXPECTED: &'static str = "an integer from 0 to 1000000";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        integer(node, at, problems, Self::EXPECTED, 1_000_000).map(Self)
    }
}

impl Read for Count {
    const EXPECTED: &'static str = "an integer from 0 to 4294967295";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        integer(node, at, problems, Self::EXPECTED, u32::MAX).map(Self)
    }
}

impl Read for Rate {
    const EXPECTED: &'static str = "a number from 0 to 1 with at most six decimals";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        decimal(node, at, problems, Self::EXPECTED, 1_000_000, 1).map(Self)
    }
}

impl Read for Share {
    const EXPECTED: &'static str = "percent: a number from 0 to 100 with at most two decimals";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        decimal(node, at, problems, Self::EXPECTED, 100, 100).map(Self::from_hundredths)
    }
}

impl Read for Usd {
    const EXPECTED: &'static str = "a number from 0 to 4000 with at most six decimals";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        decimal(node, at, problems, Self::EXPECTED, 1_000_000, 4_000).map(Self)
    }
}

impl Read for Dollars {
    const EXPECTED: &'static str = "a number from 0 to 10000000 with at most two decimals";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        decimal(node, at, problems, Self::EXPECTED, 100, 10_000_000).map(Self)
    }
}

impl Read for Volume {
    const EXPECTED: &'static str = "an integer from 1 to 1000000";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        positive(node, at, problems, Self::EXPECTED, 1_000_000).map(Self)
    }
}

impl Read for Quota {
    const EXPECTED: &'static str = "an integer from 1 to 4294967295";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        positive(node, at, problems, Self::EXPECTED, u32::MAX).map(Self)
    }
}

impl Read for InARow {
    const EXPECTED: &'static str = "an integer from 1 to 100";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        positive(node, at, problems, Self::EXPECTED, 100).map(Self)
    }
}

schema!(Volume, { "type": "integer", "minimum": 1, "maximum": 1_000_000 });
schema!(Quota, { "type": "integer", "minimum": 1, "maximum": 4_294_967_295_u32 });
schema!(InARow, { "type": "integer", "minimum": 1, "maximum": 100 });
schema!(Weight, { "type": "integer", "minimum": 0, "maximum": 1_000_000 });
schema!(Count, { "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 });
schema!(Rate, { "type": "number", "minimum": 0, "maximum": 1 }, "a number from 0 to 1 with at most six decimals");
schema!(Share, { "type": "number", "minimum": 0, "maximum": 100 }, "percent: a number from 0 to 100 with at most two decimals");
schema!(Usd, { "type": "number", "minimum": 0, "maximum": 4000 }, "a number from 0 to 4000 with at most six decimals");
schema!(Dollars, { "type": "number", "minimum": 0, "maximum": 10_000_000 }, "a number from 0 to 10000000 with at most two decimals");

/// Reads a number from 0 to `largest` as parts: `scale` times its value, which must be whole.
fn decimal(
    node: &Node,
    at: &At<'_>,
    problems: &mut Problems,
    expected: &str,
    scale: u32,
    largest: u32,
) -> Option<u32> {
    /// What a decimal fraction may be off by as a binary one, far below a part.
    const SLACK: f64 = 1e-6;
    let Node::Number(number) = node else {
        problems.wrong_type(at, expected, node);
        return None;
    };
    if !(0.0..=f64::from(largest)).contains(number) {
        problems.push(at, ["is out of range: expected ", expected].concat());
        return None;
    }
    let parts = number * f64::from(scale) + 0.5;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be within a u32 just above"
    )]
    let whole = parts as u32;
    if !(0.5 - SLACK..=0.5 + SLACK).contains(&(parts - f64::from(whole))) {
        problems.push(at, ["has too many decimals: expected ", expected].concat());
        return None;
    }
    Some(whole)
}

fn positive(
    node: &Node,
    at: &At<'_>,
    problems: &mut Problems,
    expected: &str,
    largest: u32,
) -> Option<u32> {
    let integer = integer(node, at, problems, expected, largest)?;
    if integer == 0 {
        problems.push(at, ["is out of range: expected ", expected].concat());
        return None;
    }
    Some(integer)
}

fn integer(
    node: &Node,
    at: &At<'_>,
    problems: &mut Problems,
    expected: &str,
    largest: u32,
) -> Option<u32> {
    let Node::Number(number) = node else {
        problems.wrong_type(at, expected, node);
        return None;
    };
    if !(0.0..=f64::from(largest)).contains(number) {
        problems.push(at, ["is out of range: expected ", expected].concat());
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be within a u32 just above"
    )]
    let integer = *number as u32;
    if f64::from(integer) < *number {
        problems.push(at, ["has a fraction: expected ", expected].concat());
        return None;
    }
    Some(integer)
}
