//! Metrics of models: requests by what their bodies held, tokens and cost by environment, model and consumer.

use switchover_core::document::Rollout;
use switchover_core::models::Cost;
use switchover_core::models::body::BodyOutcome;
use switchover_core::scan::Usage;

use crate::ffi::MetricKind;
use crate::library::Live;
use crate::meters::Meters;

/// Beyond so many combinations of environment, model and consumer in a rollout, consumers go under one name.
const MOST_SERIES: usize = 4_096;
const OTHER: &str = "other";
/// A millionth of a dollar in the unit of [`Cost`].
const MICRO: u64 = 1_000_000;

/// What an answer took.
pub(crate) struct Spent {
    /// Index of the environment.
    pub(crate) environment: usize,
    /// Index of the model in the catalogue.
    pub(crate) model: Option<usize>,
    /// Index of the consumer.
    pub(crate) consumer: Option<usize>,
    /// What is to be counted; `None` where it did not tell, or nothing more.
    pub(crate) usage: Option<Usage>,
    /// The answer has been counted before.
    pub(crate) is_more: bool,
    pub(crate) cost: Cost,
    /// From the request's begin to the first event of a stream that is over, in nanoseconds.
    pub(crate) to_first: Option<u64>,
    /// All that it took.
    pub(crate) whole: Option<Usage>,
    /// From the first event to the end, in nanoseconds.
    pub(crate) streamed: u64,
}

/// The metrics of models in one rollout, made as they are counted.
#[derive(Default)]
pub(crate) struct Spending {
    /// In order of their keys.
    series: Vec<(Key, Series)>,
    /// In order of their keys.
    bodies: Vec<((usize, usize), usize)>,
}

/// Environment, model and consumer; zero is none, others are counted from 1.
type Key = (usize, usize, usize);

/// The numbers of one combination's metrics.
struct Series {
    answers: [usize; 2],
    input: usize,
    cached: usize,
    output: usize,
    cost: Money,
    reference: Money,
    to_first: usize,
    per_token: usize,
}

/// A counter of millionths of a dollar, with what has not made one yet.
struct Money {
    index: usize,
    rest: u64,
}

// === impl Live ===

impl Live {
    /// Counts how the look at a request's body ended.
    pub(crate) fn count_body(
        &self,
        index: usize,
        model: Option<usize>,
        outcome: BodyOutcome,
        meters: &mut Meters,
    ) {
        let (Some(rollout), Some(mut spending)) = (
            self.document.rollouts().get(index),
            self.spending_mut(index),
        ) else {
            return;
        };
        let place = BodyOutcome::ALL
            .iter()
            .position(|own| *own == outcome)
            .unwrap_or(0);
        let key = (model.map_or(0, |model| model + 1), place);
        let bodies = &mut spending.bodies;
        let counter = match bodies.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(found) => bodies.get(found).map(|(_, counter)| *counter),
            Err(place) => {
                let labels = [
                    ("model", model_name(rollout, model)),
                    ("outcome", outcome.label()),
                    ("rollout", rollout.id().as_str()),
                ];
                let counter = meters.intern(MetricKind::Counter, "model_requests", &labels);
                bodies.insert(place, (key, counter));
                Some(counter)
            }
        };
        counter
            .into_iter()
            .for_each(|counter| meters.add(counter, 1));
    }

    /// Counts what an answer took.
    pub(crate) fn spend(&self, index: usize, spent: &Spent, meters: &mut Meters) {
        let (Some(rollout), Some(mut spending)) = (
            self.document.rollouts().get(index),
            self.spending_mut(index),
        ) else {
            return;
        };
        let one = |index: Option<usize>| index.map_or(0, |index| index + 1);
        let mut key = (spent.environment, one(spent.model), one(spent.consumer));
        let series = &mut spending.series;
        let mut found = series.binary_search_by_key(&key, |(key, _)| *key);
        let is_full = found.is_err() && series.len() >= MOST_SERIES;
        if is_full {
            key.2 = usize::MAX;
            found = series.binary_search_by_key(&key, |(key, _)| *key);
        }
        if let Err(place) = found {
            let consumer = spent
                .consumer
                .and_then(|consumer| rollout.consumer(consumer));
            let consumer = consumer.map_or("", |consumer| consumer.as_str());
            let consumer = if is_full { OTHER } else { consumer };
            series.insert(place, (key, Series::new(rollout, spent, consumer, meters)));
        }
        let (Ok(place) | Err(place)) = found;
        if let Some((_, series)) = series.get_mut(place) {
            series.count(spent, meters);
        }
    }
}

// === impl Series ===

impl Series {
    fn new(rollout: &Rollout, spent: &Spent, consumer: &str, meters: &mut Meters) -> Self {
        let environment = rollout.environments().get(spent.environment);
        let labels = [
            ("consumer", consumer),
            (
                "environment",
                environment.map_or("", |own| own.name().as_str()),
            ),
            ("model", model_name(rollout, spent.model)),
            ("rollout", rollout.id().as_str()),
        ];
        let [_, of_environment @ ..] = labels;
        let mut counter = |family| meters.intern(MetricKind::Counter, family, &labels);
        let [input, cached, output] =
            ["input_tokens", "cached_input_tokens", "output_tokens"].map(&mut counter);
        let [cost, reference] =
            ["cost_microdollars", "reference_cost_microdollars"].map(|family| Money {
                index: counter(family),
                rest: 0,
            });
        let answers = ["told", "untold"].map(|usage| {
            let [consumer, environment, model, rollout] = labels;
            let labels = [consumer, environment, model, rollout, ("usage", usage)];
            meters.intern(MetricKind::Counter, "answers", &labels)
        });
        let mut histogram = |family| meters.intern(MetricKind::Histogram, family, &of_environment);
        Self {
            answers,
            input,
            cached,
            output,
            cost,
            reference,
            to_first: histogram("time_to_first_token_ms"),
            per_token: histogram("time_per_output_token_us"),
        }
    }

    fn count(&mut self, spent: &Spent, meters: &mut Meters) {
        if !spent.is_more {
            let [told, untold] = self.answers;
            meters.add(if spent.usage.is_some() { told } else { untold }, 1);
        }
        if let Some(usage) = spent.usage {
            meters.add(self.input, usage.input);
            meters.add(self.cached, usage.cached);
            meters.add(self.output, usage.output);
            self.cost.add(spent.cost.own, meters);
            self.reference.add(spent.cost.reference, meters);
        }
        if let Some(to_first) = spent.to_first {
            meters.record(self.to_first, to_first / 1_000_000);
            if let Some(usage) = spent.whole.filter(|usage| usage.output > 1) {
                meters.record(self.per_token, spent.streamed / (usage.output - 1) / 1_000);
            }
        }
    }
}

// === impl Money ===

impl Money {
    fn add(&mut self, cost: u64, meters: &mut Meters) {
        let sum = self.rest.saturating_add(cost);
        self.rest = sum % MICRO;
        meters.add(self.index, sum / MICRO);
    }
}

fn model_name(rollout: &Rollout, model: Option<usize>) -> &str {
    let catalogue = rollout
        .models()
        .map_or(&[][..], |models| models.catalogue());
    let model = model.and_then(|index| catalogue.get(index));
    model.map_or(OTHER, |model| model.id())
}
