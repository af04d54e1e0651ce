//! What the workers of one proxy tell each other: a table in shared data, a row for each worker.
//!
//! Each worker writes its row and reads the others' on its tick, so that many workers of little traffic trip as soon as
//! one worker of all of it would have. Numbers are little-endian; a row that nobody renews counts no longer.

use crate::guard::{Both, Figures};

/// Rows older than this are of workers that are gone.
const LONGEST_SILENCE_MILLIS: u64 = 3_000;
/// No more workers than this are counted.
const MOST_ROWS: usize = 1_024;
const ROW: usize = 16 + 2 * SIDE;
const SIDE: usize = 5 * 4;

/// A worker's number, drawn at its start.
pub type Worker = u64;

/// Puts a worker's row into the table and adds up the rows of all others. `now` is in milliseconds since 1970.
#[must_use]
pub fn exchange(table: &[u8], worker: Worker, own: &Both, now: u64) -> (Vec<u8>, Both) {
    let mut others = Both::default();
    let mut next = Vec::with_capacity(table.len() + ROW);
    let (rows, _) = table.as_chunks::<ROW>();
    for row in rows.iter().take(MOST_ROWS) {
        let mut fields = Fields(row);
        let (whose, when) = (fields.wide(), fields.wide());
        if whose == worker || when.abs_diff(now) > LONGEST_SILENCE_MILLIS {
            continue;
        }
        let both = Both {
            guarded: fields.figures(),
            stable: fields.figures(),
        };
        others = others.plus(&both);
        next.extend_from_slice(row);
    }
    next.extend(worker.to_le_bytes());
    next.extend(now.to_le_bytes());
    for Figures {
        total,
        failed,
        slow: [p50, p95, p99],
    } in [own.guarded, own.stable]
    {
        for count in [total, failed, p50, p95, p99] {
            next.extend(count.to_le_bytes());
        }
    }
    (next, others)
}

/// The fields of a row; zero past its end.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (first, rest) = self.0.split_first_chunk().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *first
    }

    fn wide(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn count(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn figures(&mut self) -> Figures {
        Figures {
            total: self.count(),
            failed: self.count(),
            slow: [self.count(), self.count(), self.count()],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn both(guarded: u32, failed: u32) -> Both {
        let figures = |total, failed| Figures {
            total,
            failed,
            slow: [1, 2, 3],
        };
        Both {
            guarded: figures(guarded, failed),
            stable: figures(guarded * 19, 1),
        }
    }

    #[test]
    fn each_worker_sees_the_others() {
        let (table, others) = exchange(&[], 1, &both(10, 1), 1_000);
        assert_eq!(others, Both::default());
        let (table, others) = exchange(&table, 2, &both(20, 2), 1_100);
        assert_eq!(others, both(10, 1));
        let (table, others) = exchange(&table, 3, &both(1, 0), 1_200);
        assert_eq!(others, both(10, 1).plus(&both(20, 2)));
        // A row is replaced, not added.
        let (table, others) = exchange(&table, 2, &both(21, 3), 1_300);
        assert_eq!(others, both(10, 1).plus(&both(1, 0)));
        assert_eq!(table.len(), 3 * ROW);
    }

    #[test]
    fn workers_that_are_gone_do_not_count() {
        let (table, _) = exchange(&[], 1, &both(10, 1), 1_000);
        let (table, others) = exchange(&table, 2, &both(1, 0), 4_001);
        assert_eq!((others, table.len()), (Both::default(), ROW));
    }

    proptest! {
        #[test]
        fn any_table_is_read(table in proptest::collection::vec(any::<u8>(), 0..300), now: u64) {
            let (next, _) = exchange(&table, 7, &both(1, 1), now);
            prop_assert_eq!(next.len() % ROW, 0);
        }
    }
}
