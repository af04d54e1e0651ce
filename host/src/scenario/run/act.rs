//! What happens in a step.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::super::check::Found;
use super::super::model::{Answered, Configure, Request, Short, Step, Trap};
use super::super::read::Step as Way;
use super::super::world::{callout_fits, header_map, parts};
use super::{Done, Runner, title};
use crate::simulation::{self, Exchange, Place};

impl Runner<'_> {
    /// Does what the step says.
    pub(super) fn act(&mut self, step: &Step, place: &[Way], worker: usize) -> Done {
        let mut done = Done::default();
        if let Some(Short(request)) = &step.request {
            match &step.open {
                Some(name) => self.open(request, step, worker, name, &mut done),
                None => self.requests(request, step, place, worker, &mut done),
            }
        } else if let Some(name) = &step.finish {
            for exchange in self.open.remove(name).unwrap_or_default() {
                self.finish(&exchange, step, place, &mut done);
            }
        } else if let Some(name) = &step.leave {
            for exchange in self.open.remove(name).unwrap_or_default() {
                done.records.push(exchange.record().clone());
            }
        } else if let Some(by) = step.advance {
            self.simulation.advance(by.0);
        } else if let Some(to) = step.advance_to {
            let by = to.0.saturating_sub(self.simulation.elapsed());
            self.simulation.advance(by);
        } else if let Some(to) = step.wall_clock {
            self.simulation.set_wall_clock(to.0);
        } else if let Some(change) = &step.configure {
            done.refused = self.configure(change);
        } else if let Some(Short(trap)) = &step.trap {
            self.trap(trap, step, place, worker);
        } else if let Some(values) = &step.shared_data {
            let vm_id = &self.prepared.ready.under_test.plugin.vm.vm_id;
            for (key, value) in values {
                let data = self.simulation.shared_data();
                // Without a version to compare with, it cannot fail.
                let _ = data.set(vm_id, key.as_bytes(), value.as_bytes(), 0);
            }
        } else if let Some(answered) = &step.answer {
            self.answer(answered, step, place);
        }
        done
    }

    fn requests(
        &mut self,
        request: &Request,
        step: &Step,
        place: &[Way],
        worker: usize,
        done: &mut Done,
    ) {
        for number in 1..=step.times.unwrap_or(1) {
            let before = self.failures.len();
            if let Some(exchange) = self.begin(request, worker, number) {
                self.finish(&exchange, step, place, done);
            }
            if self.failures.len() > before {
                break;
            }
        }
    }

    fn open(&mut self, request: &Request, step: &Step, worker: usize, name: &str, done: &mut Done) {
        for number in 1..=step.times.unwrap_or(1) {
            if let Some(exchange) = self.begin(request, worker, number) {
                done.records.push(exchange.record().clone());
                self.open.entry(name.to_owned()).or_default().push(exchange);
            }
        }
    }

    fn begin(&mut self, request: &Request, worker: usize, number: u32) -> Option<Exchange> {
        self.requests += 1;
        let request = self.build(request, number);
        self.simulation.request(worker, request)
    }

    /// Runs a request to its end; one that has none hangs.
    fn finish(&mut self, exchange: &Exchange, step: &Step, place: &[Way], done: &mut Done) {
        let patience = self.prepared.ready.patience;
        if !self.simulation.run(exchange, patience) {
            let held = match &exchange.record().held {
                Some(held) if held.plugin.is_empty() => {
                    format!("a filter has paused at {} and is never resumed", held.what)
                }
                Some(held) => format!(
                    "{} has paused at {} and is never resumed",
                    held.plugin, held.what
                ),
                None => "the upstream never answers".to_owned(),
            };
            let patience = humantime::format_duration(patience);
            let found = Found::new(
                "request",
                &format!("a request that is over within {patience} of virtual time"),
                &format!("it hangs: {held}"),
            );
            let log = self.log_since(0);
            self.fail(place, &title(step, place), found.with(log));
        }
        done.records.push(exchange.record().clone());
    }

    /// The request as the client sends it for the `number`th time.
    fn build(&self, request: &Request, number: u32) -> simulation::Request {
        let number = number.to_string();
        let filled = |text: &str| text.replace("${n}", &number);
        let method = method(request);
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
        let path = filled(request.path.as_deref().unwrap_or("/"));
        let mut values = request.headers.clone();
        for value in values.values_mut().flat_map(|values| values.0.iter_mut()) {
            if value.0.0.contains("${n}") {
                value.0.0 = filled(&value.0.0);
            }
        }
        let mut built = simulation::Request::new(method, &path);
        built.headers = header_map(&values);
        if request.scheme.as_deref() == Some("https") {
            built.scheme = HeaderValue::from_static("https");
        }
        built.body = match &request.body {
            Some(body) => parts(body, &self.prepared.folder),
            None => Vec::<Bytes>::new(),
        };
        built.trailers = request.trailers.as_ref().map(header_map);
        if let Some(client) = request.client.as_deref().and_then(super::address) {
            built.client = client;
        }
        built
    }

    fn configure(&self, change: &Configure) -> Option<crate::vm::VmError> {
        let ready = &self.prepared.ready;
        let (place, plugin) = match &change.plugin {
            None => (Place::Listener(ready.at), &*ready.under_test),
            Some(name) => self.named(name)?,
        };
        let plugin = plugin.configured(change, &self.prepared.folder);
        self.simulation.configure(place, plugin).err()
    }

    fn trap(&mut self, trap: &Trap, step: &Step, place: &[Way], worker: usize) {
        let at = match &trap.plugin {
            None => Some(Place::Listener(self.prepared.ready.at)),
            Some(name) => self.named(name).map(|(place, _)| place),
        };
        if at.is_some_and(|at| self.simulation.trap(worker, at)) {
            self.ordered_traps += 1;
            return;
        }
        let found = Found::new("trap", "a VM that can trap", "it has failed already");
        self.fail(place, &title(step, place), found);
    }

    /// A plugin's place; its name has been checked.
    fn named(&self, name: &str) -> Option<(Place, &super::super::prepare::ReadyPlugin)> {
        let ready = &self.prepared.ready;
        let in_listener = ready.listener.iter().enumerate();
        let in_listener = in_listener.map(|(at, plugin)| (Place::Listener(at), plugin));
        let in_upstream = ready.upstream.iter().enumerate();
        in_listener
            .chain(in_upstream.map(|(at, plugin)| (Place::Upstream(at), plugin)))
            .find(|(_, ready)| ready.plugin.name == name)
    }

    fn answer(&mut self, answered: &Answered, step: &Step, place: &[Way]) {
        let callouts = self.simulation.callouts();
        let fits = |callout: &&std::rc::Rc<simulation::Outgoing>| {
            let cluster = &callout.callout.cluster;
            answered
                .cluster
                .as_ref()
                .is_none_or(|wanted| wanted == cluster)
                && answered
                    .asked
                    .as_ref()
                    .is_none_or(|asked| callout_fits(callout, asked))
                && self.simulation.is_open(callout)
        };
        let Some(callout) = callouts.iter().find(fits) else {
            let open = callouts
                .iter()
                .filter(|callout| self.simulation.is_open(callout));
            let open: Vec<_> = open.map(|callout| describe(callout)).collect();
            let actual = match open.is_empty() {
                true => "no callout is open".to_owned(),
                false => format!("open are: {}", open.join(", ")),
            };
            let found = Found::new("answer", "an open callout that fits", &actual);
            return self.fail(place, &title(step, place), found);
        };
        let answer = &answered.answer;
        let response = self.world.borrow().callout_response(answer);
        self.simulation
            .advance(answer.after.map_or(Duration::ZERO, |span| span.0));
        self.simulation.answer(callout, response);
    }
}

/// A callout in a few words.
pub(in super::super) fn describe(callout: &simulation::Outgoing) -> String {
    let asked = &callout.callout;
    format!(
        "{} {} of {}",
        asked.head.method,
        String::from_utf8_lossy(asked.head.path.as_bytes()),
        asked.cluster
    )
}

/// A request's method.
pub(super) fn method(request: &Request) -> &str {
    let default = if request.body.is_some() {
        "POST"
    } else {
        "GET"
    };
    request.method.as_deref().unwrap_or(default)
}
