//! What consumers have used up, in memory that all workers of a proxy share.

use switchover_core::Reply;
use switchover_core::document::Rollout;
use switchover_core::models::limits::{Ledger, LimitHeaders};
use switchover_core::scan::Usage;

use crate::ffi;
use crate::library::{Live, key};
use crate::spending::Spent;

/// Another worker may write the ledger at the same moment: each swap that is lost is one that another has won, so that even
/// workers by the hundred come to their turn.
const SWAPS_TRIED: usize = 256;

/// Takes one request from what the consumer may use up; gives the headers that say what is left.
pub(super) fn admit(
    live: &Live,
    rollout: &Rollout,
    consumer: Option<usize>,
    now: u64,
) -> Result<LimitHeaders, Box<Reply>> {
    let limits = consumer.and_then(|consumer| Some((consumer, rollout.limits(consumer)?)));
    let Some((consumer, limits)) = limits else {
        return Ok(LimitHeaders::new());
    };
    let admitted = change(live, rollout, consumer, |ledger| {
        let admitted = ledger.admit(limits, now);
        (admitted, ledger.headers(limits, now))
    });
    match admitted {
        (Ok(()), headers) => Ok(headers),
        (Err(exceeded), headers) => Err(Box::new(exceeded.reply(headers))),
    }
}

/// Counts what an answer took.
pub(super) fn charge(
    live: &Live,
    rollout: &Rollout,
    consumer: usize,
    usage: &Usage,
    spent: &Spent,
    now: u64,
) {
    if let Some(limits) = rollout.limits(consumer) {
        change(live, rollout, consumer, |ledger| {
            ledger.charge(limits, usage, spent.cost, now)
        });
    }
}

/// Changes a consumer's ledger in shared data.
fn change<T>(
    live: &Live,
    rollout: &Rollout,
    consumer: usize,
    mut change: impl FnMut(&mut Ledger) -> T,
) -> T {
    let name = rollout.consumer(consumer).map_or("", |name| name.as_str());
    let id = [rollout.id().as_str(), name].join("\0");
    let key = key("limits", &live.plugin, &id);
    let mut tries = 0;
    loop {
        let found = ffi::shared_data(&key);
        let mut ledger = Ledger::read(found.as_ref().map_or(&[][..], |(bytes, _)| bytes));
        let before = ledger;
        let result = change(&mut ledger);
        let version = found.map(|(_, version)| version);
        tries += 1;
        let is_done = before == ledger || ffi::swap_shared_data(&key, &ledger.write(), version);
        if is_done || tries == SWAPS_TRIED {
            return result;
        }
    }
}
