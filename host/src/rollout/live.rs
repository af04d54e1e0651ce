//! What a proxy does: the figures that its admin server gives, Envoy's and the host's alike.

mod link;
mod own;
pub(crate) mod text;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, TRANSFER_ENCODING};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Body as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use switchover_core::Share;

use super::status::{Status, as_percent};
use crate::process::Process;
use link::{Link, LinkError};
use own::Own;
use text::Sample;

/// How long one proxy may take to answer.
const LIMIT: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const SIZE_LIMIT: usize = 32 << 20;
/// Where the figures are.
const STATS: &str = "/stats/prometheus";
/// What the process is.
const INFO: &str = "/server_info";
/// What [`Figures`] are made of.
pub(crate) const FAMILIES: [&str; 10] = [
    "weight",
    "weight_planned",
    "healthy",
    "requests",
    "attempts",
    "failures",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "tripped",
];
/// The admin server of a proxy.
#[derive(Debug, Clone)]
pub struct Admin {
    /// As it was named.
    name: String,
    authority: String,
    link: Link,
    /// Where it is this process's own, which is not asked over the network.
    own: Option<Own>,
}

/// What a proxy does with a rollout.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// The admin server, as it was named.
    pub proxy: String,
    /// The rollout's id.
    #[serde(skip)]
    pub rollout: String,
    /// Whether the proxy follows the document: it knows the rollout, and plans the same shares.
    pub follows: bool,
    /// Whether its tripwire has tripped; `None` where the document has none or the proxy does not know the rollout.
    pub tripped: Option<bool>,
    /// The environments, in the document's order.
    pub environments: Vec<EnvironmentFigures>,
}

/// What a proxy does with an environment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EnvironmentFigures {
    /// Its name.
    pub name: String,
    /// Its share in force, after tripwire and health, in percent.
    pub in_force: Option<Percent>,
    /// Whether its probes succeed; `None` where there are none.
    pub healthy: Option<bool>,
    /// Requests that were sent there.
    pub requests: u64,
    /// Outcomes.
    pub attempts: u64,
    /// Failures among the outcomes.
    pub failures: u64,
    /// Median latency of the guard's window, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
}

/// A share, written as a number of percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Percent(#[serde(serialize_with = "as_percent")] pub Share);

/// Why a proxy gave no figures.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The proxy hangs, or something else is at that address.
    #[error("{0} does not answer within {LIMIT:?}")]
    Slow(String),
    /// Nothing listens on the admin's address: is the proxy up, is the port right?
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, std::io::Error),
    /// The address is the gateway's own, or another program's.
    #[error("{0} is no admin server of a gateway: {1}")]
    Foreign(String, String),
}

// === impl Admin ===

impl Admin {
    /// Reads `http://HOST:PORT`, or `HOST:PORT`.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?} is no admin server: expected http://HOST:PORT");
        let has_scheme = text.contains("://");
        let scheme = if has_scheme { "" } else { "http://" };
        let uri: Uri = [scheme, text].concat().parse().map_err(|_| expected())?;
        let authority = uri.authority().filter(|authority| {
            // A bare word is hardly a host with port 80.
            !authority.as_str().contains('@') && (has_scheme || authority.port().is_some())
        });
        match (uri.scheme_str(), authority, uri.path_and_query()) {
            (Some("http"), Some(authority), path)
                if !authority.host().is_empty() && path.is_none_or(|path| path.as_str() == "/") =>
            {
                let port = authority.port_u16().unwrap_or(80);
                Ok(Self {
                    name: text.to_owned(),
                    authority: format!("{}:{port}", authority.host()),
                    link: Link::default(),
                    own: None,
                })
            }
            _ => Err(expected()),
        }
    }

    /// The same, for the gateway that is in this process.
    #[must_use]
    pub fn of(mut self, process: Arc<Process>) -> Self {
        let since = Instant::now();
        self.own = Some(Own { process, since });
        self
    }

    /// As it was named.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks for the figures of rollouts, in one request.
    ///
    /// # Errors
    /// No answer, or a wrong one.
    pub async fn figures(&self, rollouts: &[Status]) -> Result<Vec<Figures>, LiveError> {
        let samples = self.samples(&FAMILIES).await?;
        let read = |status| Figures::read(&self.name, &samples, status);
        Ok(rollouts.iter().map(read).collect())
    }

    /// Asks for the samples of families, for each consumer's take time.
    ///
    /// # Errors
    /// No answer, a wrong one, or one that is cut off.
    pub(crate) async fn samples(&self, families: &[&str]) -> Result<Vec<Sample>, LiveError> {
        if let Some(own) = &self.own {
            return Ok(own.samples(families));
        }
        // The filter is for the names before there are parts of a histogram.
        let names = families
            .iter()
            .map(|family| family.trim_end_matches("_bucket"));
        let filter = format!("switchover.({})", names.collect::<Vec<_>>().join("|"));
        let filter = utf8_percent_encode(&filter, NON_ALPHANUMERIC);
        let text = self.in_time(&format!("{STATS}?filter={filter}")).await?;
        // An admin server that does not know the parameter tells more.
        Ok(text::samples(&text, families))
    }

    /// Asks how long the proxy's process has run, in whole seconds.
    ///
    /// # Errors
    /// As [`Self::samples`].
    pub(crate) async fn uptime(&self) -> Result<Duration, LiveError> {
        if let Some(own) = &self.own {
            return Ok(Duration::from_secs(own.since.elapsed().as_secs()));
        }
        let text = self.in_time(INFO).await?;
        let info: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let uptime = info["uptime_current_epoch"].as_str();
        let seconds = uptime.and_then(|text| text.strip_suffix('s')?.parse().ok());
        seconds.map(Duration::from_secs).ok_or_else(|| {
            let what = format!("{INFO} tells no uptime_current_epoch");
            LiveError::Foreign(self.name.clone(), what)
        })
    }

    async fn in_time(&self, path: &str) -> Result<String, LiveError> {
        let answer = tokio::time::timeout(LIMIT, self.get(path)).await;
        answer.map_err(|_| LiveError::Slow(self.name.clone()))?
    }

    async fn get(&self, path: &str) -> Result<String, LiveError> {
        let foreign =
            |e: &dyn std::fmt::Display| LiveError::Foreign(self.name.clone(), e.to_string());
        let request = Request::get(path).header(HOST, &self.authority);
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|e| foreign(&e))?;
        let answer = self.link.ask(&self.authority, request).await;
        let (response, sender) = answer.map_err(|error| match error {
            LinkError::Connect(error) => LiveError::Unreachable(self.name.clone(), error),
            LinkError::Exchange(error) => foreign(&error),
        })?;
        let status = response.status();
        if status != 200 {
            return Err(foreign(&format!("it answers {path} with {status}")));
        }
        // Where the connection's end is the answer's, one that was cut off looks whole.
        let has_end = response.headers().contains_key(TRANSFER_ENCODING)
            || response.body().size_hint().exact().is_some();
        let body = Limited::new(response.into_body(), SIZE_LIMIT)
            .collect()
            .await;
        let bytes = body.map_err(|e| foreign(&e))?.to_bytes();
        if !has_end || path.starts_with(STATS) && bytes.last().is_some_and(|byte| *byte != b'\n') {
            return Err(foreign(&"its answer may be cut off"));
        }
        self.link.keep(sender);
        String::from_utf8(bytes.to_vec()).map_err(|e| foreign(&e))
    }
}

// === impl Figures ===

impl Figures {
    /// Picks them from a proxy's samples.
    pub(crate) fn read(proxy: &str, samples: &[Sample], status: &Status) -> Self {
        let of_rollout = |s: &&Sample| s.label("rollout") == Some(&status.rollout);
        let samples: Vec<&Sample> = samples.iter().filter(of_rollout).collect();
        let sum = |family: &str, environment: Option<&str>| {
            let fits = |s: &&&Sample| {
                s.is_of(family) && environment.is_none_or(|e| s.label("environment") == Some(e))
            };
            let mut found = samples.iter().filter(fits).map(|s| s.value).peekable();
            found.peek()?;
            Some(found.sum::<f64>())
        };
        let environments = status.environments.iter().map(|environment| {
            let of = |family| sum(family, Some(&environment.name));
            EnvironmentFigures {
                name: environment.name.clone(),
                in_force: of("weight").map(share),
                healthy: of("healthy").map(|value| value > 0.0),
                requests: count(of("requests")),
                attempts: count(of("attempts")),
                failures: count(of("failures")),
                p50_ms: of("latency_p50_ms"),
                p95_ms: of("latency_p95_ms"),
                p99_ms: of("latency_p99_ms"),
            }
        });
        let planned_alike = |environment: &super::status::Environment| {
            let planned = sum("weight_planned", Some(&environment.name)).map(share);
            let (least, most) = environment.about;
            // One of our shares, and theirs, may be rounded up.
            planned.is_some_and(|Percent(planned)| {
                let planned = planned.hundredths();
                planned + 1 >= least.hundredths() && planned <= most.hundredths() + 1
            })
        };
        Self {
            proxy: proxy.to_owned(),
            rollout: status.rollout.clone(),
            follows: status.environments.iter().all(planned_alike),
            tripped: sum("tripped", None)
                .filter(|_| status.guard)
                .map(|value| value > 0.0),
            environments: environments.collect(),
        }
    }
}

/// A counter; 0 where there is none yet.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates"
)]
fn count(value: Option<f64>) -> u64 {
    value.unwrap_or(0.0).round() as u64
}

/// A gauge in hundredths of a percent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what a share can be"
)]
fn share(gauge: f64) -> Percent {
    let whole = f64::from(Share::ALL.hundredths());
    Percent(Share::from_hundredths(
        gauge.clamp(0.0, whole).round() as u32
    ))
}

#[cfg(test)]
mod tests;
