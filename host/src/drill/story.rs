//! What happens in a drill, step by step.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use switchover_core::Share;

use super::files::Files;
use super::load::Load;
use super::process::{Gateway, Upstream};
use super::report::{Measured, Report};
use super::{DrillError, Options, Progress};
use crate::demo::Seen;
use crate::rollout::live::{Admin, Figures, Percent};
use crate::rollout::shares;
use crate::rollout::status::Status;
use crate::rollout::{self, Loaded, Request, Verb};

/// The parts of the story.
const PHASES: [&str; 9] = [
    "blue serves",
    "canary of green 2.1.0",
    "green fails, the tripwire trips",
    "rolled back",
    "canary of green 2.1.1",
    "rollback of everything",
    "switchover to green",
    "green is killed",
    "green is back, and stable",
];
const KILLED: &str = PHASES[7];

/// How often the story looks whether something has happened.
const POLL: Duration = Duration::from_millis(20);
/// An upstream that got nothing for so long gets nothing more.
const QUIET: Duration = Duration::from_millis(300);
/// Longest time for anything to happen that takes no schedule.
const PATIENCE: Duration = Duration::from_secs(20);
/// Green begins to fail when its canary has this share.
const FAULT_AT: u32 = 500;

/// A drill under way.
struct Story<'a> {
    options: &'a Options,
    progress: &'a dyn Fn(Progress),
    files: Files,
    blue: Upstream,
    green: Upstream,
    gateway: Gateway,
    admin: Admin,
    load: Load,
    phase: usize,
    /// Requests before this phase.
    before: u64,
    measured: Measured,
}

/// Runs a drill.
///
/// # Errors
/// Where it cannot be run to its end; bounds that were missed are in the report.
pub async fn run(options: &Options, progress: &dyn Fn(Progress)) -> Result<Report, DrillError> {
    let told = tokio::time::timeout(options.limit, async {
        let mut story = Story::begin(options, progress).await?;
        story.tell().await?;
        story.end().await
    });
    told.await.unwrap_or(Err(DrillError::Limit(options.limit)))
}

// === impl Story ===

impl<'a> Story<'a> {
    async fn begin(
        options: &'a Options,
        progress: &'a dyn Fn(Progress),
    ) -> Result<Self, DrillError> {
        let files = Files::new()?;
        let blue = Upstream::start(options, &files, "blue", "2.0.3").await?;
        let green = Upstream::start(options, &files, "green", "2.1.0").await?;
        files.write(&options.wasm, blue.address(), green.address())?;
        let gateway = Gateway::start(options, &files).await?;
        let admin = Admin::parse(&gateway.admin.to_string()).map_err(DrillError::Demo)?;
        let load = Load::start(gateway.address, options.connections, PHASES.len())?;
        Ok(Self {
            options,
            progress,
            files,
            blue,
            green,
            gateway,
            admin,
            load,
            phase: 0,
            before: 0,
            measured: Measured::default(),
        })
    }

    async fn tell(&mut self) -> Result<(), DrillError> {
        self.enough().await?;
        self.first_canary().await?;
        self.second_canary().await?;
        self.back_and_forth().await?;
        self.kill().await?;
        self.finish().await
    }

    /// Green gets its canary, fails, and is rolled back.
    async fn first_canary(&mut self) -> Result<(), DrillError> {
        self.enter(1);
        self.canary("2.1.0")?;
        let share = Share::from_hundredths(FAULT_AT);
        self.until("green's share", self.options.canary + PATIENCE, |f| {
            in_force(f) >= Some(share)
        })
        .await?;
        self.enough().await?;

        self.enter(2);
        let before = self.green.seen().await?;
        let start = SystemTime::now();
        self.green.fail(1.0).await?;
        self.until("the trip", PATIENCE, |f| f.tripped == Some(true))
            .await?;
        let after = self.quiet(Side::Green).await?;
        self.measured.trip = since(start, after);
        self.measured.trip_attempts = after.requests.saturating_sub(before.requests);
        self.enough().await?;

        self.enter(3);
        self.verb(Verb::Rollback {
            reason: Value::Null,
        })?;
        self.follows().await?;
        self.enough().await?;
        self.still(Side::Green, after).await
    }

    /// A mended green gets everything, by a canary to its end.
    async fn second_canary(&mut self) -> Result<(), DrillError> {
        self.enter(4);
        self.green.fail(0.0).await?;
        self.canary("2.1.1")?;
        self.all_on_green().await?;
        self.enough().await
    }

    /// Under full load everything goes back to blue, and to green again.
    async fn back_and_forth(&mut self) -> Result<(), DrillError> {
        self.enter(5);
        let start = self.verb(Verb::Rollback {
            reason: Value::Null,
        })?;
        self.measured.rollback = since(start, self.quiet(Side::Green).await?);
        self.enough().await?;

        self.enter(6);
        let start = self.verb(Verb::Resume { from: None })?;
        self.all_on_green().await?;
        self.measured.switchover = since(start, self.quiet(Side::Blue).await?);
        self.enough().await
    }

    /// Green's process is killed while it serves everything.
    async fn kill(&mut self) -> Result<(), DrillError> {
        self.enter(7);
        self.green.kill();
        self.until("the trip", PATIENCE, |f| f.tripped == Some(true))
            .await?;
        self.enough().await
    }

    /// Green comes back, gets everything again, and becomes stable.
    async fn finish(&mut self) -> Result<(), DrillError> {
        self.enter(8);
        self.green.restart().await?;
        // Nobody wrote the trip down, so it must be said where the schedule goes on: at its end.
        let from = Some(Share::ALL);
        self.verb(Verb::Resume { from })?;
        self.all_on_green().await?;
        self.verb(Verb::Finish { environment: None })?;
        self.follows().await?;
        let blue = self.quiet(Side::Blue).await?;
        self.enough().await?;
        while self.load.requests() < self.options.requests {
            self.pause().await?;
        }
        self.still(Side::Blue, blue).await
    }

    async fn end(mut self) -> Result<Report, DrillError> {
        self.measured.retry_overflows = self.gateway.clusters("upstream_rq_retry_overflow").await?;
        let tallies = self.load.finish()?;
        let phases: Vec<_> = PHASES.into_iter().zip(tallies).collect();
        Ok(Report::new(self.options, &self.measured, &phases, KILLED))
    }

    fn enter(&mut self, phase: usize) {
        self.phase = phase;
        self.before = self.load.requests();
        self.load.enter(phase);
    }

    /// A new version in green, and its canary by the default schedule, scaled.
    fn canary(&self, version: &str) -> Result<(), DrillError> {
        self.verb(Verb::Deploy {
            environment: "green".to_owned(),
            version: version.to_owned(),
            rollout: None,
        })?;
        let millis = u64::try_from(self.options.canary.as_millis()).unwrap_or(u64::MAX);
        let over = Some(switchover_core::Duration::from_millis(millis));
        let environment = None;
        self.verb(Verb::Start { environment, over }).map(drop)
    }

    /// Changes the document as an operator does; gives when it began to.
    fn verb(&self, verb: Verb) -> Result<SystemTime, DrillError> {
        let now = SystemTime::now();
        let request = Request {
            rollout: None,
            verb,
            now,
            who: "drill".to_owned(),
            audit: None,
            dry_run: false,
            expected: None,
        };
        rollout::change(&self.files.document(), &request)?;
        Ok(now)
    }

    async fn figures(&self) -> Result<Figures, DrillError> {
        let loaded = Loaded::read(&self.files.document())?;
        let named = loaded.named(None).map_err(rollout::RolloutError::from)?;
        let status = Status::at(&named, rollout::timestamp(SystemTime::now()));
        let figures = self.admin.figures(&[status]).await?;
        figures
            .into_iter()
            .next()
            .ok_or_else(|| DrillError::Silent {
                what: "the admin server".to_owned(),
                why: "it gives no figures".to_owned(),
            })
    }

    /// Waits until the gateway's figures are as they should be.
    async fn until(
        &mut self,
        what: &str,
        within: Duration,
        happened: impl Fn(&Figures) -> bool,
    ) -> Result<(), DrillError> {
        let start = Instant::now();
        loop {
            let figures = self.figures().await?;
            if happened(&figures) {
                return Ok(());
            }
            if start.elapsed() > within {
                return Err(self.late(what, within, &told(&figures)));
            }
            self.pause().await?;
        }
    }

    async fn follows(&mut self) -> Result<(), DrillError> {
        self.until("that the gateway follows the document", PATIENCE, |f| {
            f.follows
        })
        .await
    }

    async fn all_on_green(&mut self) -> Result<(), DrillError> {
        let within = self.options.canary + PATIENCE;
        self.until("green's share of everything", within, |f| {
            in_force(f) == Some(Share::ALL)
        })
        .await
    }

    /// Waits until an upstream gets nothing any more, and tells what it has got.
    async fn quiet(&mut self, side: Side) -> Result<Seen, DrillError> {
        let start = Instant::now();
        let mut last = self.seen(side).await?;
        let mut changed = Instant::now();
        while changed.elapsed() < QUIET {
            if start.elapsed() > PATIENCE {
                let what = format!("that {} gets nothing more", side.name());
                let seen = format!("it has got {} requests", last.requests);
                return Err(self.late(&what, PATIENCE, &seen));
            }
            self.pause().await?;
            let now = self.seen(side).await?;
            if now != last {
                (last, changed) = (now, Instant::now());
            }
        }
        Ok(last)
    }

    /// Notes what an upstream has got since it was left.
    async fn still(&mut self, side: Side, since: Seen) -> Result<(), DrillError> {
        let now = self.seen(side).await?;
        let strays = now.requests.saturating_sub(since.requests);
        if strays > 0 {
            let phase = PHASES[self.phase];
            let stray = format!(
                "{} got {strays} requests in the phase {phase:?}",
                side.name()
            );
            self.measured.strays.push(stray);
        }
        Ok(())
    }

    async fn seen(&mut self, side: Side) -> Result<Seen, DrillError> {
        match side {
            Side::Blue => self.blue.seen().await,
            Side::Green => self.green.seen().await,
        }
    }

    /// Waits until the phase has its part of the requests.
    async fn enough(&mut self) -> Result<(), DrillError> {
        let phases = u64::try_from(PHASES.len()).unwrap_or(1);
        let part = self.options.requests.div_ceil(phases);
        while self.load.requests() - self.before < part {
            self.pause().await?;
        }
        Ok(())
    }

    async fn pause(&mut self) -> Result<(), DrillError> {
        self.gateway.check()?;
        if !self.load.runs() {
            return Err(DrillError::Load);
        }
        (self.progress)(Progress {
            phase: PHASES[self.phase],
            number: self.phase + 1,
            phases: PHASES.len(),
            requests: self.load.requests(),
        });
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    fn late(&self, what: &str, within: Duration, seen: &str) -> DrillError {
        DrillError::Late {
            what: what.to_owned(),
            within,
            phase: PHASES[self.phase],
            seen: seen.to_owned(),
        }
    }
}

/// An environment.
#[derive(Debug, Clone, Copy)]
enum Side {
    Blue,
    Green,
}

// === impl Side ===

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

/// Green's share that the gateway says is in force.
fn in_force(figures: &Figures) -> Option<Share> {
    let green = figures
        .environments
        .iter()
        .find(|e| e.name == Side::Green.name());
    green?.in_force.map(|Percent(share)| share)
}

/// What a gateway's figures say of where it stands.
fn told(figures: &Figures) -> String {
    let tripped = match figures.tripped {
        None => "it knows no tripwire",
        Some(true) => "it has tripped",
        Some(false) => "it has not tripped",
    };
    let follows = match figures.follows {
        true => "the gateway follows the document",
        false => "the gateway does not follow the document",
    };
    let mut text = format!("{follows}, {tripped}");
    for own in &figures.environments {
        let share = own.in_force.map_or_else(
            || "unknown".to_owned(),
            |Percent(share)| shares::percent(share),
        );
        text += &format!(
            "; {}: share {share}, {} requests, {} attempts, {} of them failed",
            own.name, own.requests, own.attempts, own.failures
        );
    }
    text
}

/// How long after `start` an upstream got its last request.
fn since(start: SystemTime, seen: Seen) -> Duration {
    let last = seen.last();
    last.and_then(|last| last.duration_since(start).ok())
        .unwrap_or_default()
}
