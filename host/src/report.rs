//! What models took and cost: the counts of any number of proxies, added up.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use switchover_core::document::Document;
use switchover_core::models::Price;

use crate::rollout::live::text::{self, Sample};
use crate::rollout::live::{Admin, LiveError};

/// A month, as rates are given for it: 30 days.
pub const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What is counted.
pub(crate) const FAMILIES: [&str; 6] = [
    "answers",
    "cached_input_tokens",
    "input_tokens",
    "output_tokens",
    "reference_cost_microdollars",
    "cost_microdollars",
];

/// What counts are added up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum By {
    /// The model; prices are shown.
    #[default]
    Model,
    /// Who asked.
    Consumer,
    /// The environment that answered.
    Environment,
    /// The rollout.
    Rollout,
}

/// Counts of answers, tokens and costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Amounts {
    /// Answers that told what they took.
    pub answers: u64,
    /// Answers that did not: their tokens are in no sum.
    pub untold_answers: u64,
    /// Tokens of prompts, cached ones among them.
    pub input_tokens: u64,
    /// Those of them that were cached.
    pub cached_input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Millionths of a dollar, by the models' prices.
    pub cost_microdollars: u64,
    /// The same by their reference prices, or by their own where they have none.
    pub reference_cost_microdollars: u64,
}

/// The counts of one proxy at a moment, by what they are counted for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger(BTreeMap<Series, Amounts>);

/// What is counted apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    model: String,
    consumer: String,
    environment: String,
    rollout: String,
}

/// A line of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The model's, consumer's, environment's or rollout's name; empty for requests without one.
    pub name: String,
    /// The model's price, where lines are models and the document has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_million: Option<Prices>,
    /// What it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_usd_per_million: Option<Prices>,
    /// So far.
    #[serde(flatten)]
    pub amounts: Amounts,
    /// What was spared so far against the reference prices, in millionths of a dollar; negative where they are lower.
    pub saved_microdollars: i64,
    /// The same for a month, at the rate of the time looked at; `None` where that is no time.
    pub per_month: Option<Amounts>,
}

/// Dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prices {
    /// Of prompts.
    pub input: f64,
    /// Of the cached part of prompts.
    pub cached_input: f64,
    /// Of answers.
    pub output: f64,
}

/// What models cost: by their name, and by the rollout.
struct Catalogue<'a>(BTreeMap<&'a str, BTreeMap<&'a str, Listed>>);

/// A model's price, and what it is compared with.
type Listed = (Price, Option<Price>);

/// What a proxy has counted, and in what time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// All that it has counted.
    pub so_far: Ledger,
    /// What it has counted in the time that the rate is taken from.
    pub lately: Ledger,
    /// That time.
    pub time: Duration,
}

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Sorted by cost, the greatest first; then by name.
    pub rows: Vec<Row>,
    /// Their sum.
    pub total: Row,
}

/// Whether there is anything to report about: a rollout that has `models`.
#[must_use]
pub fn has_models(document: &Document) -> bool {
    let mut rollouts = document.rollouts().iter();
    rollouts.any(|rollout| rollout.models().is_some())
}

// === impl Amounts ===

impl Amounts {
    fn fields(&mut self) -> [&mut u64; 7] {
        [
            &mut self.answers,
            &mut self.untold_answers,
            &mut self.input_tokens,
            &mut self.cached_input_tokens,
            &mut self.output_tokens,
            &mut self.cost_microdollars,
            &mut self.reference_cost_microdollars,
        ]
    }

    fn add(&mut self, mut other: Self) {
        for (own, more) in self.fields().into_iter().zip(other.fields()) {
            *own = own.saturating_add(*more);
        }
    }

    /// What came since `before`; a count that has fallen began anew with its process.
    fn since(mut self, mut before: Self) -> Self {
        for (own, before) in self.fields().into_iter().zip(before.fields()) {
            *own = own.checked_sub(*before).unwrap_or(*own);
        }
        self
    }

    /// As much for a month as this is for `time`.
    fn per_month(mut self, time: Duration) -> Self {
        for own in self.fields() {
            let month = u128::from(*own) * MONTH.as_millis() / time.as_millis().max(1);
            *own = u64::try_from(month).unwrap_or(u64::MAX);
        }
        self
    }

    /// What was spared against the reference prices, in millionths of a dollar; negative where they are lower.
    #[must_use]
    pub fn saved_microdollars(&self) -> i64 {
        let signed = |cost: u64| i64::try_from(cost).unwrap_or(i64::MAX);
        signed(self.reference_cost_microdollars) - signed(self.cost_microdollars)
    }

    /// The same as a part of the reference; `None` where that is nothing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53 millionths")]
    pub fn saving(&self) -> Option<f64> {
        (self.reference_cost_microdollars > 0)
            .then(|| self.saved_microdollars() as f64 / self.reference_cost_microdollars as f64)
    }
}

// === impl Ledger ===

impl Ledger {
    /// Asks a proxy for what it has counted.
    ///
    /// # Errors
    /// No answer, or a wrong one.
    pub async fn ask(proxy: &Admin) -> Result<Self, LiveError> {
        Ok(Self::of(&proxy.samples(&FAMILIES).await?))
    }

    /// Reads the text of `/stats/prometheus`.
    #[must_use]
    pub fn read(text: &str) -> Self {
        Self::of(&text::samples(text, &FAMILIES))
    }

    fn of(samples: &[Sample]) -> Self {
        let mut ledger = Self::default();
        for sample in samples {
            let of = |family| sample.is_of(family);
            let told = sample.label("usage") == Some("told");
            let field: fn(&mut Amounts) -> &mut u64 = match () {
                () if of("answers") && told => |to| &mut to.answers,
                () if of("answers") => |to| &mut to.untold_answers,
                () if of("cached_input_tokens") => |to| &mut to.cached_input_tokens,
                () if of("input_tokens") => |to| &mut to.input_tokens,
                () if of("output_tokens") => |to| &mut to.output_tokens,
                () if of("reference_cost_microdollars") => |to| &mut to.reference_cost_microdollars,
                () if of("cost_microdollars") => |to| &mut to.cost_microdollars,
                () => continue,
            };
            let label = |name| sample.label(name).unwrap_or_default().to_owned();
            let series = Series {
                model: label("model"),
                consumer: label("consumer"),
                environment: label("environment"),
                rollout: label("rollout"),
            };
            let field = field(ledger.0.entry(series).or_default());
            *field = field.saturating_add(count(sample.value));
        }
        ledger
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let changes = self.0.iter().map(|(series, amounts)| {
            let before = before.0.get(series).copied().unwrap_or_default();
            (series.clone(), amounts.since(before))
        });
        Self(changes.collect())
    }
}

/// A counter's value.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates"
)]
fn count(value: f64) -> u64 {
    value.round() as u64
}

// === impl Series ===

impl Series {
    fn name(&self, by: By) -> &str {
        match by {
            By::Model => &self.model,
            By::Consumer => &self.consumer,
            By::Environment => &self.environment,
            By::Rollout => &self.rollout,
        }
    }
}

// === impl Prices ===

impl From<Price> for Prices {
    fn from(price: Price) -> Self {
        let dollars = |micro: u32| f64::from(micro) / 1e6;
        Self {
            input: dollars(price.input),
            cached_input: dollars(price.cached),
            output: dollars(price.output),
        }
    }
}

// === impl Catalogue ===

impl<'a> Catalogue<'a> {
    fn of(document: Option<&'a Document>) -> Self {
        let mut catalogue = Self(BTreeMap::new());
        for rollout in document.into_iter().flat_map(Document::rollouts) {
            let models = rollout.models().into_iter();
            for model in models.flat_map(|models| models.catalogue()) {
                let rollouts = catalogue.0.entry(model.id()).or_default();
                rollouts.insert(rollout.id().as_str(), (model.price(), model.reference()));
            }
        }
        catalogue
    }

    /// Each model with each of its prices.
    fn all(&self) -> impl Iterator<Item = (String, Option<Listed>)> {
        let models = self.0.iter();
        models.flat_map(|(model, rollouts)| {
            let prices = rollouts.values();
            prices.map(|listed| ((*model).to_owned(), Some(*listed)))
        })
    }

    /// What a model costs in a rollout; in one that the document does not have, what it costs in all that it has.
    fn listed(&self, rollout: &str, model: &str) -> Option<Listed> {
        let rollouts = self.0.get(model)?;
        rollouts.get(rollout).copied().or_else(|| {
            let mut all = rollouts.values();
            let first = all.next()?;
            all.all(|other| other == first).then_some(*first)
        })
    }
}

// === impl Counted ===

impl Counted {
    /// Asks a proxy for what it has counted, with the rate of its process's whole time.
    ///
    /// # Errors
    /// No answer, or a wrong one.
    pub async fn since_start(proxy: &Admin) -> Result<Self, LiveError> {
        let samples = proxy.samples(&FAMILIES).await?;
        Self::new(&samples, proxy).await
    }

    /// The same where the proxy has told its figures already.
    pub(crate) async fn new(samples: &[Sample], proxy: &Admin) -> Result<Self, LiveError> {
        let so_far = Ledger::of(samples);
        Ok(Self {
            lately: so_far.clone(),
            so_far,
            time: proxy.uptime().await?,
        })
    }
}

// === impl Report ===

impl Report {
    /// Adds up what proxies have counted. A model of the document that nobody has asked for has a line too, and one whose
    /// rollouts have different prices a line for each.
    #[must_use]
    pub fn new<C: Borrow<Counted>>(counted: &[C], by: By, document: Option<&Document>) -> Self {
        let counted: Vec<&Counted> = counted.iter().map(Borrow::borrow).collect();
        let catalogue = Catalogue::of(document.filter(|_| by == By::Model));
        let line = |series: &Series| {
            let listed = catalogue.listed(&series.rollout, &series.model);
            (series.name(by).to_owned(), listed)
        };
        let mut rows: BTreeMap<_, (Amounts, Option<Amounts>)> = BTreeMap::new();
        rows.extend(catalogue.all().map(|line| (line, Default::default())));
        for proxy in &counted {
            for (series, amounts) in &proxy.so_far.0 {
                let (so_far, _) = rows.entry(line(series)).or_default();
                so_far.add(*amounts);
            }
        }
        for proxy in counted.iter().filter(|proxy| !proxy.time.is_zero()) {
            for (series, amounts) in &proxy.lately.0 {
                let (_, month) = rows.entry(line(series)).or_default();
                let month = month.get_or_insert_default();
                month.add(amounts.per_month(proxy.time));
            }
        }
        let timed = counted.iter().any(|proxy| !proxy.time.is_zero());
        let mut total = Row::new(String::from("total"), Amounts::default());
        total.per_month = timed.then(Amounts::default);
        let mut rows: Vec<Row> = rows
            .into_iter()
            .map(|((name, listed), (amounts, per_month))| {
                total.amounts.add(amounts);
                let per_month = per_month.or_else(|| timed.then(Amounts::default));
                if let (Some(sum), Some(month)) = (&mut total.per_month, per_month) {
                    sum.add(month);
                }
                Row {
                    usd_per_million: listed.map(|(own, _)| Prices::from(own)),
                    reference_usd_per_million: listed
                        .and_then(|(_, other)| other.map(Prices::from)),
                    per_month,
                    ..Row::new(name, amounts)
                }
            })
            .collect();
        total.saved_microdollars = total.amounts.saved_microdollars();
        rows.sort_by_key(|row| std::cmp::Reverse(row.amounts.cost_microdollars));
        Self { rows, total }
    }
}

// === impl Row ===

impl Row {
    fn new(name: String, amounts: Amounts) -> Self {
        Self {
            name,
            usd_per_million: None,
            reference_usd_per_million: None,
            saved_microdollars: amounts.saved_microdollars(),
            amounts,
            per_month: None,
        }
    }
}

#[cfg(test)]
mod tests;
