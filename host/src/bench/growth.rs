//! How a guest's memory went over a run, and whether that is a leak.

/// A guest's memory over a run. Linear memory only grows, in pages of 64 KiB, so small leaks show late.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    /// Bytes when the warm-up was over.
    pub before: usize,
    /// Bytes at the end.
    pub after: usize,
    /// Bytes a request, by least squares over all checkpoints.
    pub per_request: f64,
    /// How often it was found to have grown.
    pub steps: usize,
    /// Requests over which it was watched: those that were counted, and more where only a longer run could tell.
    pub watched: u64,
    /// What it means.
    pub verdict: Verdict,
}

/// What a growth means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The memory did not grow while requests were counted.
    Steady,
    /// It grew in the first half only: caches filled, tables took their size.
    WarmUp,
    /// It grew in both halves, and in the second at least a third as much as in the first.
    Leak,
    /// It grew in the second half, but only then or little: a longer run will tell.
    Unclear,
}

/// So much garbage may come together before it is collected for the first time: twice what Go's collector waits for.
const GARBAGE: usize = 8 << 20;

/// Watches a guest's memory.
pub(super) struct Watch {
    before: usize,
    /// The last checkpoint: requests done, and bytes.
    last: (u64, usize),
    /// Each growth: the checkpoint before it, and bytes. As many as a guest's memory has pages, at most.
    steps: Vec<(u64, usize)>,
    sums: Sums,
}

/// What least squares need of the checkpoints: (requests done, bytes).
#[derive(Default)]
struct Sums {
    n: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

// === impl Verdict ===

impl Verdict {
    /// As a word for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::WarmUp => "warm-up",
            Self::Leak => "leak",
            Self::Unclear => "unclear",
        }
    }

    fn of([first, second]: [usize; 2]) -> Self {
        match (first, second) {
            (0, 0) => Self::Steady,
            (_, 0) => Self::WarmUp,
            (0, _) => Self::Unclear,
            _ if second >= first / 3 => Self::Leak,
            _ => Self::Unclear,
        }
    }
}

// === impl Watch ===

impl Watch {
    /// From now on.
    pub(super) fn new(memory: usize) -> Self {
        Self {
            before: memory,
            last: (0, memory),
            steps: Vec::new(),
            sums: Sums::default(),
        }
    }

    /// A checkpoint after so many requests.
    pub(super) fn note(&mut self, done: u64, memory: usize) {
        let grown = memory.saturating_sub(self.last.1);
        if grown > 0 {
            self.steps.push((self.last.0, grown));
        }
        self.last = (done, memory);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        self.sums
            .add(done as f64, memory.saturating_sub(self.before) as f64);
    }

    /// Whether only more requests can tell what the growth means: it looks like a leak or is unclear, and is not more
    /// than a collector of garbage may let come together.
    pub(super) fn needs_more(&self) -> bool {
        let grown = self.last.1.saturating_sub(self.before);
        let is_open = matches!(self.verdict(), Verdict::Leak | Verdict::Unclear);
        is_open && grown < GARBAGE
    }

    fn verdict(&self) -> Verdict {
        let half = self.last.0 / 2;
        let mut halves = [0, 0];
        for (begun, grown) in &self.steps {
            let [first, second] = &mut halves;
            // What a batch that began in the first half grew by belongs there.
            let own = if *begun < half { first } else { second };
            *own += grown;
        }
        Verdict::of(halves)
    }

    pub(super) fn finish(self) -> Growth {
        Growth {
            before: self.before,
            after: self.last.1,
            per_request: self.sums.slope(),
            steps: self.steps.len(),
            watched: self.last.0,
            verdict: self.verdict(),
        }
    }

    /// The same where the guest trapped: the requests that were done are the whole run. A guest whose memory rose until
    /// then leaks, however its steps were spread.
    pub(super) fn cut_short(self) -> Growth {
        let mut growth = self.finish();
        if growth.steps > 1 {
            growth.verdict = Verdict::Leak;
        }
        growth
    }
}

// === impl Sums ===

impl Sums {
    fn add(&mut self, x: f64, y: f64) {
        self.n += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.xy += x * y;
    }

    fn slope(&self) -> f64 {
        let spread = self.n * self.xx - self.x * self.x;
        if spread > 0.0 {
            (self.n * self.xy - self.x * self.y) / spread
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 65_536;

    /// The growth of a guest that needs `bytes(requests done)`, in whole pages, over 1,000 batches of 1,000.
    fn over(bytes: impl Fn(usize) -> usize) -> Growth {
        let pages = |done: usize| bytes(done).div_ceil(PAGE) * PAGE;
        let mut watch = Watch::new(pages(0));
        for batch in 1..=1_000_usize {
            watch.note(batch as u64 * 1_000, pages(batch * 1_000));
        }
        watch.finish()
    }

    #[test]
    fn memory_that_stays_is_steady() {
        let growth = over(|_| 1_000_000);
        assert_eq!((growth.verdict, growth.steps), (Verdict::Steady, 0));
        assert!(growth.per_request.abs() < f64::EPSILON);
    }

    #[test]
    fn a_leak_has_its_bytes_a_request() {
        for bytes in [1, 16, 300] {
            let growth = over(|done| 1_000_000 + done * bytes);
            assert_eq!(growth.verdict, Verdict::Leak, "{growth:?}");
            let expected = bytes as f64;
            assert!(
                (growth.per_request - expected).abs() < expected * 0.05,
                "{growth:?}"
            );
        }
    }

    /// A vector that leaks grows in ever greater steps.
    #[test]
    fn a_leak_that_doubles_is_one() {
        let growth = over(|done| (1_000_000 + done * 8).next_power_of_two());
        assert_eq!(growth.verdict, Verdict::Leak, "{growth:?}");
    }

    #[test]
    fn a_cache_that_fills_is_a_warm_up() {
        let growth = over(|done| 1_000_000 + done.min(300_000) * 10);
        assert_eq!(growth.verdict, Verdict::WarmUp, "{growth:?}");
        assert!(growth.after > growth.before);
    }

    /// A heap that is collected for the first time after four megabytes looks like a leak until then.
    #[test]
    fn garbage_is_waited_for() {
        let mut watch = Watch::new(0);
        let mut done = 0;
        while done < 20_000 || watch.needs_more() {
            done += 1_000;
            let garbage = usize::try_from(done).unwrap() * 80;
            watch.note(done, garbage.min(4 << 20).div_ceil(PAGE) * PAGE);
        }
        assert!((100_000..120_000).contains(&done), "{done}");
        assert_eq!(watch.finish().verdict, Verdict::WarmUp);
        let mut watch = Watch::new(0);
        let mut done = 0;
        while done < 20_000 || watch.needs_more() {
            done += 1_000;
            watch.note(
                done,
                (usize::try_from(done).unwrap() * 80).div_ceil(PAGE) * PAGE,
            );
        }
        let growth = watch.finish();
        assert_eq!((growth.verdict, growth.watched), (Verdict::Leak, done));
        assert!(growth.after >= GARBAGE);
    }

    #[test]
    fn one_late_step_tells_nothing() {
        let growth = over(|done| if done < 900_000 { 0 } else { PAGE });
        assert_eq!(growth.verdict, Verdict::Unclear);
        let growth = over(|done| done.min(300_000) * 10 + usize::from(done > 900_000) * PAGE);
        assert_eq!(growth.verdict, Verdict::Unclear);
    }

    #[test]
    fn a_guest_that_runs_out_of_memory_leaks() {
        let mut watch = Watch::new(PAGE);
        for batch in 1..=10 {
            watch.note(batch * 1_000, PAGE * (1 + batch as usize));
        }
        assert_eq!(watch.cut_short().verdict, Verdict::Leak);
    }
}
