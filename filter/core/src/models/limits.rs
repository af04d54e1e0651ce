//! What a consumer may use up: requests and tokens a minute, dollars a day and a month.
//!
//! Requests and tokens are kept as instants at which their minute is full again (the generic cell rate algorithm), so that
//! they are refilled evenly and there is no edge of a minute at which twice as much is admitted.

use crate::models::Cost;
use crate::reply::{Refusal, Reply};
use crate::scan::Usage;

const MINUTE: u64 = 60_000_000_000;
const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
/// A cent in the unit of [`Cost`].
const CENT: u64 = 10_000_000_000;

/// What a consumer may use up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A minute.
    pub(crate) requests: Option<u32>,
    /// A minute.
    pub(crate) tokens: Option<u32>,
    /// In cents.
    pub(crate) day: Option<u32>,
    /// In cents.
    pub(crate) month: Option<u32>,
}

impl Limits {
    /// Whether they are of dollars.
    #[must_use]
    pub fn are_of_cost(&self) -> bool {
        self.day.is_some() || self.month.is_some()
    }

    /// Whether they are of what is known only once an answer has told it.
    pub(crate) fn need_usage(&self) -> bool {
        [self.tokens, self.day, self.month]
            .iter()
            .any(Option::is_some)
    }
}

/// What a consumer has used up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Ledger {
    /// When the minute's requests are there again, in nanoseconds since 1970.
    requests: u64,
    /// When the minute's tokens are there again, in nanoseconds since 1970.
    tokens: u64,
    /// A day since 1970, and its cost.
    day: (u64, u64),
    /// A month, counted from year 0, and its cost.
    month: (u64, u64),
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Requests a minute
    Requests,
    /// Tokens a minute
    Tokens,
    /// Dollars a day
    Day,
    /// Dollars a month
    Month,
}

/// A request that is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// By which limit.
    pub limit: Limit,
    /// In so many nanoseconds it would be.
    pub wait: u64,
}

/// Headers of a response.
pub type LimitHeaders = Vec<(&'static str, String)>;

// === impl Ledger ===

impl Ledger {
    /// How many bytes it takes as text for shared data.
    pub const LENGTH: usize = 48;

    /// As shared data; what is not of this form is an empty one.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut numbers = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|number| u64::from_le_bytes(*number));
        let mut next = || {
            if bytes.len() == Self::LENGTH {
                numbers.next().unwrap_or(0)
            } else {
                0
            }
        };
        Self {
            requests: next(),
            tokens: next(),
            day: (next(), next()),
            month: (next(), next()),
        }
    }

    /// For shared data.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let numbers = [
            self.requests,
            self.tokens,
            self.day.0,
            self.day.1,
            self.month.0,
            self.month.1,
        ];
        numbers.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// Admits a request at this time, in nanoseconds since 1970, and counts it.
    ///
    /// # Errors
    /// The limit that was reached, of which nothing is taken then.
    pub fn admit(&mut self, limits: &Limits, now: u64) -> Result<(), Exceeded> {
        self.turn(now);
        let exceeded = |limit, wait| Err(Exceeded { limit, wait });
        let spent = |limit: Option<u32>, cost: u64| {
            limit.is_some_and(|cents| cost >= u64::from(cents).saturating_mul(CENT))
        };
        if spent(limits.month, self.month.1) {
            return exceeded(Limit::Month, until_next_month(now));
        }
        if spent(limits.day, self.day.1) {
            return exceeded(Limit::Day, DAY - now % DAY);
        }
        let owed = self.tokens.saturating_sub(now);
        if limits.tokens.is_some() && owed >= MINUTE {
            return exceeded(
                Limit::Tokens,
                (owed - MINUTE).saturating_add(each(limits.tokens)),
            );
        }
        let owed = self
            .requests
            .saturating_sub(now)
            .saturating_add(each(limits.requests));
        if limits.requests.is_some() && owed > MINUTE {
            return exceeded(Limit::Requests, owed - MINUTE);
        }
        if limits.requests.is_some() {
            self.requests = now.saturating_add(owed);
        }
        Ok(())
    }

    /// Counts what an answer took.
    pub fn charge(&mut self, limits: &Limits, usage: &Usage, cost: Cost, now: u64) {
        self.turn(now);
        if limits.tokens.is_some() {
            let tokens = usage.input.saturating_add(usage.output);
            // In microseconds, for their product to fit.
            let limit = u64::from(limits.tokens.unwrap_or(1).max(1));
            let time = tokens.saturating_mul(MINUTE / 1_000) / limit;
            let free = self.tokens.max(now);
            self.tokens = free.saturating_add(time.saturating_mul(1_000));
        }
        self.day.1 = self.day.1.saturating_add(cost.own);
        self.month.1 = self.month.1.saturating_add(cost.own);
    }

    /// What is left, as clients of the API read it.
    #[must_use]
    pub fn headers(&self, limits: &Limits, now: u64) -> LimitHeaders {
        let mut headers = LimitHeaders::new();
        let names = [
            [
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ],
            [
                "x-ratelimit-limit-tokens",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-tokens",
            ],
        ];
        let (requests, tokens) = (
            self.requests.saturating_sub(now),
            self.tokens.saturating_sub(now),
        );
        // Requests are whole: so many more are admitted at once, reckoned as `admit` does.
        let more = MINUTE.saturating_sub(requests) / each(limits.requests).max(1);
        let free = MINUTE.saturating_sub(tokens) / 1_000;
        let unused = free.saturating_mul(limits.tokens.unwrap_or(0).into()) / (MINUTE / 1_000);
        let kinds = [
            (limits.requests, requests, more),
            (limits.tokens, tokens, unused),
        ];
        for ([limit_name, remaining, reset], (limit, owed, left)) in names.into_iter().zip(kinds) {
            let Some(limit) = limit else { continue };
            let left = left.min(limit.into());
            headers.push((limit_name, limit.to_string()));
            headers.push((remaining, left.to_string()));
            headers.push((reset, span(owed)));
        }
        headers
    }

    /// Begins days and months that have come.
    fn turn(&mut self, now: u64) {
        let (day, month) = (now / DAY, month(now / DAY).0);
        if self.day.0 != day {
            self.day = (day, 0);
        }
        if self.month.0 != month {
            self.month = (month, 0);
        }
    }
}

// === impl Exceeded ===

impl Exceeded {
    /// The answer, in the API's shape.
    #[must_use]
    pub fn reply(&self, headers: LimitHeaders) -> Reply {
        let (refusal, what) = match self.limit {
            Limit::Requests => (Refusal::TooManyRequests, "requests per minute"),
            Limit::Tokens => (Refusal::TooManyTokens, "tokens per minute"),
            Limit::Day => (Refusal::QuotaUsedUp, "dollars per day"),
            Limit::Month => (Refusal::QuotaUsedUp, "dollars per month"),
        };
        let seconds = self.wait.div_ceil(SECOND).to_string();
        let message = [
            "Limit reached for ",
            what,
            ". Please try again in ",
            &seconds,
            "s.",
        ];
        let mut reply = refusal.reply(&message.concat(), None);
        reply.headers.push(("retry-after", seconds));
        reply.headers.extend(headers);
        reply
    }
}

/// The time that one of so many a minute takes.
fn each(limit: Option<u32>) -> u64 {
    MINUTE / u64::from(limit.unwrap_or(1).max(1))
}

/// A duration as the API's headers have it: `1.5s` would be `1s500ms` elsewhere; here whole milliseconds below a second.
fn span(nanos: u64) -> String {
    let millis = nanos.div_ceil(1_000_000);
    let (seconds, rest) = (millis / 1_000, millis % 1_000);
    match (seconds, rest) {
        (0, _) => [&rest.to_string(), "ms"].concat(),
        (_, 0) => [&seconds.to_string(), "s"].concat(),
        _ => {
            let rest = (1_000 + rest).to_string();
            [
                &seconds.to_string(),
                ".",
                rest.get(1..).unwrap_or_default(),
                "s",
            ]
            .concat()
        }
    }
}

/// The month of a day since 1970, counted from year 0, and the day within it, from 1. Source: H. Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `civil_from_days`.
fn month(day: u64) -> (u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * from_march + 2) / 5 + 1;
    ((era * 400 + year) * 12 + from_march + 2, of_month)
}

fn until_next_month(now: u64) -> u64 {
    let day = now / DAY;
    let this = month(day).0;
    let next = (day + 1..day + 32).find(|day| month(*day).0 != this);
    next.unwrap_or(day + 1)
        .saturating_mul(DAY)
        .saturating_sub(now)
}

#[cfg(test)]
mod tests;
