//! Runs one scenario.

mod act;

pub(super) use act::describe;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::check::{self, Found, Moment};
use super::matching::Mismatch;
use super::model::{Short, Step, Workers};
use super::prepare::{Prepared, actions, way};
use super::read::{Step as Way, line_of, path_text};
use super::report::transcript;
use super::world::Scripted;
use super::{Failure, Options, Outcome};
use crate::abi;
use crate::config::WasmPlugin;
use crate::process::LogLine;
use crate::simulation::{Exchange, Modules, Place, Record, Setup, Simulation};
use crate::vm::VmError;

/// How many exchanges of one step are told.
const MAX_TOLD: usize = 3;

/// How many failures of one scenario are told: the rest mostly follows from them.
const MAX_FAILURES: usize = 10;

/// A scenario while it runs.
struct Runner<'a> {
    prepared: &'a Prepared,
    simulation: Simulation,
    world: Rc<RefCell<Scripted>>,
    /// Requests under way, by name.
    open: HashMap<String, Vec<Exchange>>,
    /// Traps that were ordered and have not come.
    ordered_traps: u64,
    failures: Vec<Failure>,
    requests: u64,
    /// What happened, for those who want to see all.
    told: Option<Vec<String>>,
}

/// What has come of a step.
#[derive(Default)]
struct Done {
    /// Its requests, as far as they have come.
    records: Vec<Record>,
    /// A configuration was refused, and why.
    refused: Option<VmError>,
}

/// Runs a scenario.
pub(super) fn run(prepared: &Prepared, modules: &Arc<Modules>, options: &Options) -> Outcome {
    let began = Instant::now();
    let ready = &prepared.ready;
    let world = Rc::new(RefCell::new(Scripted::new(ready, prepared.folder.clone())));
    let plugins = |list: &[super::prepare::ReadyPlugin]| -> Vec<WasmPlugin> {
        list.iter().map(|ready| ready.plugin.clone()).collect()
    };
    let setup = Setup {
        modules: modules.clone(),
        workers: ready.workers,
        listener: plugins(&ready.listener),
        upstream: plugins(&ready.upstream),
        clusters: ready.clusters.keys().cloned().collect(),
        start: ready.start,
        seed: ready.seed,
        deadline: ready.deadline,
        abi: abi::Options {
            mode: ready.mode.unwrap_or(options.abi.mode),
            ..options.abi.clone()
        },
    };
    let starts = setup.listener.clone().into_iter().enumerate();
    let starts = starts.map(|(at, plugin)| (Place::Listener(at), plugin));
    let more = setup.upstream.clone().into_iter().enumerate();
    let starts: Vec<_> = starts
        .chain(more.map(|(at, plugin)| (Place::Upstream(at), plugin)))
        .collect();
    let mut runner = Runner {
        prepared,
        simulation: Simulation::without_guests(setup, world.clone()),
        world,
        open: HashMap::new(),
        ordered_traps: 0,
        failures: Vec::new(),
        requests: 0,
        told: options.tell.then(Vec::new),
    };
    if runner.start(starts) {
        for (at, step) in prepared.steps.iter().enumerate() {
            if runner.failures.len() >= MAX_FAILURES {
                break;
            }
            let place = way(&["scenarios"], Some(prepared.index), &["steps"]);
            runner.step(step, &[&place[..], &[Way::Index(at)]].concat());
        }
    }
    let place = way(&["scenarios"], Some(prepared.index), &[]);
    Outcome {
        file: prepared.file.clone(),
        name: prepared.name.clone(),
        line: line_of(&prepared.tree, &place),
        failures: runner.failures,
        took: began.elapsed(),
        passed_by: runner.simulation.elapsed(),
        requests: runner.requests,
        told: runner.told.unwrap_or_default(),
    }
}

// === impl Runner ===

impl Runner<'_> {
    /// Starts the filters; whether there are steps to be run.
    fn start(&mut self, starts: Vec<(Place, WasmPlugin)>) -> bool {
        let mut outcome = Ok(());
        for (place, plugin) in starts {
            outcome = outcome.and_then(|()| self.simulation.configure(place, plugin));
        }
        let place = way(&["scenarios"], Some(self.prepared.index), &[]);
        match (outcome, self.prepared.refused) {
            (Ok(()), false) | (Err(_), true) => true,
            (Ok(()), true) => {
                let found = Found::new("refused", "a filter that does not start", "it started");
                self.fail(&place, "start", found);
                false
            }
            (Err(error), false) => {
                let found = Found::new("start", "a filter that starts", &error.to_string());
                self.fail(&place, "start", found.with(self.log_since(0)));
                false
            }
        }
    }

    /// Runs a step; one for each worker as often as there are workers. Its requests come back.
    fn step(&mut self, step: &Step, place: &[Way]) -> Vec<Record> {
        let mut world = self.world.borrow_mut();
        for (cluster, answers) in &step.answers {
            world.answers.insert(cluster.clone(), answers.to_vec());
        }
        drop(world);
        if let Some(steps) = &step.steps {
            return self.group(step, steps, place);
        }
        match step.worker.as_ref().map(|worker| worker.0) {
            Some(Workers::Each) => {
                let workers = 0..self.simulation.workers();
                let once = |worker| self.once(step, place, worker, Some(worker));
                workers.flat_map(once).collect()
            }
            Some(Workers::Number(worker)) => self.once(step, place, worker, None),
            None => self.once(step, place, 0, None),
        }
    }

    /// Runs several steps, as often as it is said; what is expected of them holds for all of their requests together.
    fn group(&mut self, step: &Step, steps: &[Step], place: &[Way]) -> Vec<Record> {
        let before = self.moment();
        let base = [place, &[Way::Key("steps".to_owned())]].concat();
        let mut done = Done::default();
        for _ in 0..step.times.unwrap_or(1) {
            for (at, step) in steps.iter().enumerate() {
                if self.failures.len() < MAX_FAILURES {
                    let records = self.step(step, &[&base[..], &[Way::Index(at)]].concat());
                    done.records.extend(records);
                }
            }
        }
        self.expected(step, place, &before, &done, None);
        done.records
    }

    fn once(
        &mut self,
        step: &Step,
        place: &[Way],
        worker: usize,
        told: Option<usize>,
    ) -> Vec<Record> {
        let before = match actions(step).is_empty() {
            true => Moment::START,
            false => self.moment(),
        };
        let traps = self.simulation.traps();
        let done = self.act(step, place, worker);
        if let Some(told) = &mut self.told {
            told.push(title(step, place));
            for record in done.records.iter().take(MAX_TOLD) {
                told.extend(transcript::exchange(record));
            }
            if let Some(more) = done
                .records
                .len()
                .checked_sub(MAX_TOLD)
                .filter(|more| *more > 0)
            {
                told.push(format!("  … and {more} more"));
            }
            let callouts = self.simulation.callouts();
            let callouts = callouts.get(before.callouts..).unwrap_or_default();
            told.extend(
                callouts
                    .iter()
                    .map(|made| format!("  callout {}", describe(made))),
            );
            let lines = self.simulation.logs();
            let lines = lines.get(before.logs..).unwrap_or_default();
            told.extend(lines.iter().map(transcript::log_line));
        }
        self.traps(step, place, self.simulation.traps() - traps);
        self.expected(step, place, &before, &done, told);
        done.records
    }

    /// Unless something else is expected, guests trap only where that was ordered.
    fn traps(&mut self, step: &Step, place: &[Way], traps: u64) {
        let expected = step
            .expect
            .as_ref()
            .and_then(|expect| expect.traps.as_ref());
        let checked = match expected {
            Some(expected) => expected.check(traps),
            None if traps > self.ordered_traps => Err(Mismatch {
                expected: "no trap (say `traps` in `expect` where one is to come)".to_owned(),
                actual: format!("{traps} in this step"),
            }),
            None => Ok(()),
        };
        self.ordered_traps = self.ordered_traps.saturating_sub(traps);
        if let Err(mismatch) = checked {
            let found = Found::of(vec![Way::Key("traps".to_owned())], mismatch);
            self.fail(place, &title(step, place), found.with(self.log_since(0)));
        }
    }

    /// Checks what is expected of a step.
    fn expected(
        &mut self,
        step: &Step,
        place: &[Way],
        before: &Moment,
        done: &Done,
        worker: Option<usize>,
    ) {
        let mut title = title(step, place);
        if let Some(worker) = worker {
            title.push_str(&format!(", worker {worker}"));
        }
        let refusal = step.expect.as_ref().is_some_and(|expect| expect.refused);
        match &done.refused {
            Some(error) if !refusal => {
                let found = Found::new(
                    "configure",
                    "a configuration that is accepted",
                    &error.to_string(),
                );
                self.fail(place, &title, found.with(self.log_since(before.logs)));
            }
            None if refusal => {
                let found = Found::new(
                    "refused",
                    "a configuration that is refused",
                    "it was accepted",
                );
                self.fail(place, &title, found);
            }
            _ => {}
        }
        let Some(expect) = &step.expect else { return };
        let base = [place, &[Way::Key("expect".to_owned())]].concat();
        for (number, record) in done.records.iter().enumerate() {
            let found = check::record(expect, record);
            if found.is_empty() {
                continue;
            }
            let title = match done.records.len() {
                1 => title.clone(),
                all => format!("{title}, request {} of {all}", number + 1),
            };
            self.fail_all(&base, &title, found, before);
            // The others would most often fail in the same way.
            break;
        }
        let vm_id = &self.prepared.ready.under_test.plugin.vm.vm_id;
        let found = check::world(expect, &self.simulation, before, &done.records, vm_id);
        self.fail_all(&base, &title, found, before);
    }

    /// Several failures of one step, the log behind the last of them.
    fn fail_all(&mut self, base: &[Way], title: &str, found: Vec<Found>, before: &Moment) {
        let log = self.log_since(before.logs);
        let last = found.len().saturating_sub(1);
        for (at, found) in found.into_iter().enumerate() {
            let log = if at == last { log.clone() } else { Vec::new() };
            self.fail(base, title, found.with(log));
        }
    }

    fn fail(&mut self, base: &[Way], title: &str, found: Found) {
        let place = [base, &found.place[..]].concat();
        self.failures.push(Failure {
            line: line_of(&self.prepared.tree, &place),
            place: path_text(place.get(2..).unwrap_or_default()),
            step: title.to_owned(),
            expected: found.mismatch.expected,
            actual: found.mismatch.actual,
            context: found.context,
        });
    }

    fn moment(&self) -> Moment {
        Moment {
            logs: self.simulation.log_len(),
            callouts: self.simulation.callouts().len(),
            grpc: self.simulation.grpc_calls().len(),
            elapsed: self.simulation.elapsed(),
        }
    }

    fn log_since(&self, from: usize) -> Vec<String> {
        let lines: Vec<LogLine> = self.simulation.logs();
        let lines = lines.get(from..).unwrap_or_default();
        let skipped = lines.len().saturating_sub(20);
        let lines = lines.iter().skip(skipped);
        lines.map(transcript::log_line).collect()
    }
}

/// What a step is called in reports.
fn title(step: &Step, place: &[Way]) -> String {
    let numbers = place.iter().filter_map(|way| match way {
        Way::Index(at) => Some((at + 1).to_string()),
        Way::Key(_) => None,
    });
    // The first is the scenario's.
    let number: Vec<_> = numbers.skip(1).collect();
    let number = format!("step {}", number.join("."));
    match (&step.name, &step.request) {
        (Some(name), _) => format!("{number} ({name})"),
        (None, Some(Short(request))) => {
            let method = act::method(request);
            let path = request.path.as_deref().unwrap_or("/");
            let times = step.times.map(|times| format!(", {times} times"));
            format!("{number} ({method} {path}{})", times.unwrap_or_default())
        }
        (None, None) => match actions(step).first() {
            Some(action) => format!("{number} ({action})"),
            None => number,
        },
    }
}

/// A client's address, with or without a port.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    let port = crate::simulation::CLIENT.port();
    let with_port = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    text.parse().or_else(|_| with_port()).ok()
}
