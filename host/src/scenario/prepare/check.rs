//! What the types of a step cannot say: names that must exist, things that do not go together, files.

use std::collections::BTreeSet;

use http::{HeaderName, HeaderValue, Method};

use super::super::model::{
    Answer, Asked, Body, Expect, Request, Scenario, Short, Step, Values, Workers,
};
use super::super::read::Step as Way;
use super::super::world::base64;
use super::{Preparing, Ready, unknown, way};

impl Preparing<'_> {
    /// A scenario's steps.
    pub(super) fn steps(&mut self, scenario: &Scenario, ready: &Ready, index: usize) {
        let place = way(&["scenarios"], Some(index), &["steps"]);
        if scenario.steps.is_empty() && !scenario.refused {
            let place = way(&["scenarios"], Some(index), &[]);
            self.report(&place, "has no steps, so that nothing is tested");
        }
        let mut open = BTreeSet::new();
        self.list(&scenario.steps, ready, &place, &mut open);
        if !scenario.refused && !scenario.steps.iter().any(expects) && !scenario.steps.is_empty() {
            let place = way(&["scenarios"], Some(index), &[]);
            self.report(&place, "expects nothing: no step has expect");
        }
        if scenario.refused && scenario.steps.iter().any(|step| !actions(step).is_empty()) {
            self.report(
                &place,
                "a filter that is refused serves nothing: steps may only expect something of the log here",
            );
        }
    }

    fn list(&mut self, steps: &[Step], ready: &Ready, place: &[Way], open: &mut BTreeSet<String>) {
        for (at, step) in steps.iter().enumerate() {
            let place = [place, &[Way::Index(at)]].concat();
            self.step(step, ready, &place, open);
        }
    }

    fn step(&mut self, step: &Step, ready: &Ready, place: &[Way], open: &mut BTreeSet<String>) {
        let actions = actions(step);
        if actions.len() > 1 {
            self.report(
                place,
                &format!(
                    "only one thing may happen in a step; these are several: {}",
                    actions.join(", ")
                ),
            );
        }
        let under = |key: &str| [place, &[Way::Key(key.to_owned())]].concat();
        if step.times == Some(0) {
            self.report(&under("times"), "must be at least 1");
        }
        if step.times.is_some() && step.request.is_none() && step.steps.is_none() {
            self.report(&under("times"), "goes with request or steps only");
        }
        if step.worker.is_some() && step.request.is_none() && step.trap.is_none() {
            self.report(&under("worker"), "goes with request or trap only");
        }
        if let Some(Short(Workers::Number(worker))) = step.worker
            && worker >= ready.workers
        {
            self.report(
                &under("worker"),
                &format!(
                    "there is no worker {worker}; there are {}, from 0",
                    ready.workers
                ),
            );
        }
        for (name, answers) in &step.answers {
            let place = [&under("answers")[..], &[Way::Key(name.clone())]].concat();
            if !ready.clusters.contains_key(name) {
                self.report(&place, &unknown("cluster", name, ready.clusters.keys()));
            }
            answers
                .iter()
                .for_each(|answer| self.answer(answer, &place));
        }
        if let Some(request) = &step.request {
            self.request(request, &under("request"));
        }
        self.names(step, open, place);
        self.plugins(step, ready, place);
        if let Some(answered) = &step.answer {
            self.answer(&answered.answer, &under("answer"));
            if let Some(name) = answered
                .cluster
                .as_ref()
                .filter(|name| !ready.clusters.contains_key(*name))
            {
                self.report(
                    &under("answer"),
                    &unknown("cluster", name, ready.clusters.keys()),
                );
            }
        }
        if let Some(steps) = &step.steps {
            self.list(steps, ready, &under("steps"), open);
        }
        if let Some(expect) = &step.expect {
            self.expect(step, expect, &under("expect"));
        }
    }

    /// Requests that are under way by their names.
    fn names(&mut self, step: &Step, open: &mut BTreeSet<String>, place: &[Way]) {
        let under = |key: &str| [place, &[Way::Key(key.to_owned())]].concat();
        if let Some(name) = &step.open {
            if step.request.is_none() {
                self.report(&under("open"), "goes with request only");
            }
            if !open.insert(name.clone()) {
                self.report(&under("open"), &format!("{name:?} is under way already"));
            }
        }
        for (key, name) in [("finish", &step.finish), ("leave", &step.leave)] {
            if let Some(name) = name
                && !open.remove(name)
            {
                self.report(
                    &under(key),
                    &unknown("request under way named", name, open.iter()),
                );
            }
        }
    }

    fn plugins(&mut self, step: &Step, ready: &Ready, place: &[Way]) {
        let under = |key: &str| [place, &[Way::Key(key.to_owned())]].concat();
        let known = ready.listener.iter().chain(&ready.upstream);
        let known: Vec<String> = known.map(|ready| ready.plugin.name.clone()).collect();
        let named = [
            (
                "configure",
                step.configure
                    .as_ref()
                    .and_then(|configure| configure.plugin.as_ref()),
            ),
            (
                "trap",
                step.trap.as_ref().and_then(|trap| trap.plugin.as_ref()),
            ),
        ];
        for (key, name) in named {
            if let Some(name) = name.filter(|name| !known.contains(name)) {
                self.report(&under(key), &unknown("plugin", name, known.iter()));
            }
        }
        let Some(configure) = &step.configure else {
            return;
        };
        let place = under("configure");
        self.stated(
            configure.configuration.as_ref(),
            configure.configuration_file.as_deref(),
            &place,
        );
        if let Some(file) = &configure.file {
            self.module(file, &[&place[..], &[Way::Key("file".to_owned())]].concat());
        }
    }

    fn request(&mut self, request: &Request, place: &[Way]) {
        let under = |key: &str| [place, &[Way::Key(key.to_owned())]].concat();
        if let Some(method) = &request.method
            && Method::from_bytes(method.as_bytes()).is_err()
        {
            self.report(&under("method"), &format!("{method:?} is no method"));
        }
        if let Some(scheme) = &request.scheme
            && !matches!(scheme.as_str(), "http" | "https")
        {
            self.report(
                &under("scheme"),
                &format!("expected http or https, found {scheme:?}"),
            );
        }
        if let Some(client) = &request.client
            && super::super::run::address(client).is_none()
        {
            self.report(
                &under("client"),
                &format!("{client:?} is no IP address, with or without a port"),
            );
        }
        self.headers(&request.headers, &under("headers"));
        request
            .trailers
            .iter()
            .for_each(|trailers| self.headers(trailers, &under("trailers")));
        request
            .body
            .iter()
            .for_each(|body| self.body(body, &under("body")));
    }

    /// An answer, as clusters and steps have them.
    pub(super) fn answer(&mut self, answer: &Answer, place: &[Way]) {
        let status =
            |status: Option<u16>| status.is_none_or(|status| (100..=599).contains(&status));
        if !status(answer.status) || !status(answer.given_up) {
            self.report(place, "a status is from 100 to 599");
        }
        let instead = [
            answer.never,
            answer.given_up.is_some(),
            answer.status.is_some() || answer.reset,
            answer.grpc.is_some(),
        ];
        if instead.iter().filter(|set| **set).count() > 1 {
            self.report(
                place,
                "only one of never, given_up, grpc, or status with reset may be set",
            );
        }
        self.headers(&answer.headers, place);
        if let Some(grpc) = &answer.grpc {
            self.headers(&grpc.metadata, place);
            self.headers(&grpc.trailers, place);
            grpc.messages.iter().for_each(|body| self.body(body, place));
        }
        answer
            .trailers
            .iter()
            .for_each(|trailers| self.headers(trailers, place));
        answer.body.iter().for_each(|body| self.body(body, place));
        answer
            .asked
            .iter()
            .for_each(|asked| self.asked(asked, place));
    }

    fn asked(&mut self, asked: &Asked, place: &[Way]) {
        self.header_names(asked.headers.keys(), place);
    }

    fn headers(&mut self, values: &Values, place: &[Way]) {
        for (name, values) in values {
            let place = [place, &[Way::Key(name.clone())]].concat();
            self.header_names([name].into_iter(), &place);
            for value in values
                .iter()
                .filter(|value| HeaderValue::from_str(&value.0.0).is_err())
            {
                self.report(
                    &place,
                    &format!("{:?} cannot be a header's value", value.0.0),
                );
            }
        }
    }

    /// Names that can be a header's.
    pub(super) fn header_names<'n>(
        &mut self,
        names: impl Iterator<Item = &'n String>,
        place: &[Way],
    ) {
        for name in names {
            let pseudo = name == ":authority";
            if !pseudo && HeaderName::from_bytes(name.as_bytes()).is_err() {
                let hint = match name.starts_with(':') {
                    true => {
                        "; pseudo headers have fields of their own: method, path, status, and host for :authority"
                    }
                    false => "",
                };
                self.report(place, &format!("{name:?} cannot be a header's name{hint}"));
            }
        }
    }

    fn body(&mut self, body: &Body, place: &[Way]) {
        match body {
            Body::File(file) => {
                let path = self.folder.join(file);
                if !path.is_file() {
                    self.report(place, &format!("there is no file {}", path.display()));
                }
            }
            Body::Base64(text) if base64(text).is_none() => self.report(place, "is no base64"),
            _ => {}
        }
    }

    fn expect(&mut self, step: &Step, expect: &Expect, place: &[Way]) {
        let under = |key: &str| [place, &[Way::Key(key.to_owned())]].concat();
        let of_request = [
            ("upstream", expect.upstream.is_some()),
            ("attempts", expect.attempts.is_some()),
            ("response", expect.response.is_some()),
            ("reset", expect.reset.is_some()),
            ("paused", expect.paused.is_some()),
        ];
        let request = step.request.is_some() || step.finish.is_some() || step.leave.is_some();
        for (key, _) in of_request.into_iter().filter(|(_, set)| *set && !request) {
            self.report(&under(key), "goes with request, finish or leave only");
        }
        if expect.shares.is_some() && !request && step.steps.is_none() {
            self.report(&under("shares"), "goes with request or steps only");
        }
        let within = expect
            .shares
            .iter()
            .filter_map(|shares| shares.within.as_ref());
        if within.into_iter().any(|within| within.percent.is_none()) {
            self.report(
                &[&under("shares")[..], &[Way::Key("within".to_owned())]].concat(),
                "expected a share of all requests such as 1%",
            );
        }
        if expect.refused && step.configure.is_none() {
            self.report(&under("refused"), "goes with configure only");
        }
        if expect.paused.is_some() && step.open.is_none() {
            self.report(
                &under("paused"),
                "goes with open only: a request that is not open runs to its end",
            );
        }
        for received in expect.attempts.iter().flatten() {
            self.header_names(received.headers.keys(), &under("attempts"));
        }
        if let Some(response) = &expect.response {
            self.header_names(response.headers.keys(), &under("response"));
        }
        if let Some(received) = expect
            .upstream
            .as_ref()
            .and_then(|upstream| upstream.0.0.as_ref())
        {
            self.header_names(received.headers.keys(), &under("upstream"));
        }
    }
}

/// What happens in a step, by the fields' names.
pub(in super::super) fn actions(step: &Step) -> Vec<&'static str> {
    let all = [
        ("request", step.request.is_some()),
        ("finish", step.finish.is_some()),
        ("leave", step.leave.is_some()),
        ("advance", step.advance.is_some()),
        ("advance_to", step.advance_to.is_some()),
        ("wall_clock", step.wall_clock.is_some()),
        ("configure", step.configure.is_some()),
        ("trap", step.trap.is_some()),
        ("shared_data", step.shared_data.is_some()),
        ("answer", step.answer.is_some()),
        ("steps", step.steps.is_some()),
    ];
    let set = all.into_iter().filter(|(_, set)| *set);
    set.map(|(name, _)| name).collect()
}

fn expects(step: &Step) -> bool {
    // A configuration that is accepted is an expectation too.
    step.expect.is_some() || step.configure.is_some() || step.steps.iter().flatten().any(expects)
}
