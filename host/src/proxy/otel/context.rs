//! Trace context on the wire, and which requests are sampled. Sources: W3C Trace Context, level 1; what Envoy 1.40 does.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::listener::Tracing;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static FORCE: HeaderName = HeaderName::from_static("x-envoy-force-trace");
pub(super) static CLIENT_TRACE_ID: HeaderName = HeaderName::from_static("x-client-trace-id");

/// Length of `00-TRACE-SPAN-FLAGS`.
const LENGTH: usize = 55;
/// The bit of the flags that says that somebody records.
const SAMPLED: u8 = 1;
/// Where a request id says why it is traced: the digit of a UUID's version.
const MARK: usize = 14;
/// Sampling is in hundredths of a percent.
const WHOLE: u64 = 10_000;

/// A span as the wire names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    /// Never 0.
    pub(super) trace: u128,
    /// Never 0.
    pub(super) span: u64,
    /// Whether it is recorded.
    pub(super) sampled: bool,
}

/// What a request's headers say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// No `traceparent`.
    Nothing,
    /// One that nobody can read.
    Unreadable,
    /// A span of the client's, with its `tracestate`.
    Span(Context, String),
}

/// Why a request is traced, or that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    NotTraceable,
    Sampling,
    ServiceForced,
    ClientForced,
}

// === impl Reason ===

impl Reason {
    pub(super) const ALL: [Self; 4] = [
        Self::NotTraceable,
        Self::Sampling,
        Self::ServiceForced,
        Self::ClientForced,
    ];

    /// The position in [`Reason::ALL`].
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Envoy's name of the counter.
    pub(super) fn counter(self) -> &'static str {
        match self {
            Self::NotTraceable => "not_traceable",
            Self::Sampling => "random_sampling",
            Self::ServiceForced => "service_forced",
            Self::ClientForced => "client_enabled",
        }
    }

    /// Envoy's digit in a request id.
    fn digit(self) -> u8 {
        match self {
            Self::NotTraceable => b'4',
            Self::Sampling => b'9',
            Self::ServiceForced => b'a',
            Self::ClientForced => b'b',
        }
    }
}

/// Whether a request is traced: as a proxy before this one has decided, by force, or by chance. The decision is noted in the
/// request id for the proxies behind.
pub(super) fn decide(headers: &mut HeaderMap, config: &Tracing) -> Reason {
    let id = headers.get(&REQUEST_ID).map(HeaderValue::as_bytes);
    let id: Option<[u8; 36]> = id.and_then(|id| id.try_into().ok());
    // Of the id, so that all proxies on the way draw the same lot.
    let lot = id
        .as_ref()
        .and_then(|id| u64::from_str_radix(std::str::from_utf8(id.get(..8)?).ok()?, 16).ok())
        .unwrap_or_else(|| fastrand::u64(..));
    let drawn = |share: u32| lot % WHOLE < u64::from(share);
    let marked = id.and_then(|id| id.get(MARK).copied());
    let mut reason = Reason::ALL
        .into_iter()
        .find(|reason| Some(reason.digit()) == marked)
        .unwrap_or(Reason::NotTraceable);
    if reason == Reason::NotTraceable {
        let asked = headers.contains_key(&CLIENT_TRACE_ID);
        reason = if asked && fastrand::u64(..WHOLE) < u64::from(config.client_sampling) {
            Reason::ClientForced
        } else if headers.contains_key(&FORCE) {
            Reason::ServiceForced
        } else if drawn(config.random_sampling) {
            Reason::Sampling
        } else {
            Reason::NotTraceable
        };
    }
    if !drawn(config.overall_sampling) {
        reason = Reason::NotTraceable;
    }
    if let Some(mut id) = id
        && let Some(mark) = id.get_mut(MARK)
        && *mark != reason.digit()
    {
        *mark = reason.digit();
        if let Ok(value) = HeaderValue::from_bytes(&id) {
            headers.insert(REQUEST_ID.clone(), value);
        }
    }
    reason
}

/// Reads a request's context. As in Envoy the version does not matter, as long as the length is right.
pub(super) fn incoming(headers: &HeaderMap) -> Incoming {
    let Some(parent) = headers.get(&TRACEPARENT) else {
        return Incoming::Nothing;
    };
    match parent.to_str().ok().and_then(parse) {
        Some(parent) => {
            let states = headers.get_all(&TRACESTATE).iter();
            let states: Vec<&str> = states.filter_map(|state| state.to_str().ok()).collect();
            Incoming::Span(parent, states.join(","))
        }
        None => Incoming::Unreadable,
    }
}

fn parse(text: &str) -> Option<Context> {
    let mut parts = text.split('-');
    let mut hex = |digits: usize| {
        let part = parts.next()?;
        let whole = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        whole.then(|| u128::from_str_radix(part, 16).ok())?
    };
    let (_version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let context = Context {
        trace,
        span: u64::try_from(span).ok()?,
        sampled: u8::try_from(flags).ok()? & SAMPLED != 0,
    };
    (text.len() == LENGTH && trace != 0 && span != 0).then_some(context)
}

/// Writes a context over what is there.
pub(super) fn inject(context: &Context, state: &str, headers: &mut HeaderMap) {
    let mut parent = String::with_capacity(LENGTH);
    let Context {
        trace,
        span,
        sampled,
    } = context;
    let _ = write!(
        parent,
        "00-{trace:032x}-{span:016x}-{:02x}",
        u8::from(*sampled)
    );
    for (name, value) in [(&TRACEPARENT, parent.as_str()), (&TRACESTATE, state)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name.clone(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn sampling(random: u32, overall: u32) -> Tracing {
        Tracing {
            random_sampling: random,
            overall_sampling: overall,
            ..Tracing::for_tests()
        }
    }

    #[test]
    fn contexts_that_cannot_be_read() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(parse(good).is_some());
        for bad in [
            "garbage",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "0-00af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(
                incoming(&headers(&[("traceparent", bad)])),
                Incoming::Unreadable,
                "{bad}"
            );
        }
        assert_eq!(incoming(&HeaderMap::new()), Incoming::Nothing);
    }

    #[test]
    fn the_decision_is_noted_in_the_request_id() {
        let id = "25832e7f-60e1-447b-8bb8-5c41f5a3ac67";
        let mark = |headers: &HeaderMap| headers["x-request-id"].as_bytes()[MARK];
        for (id, forced, config, reason) in [
            (id, None, sampling(0, 10_000), Reason::NotTraceable),
            (id, None, sampling(10_000, 10_000), Reason::Sampling),
            (id, None, sampling(10_000, 0), Reason::NotTraceable),
            (
                id,
                Some("x-envoy-force-trace"),
                sampling(0, 10_000),
                Reason::ServiceForced,
            ),
            (
                id,
                Some("x-client-trace-id"),
                sampling(0, 10_000),
                Reason::ClientForced,
            ),
            (
                "25832e7f-60e1-947b-8bb8-5c41f5a3ac67",
                None,
                sampling(0, 10_000),
                Reason::Sampling,
            ),
        ] {
            let mut headers = headers(&[("x-request-id", id)]);
            headers.extend(
                forced.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))),
            );
            assert_eq!(decide(&mut headers, &config), reason);
            assert_eq!(mark(&headers), reason.digit());
        }
    }

    #[test]
    fn all_proxies_draw_the_same_lot() {
        let mut traced = 0;
        for number in 0..10_000_u32 {
            let id = format!(
                "{:08x}-60e1-447b-8bb8-5c41f5a3ac67",
                number.wrapping_mul(0x9e37_79b1)
            );
            let decide = || {
                decide(
                    &mut headers(&[("x-request-id", &id)]),
                    &sampling(2_500, 10_000),
                )
            };
            assert_eq!(decide(), decide());
            traced += u32::from(decide() == Reason::Sampling);
        }
        assert!((2_300..2_700).contains(&traced), "{traced}");
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(trace in 1_u128.., span in 1_u64.., sampled: bool, state in "[a-z]{1,3}=[a-z]{1,3}") {
            let context = Context { trace, span, sampled };
            let mut headers = HeaderMap::new();
            inject(&context, &state, &mut headers);
            prop_assert_eq!(incoming(&headers), Incoming::Span(context, state));
        }
    }
}
