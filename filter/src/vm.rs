//! What one VM holds, and the callbacks that act on it.

use std::cell::RefCell;
use std::rc::Rc;

use switchover_core::attempt::Origin;
use switchover_core::id_map::IdMap;
use switchover_core::{Random, Spans};

use crate::attempt::{AttemptRoot, Begun, Tried};
use crate::callouts::{Callouts, Purpose, status};
use crate::ffi::{self, Level, Map};
use crate::library::{Library, Live};
use crate::meters::Meters;
use crate::models::{Held, Read};
use crate::route::RouteRoot;
use crate::routed::Routed;
use crate::shadow::ShadowOutcome;

/// The root id of the attempt role; every other is the route role's.
const ATTEMPT_ROOT_ID: &[u8] = b"switchover.attempt";
/// How often counts are handed over and published documents are looked for.
const TICK_MILLIS: u32 = 250;
/// More lines than this help nobody.
const PROBLEMS_LOGGED: usize = 100;

/// What a callback tells the host to do with the stream.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    Continue = 0,
    Pause = 1,
}

thread_local! {
    static VM: RefCell<Vm> = const { RefCell::new(Vm::new()) };
}

/// All state of the VM.
pub(crate) struct Vm {
    roots: Vec<Root>,
    streams: IdMap<Stream>,
    pub(crate) library: Library,
    pub(crate) shared: Shared,
}

/// What every role uses.
pub(crate) struct Shared {
    pub(crate) meters: Meters,
    pub(crate) random: Random,
    pub(crate) scratch: Vec<u8>,
    pub(crate) spans: Spans,
    pub(crate) callouts: Callouts,
    /// This VM's number, drawn at its start.
    pub(crate) worker: u64,
    /// A request has come here: this VM is no canary, and not that of Envoy's main thread.
    pub(crate) serves: bool,
}

/// A root context: one configuration of one plugin.
struct Root {
    id: u32,
    plugin: String,
    role: Role,
}

enum Role {
    /// Not configured, or wrongly so.
    Idle,
    Route(RouteRoot),
    Attempt(AttemptRoot),
}

/// A stream context.
struct Stream {
    root: u32,
    business: Business,
}

/// What is known of a stream.
pub(crate) enum Business {
    /// Nothing yet, or it is none of this filter's.
    None,
    /// Its headers wait for its body
    Held(Box<Held>),
    /// What the route role decided
    Routed(Routed),
    /// An attempt without an answer so far
    Tried(Tried),
}

/// Runs a callback. Should a host call back within a hostcall, the inner callback does nothing and gives `otherwise`.
pub(crate) fn with<T>(otherwise: T, callback: impl FnOnce(&mut Vm) -> T) -> T {
    let run = VM.try_with(|vm| vm.try_borrow_mut().map(|mut vm| callback(&mut vm)));
    run.ok().and_then(Result::ok).unwrap_or(otherwise)
}

// === impl Vm ===

impl Vm {
    const fn new() -> Self {
        let shared = Shared {
            meters: Meters::new(),
            random: Random::new(0),
            scratch: Vec::new(),
            spans: Spans::new(),
            callouts: Callouts::new(),
            worker: 0,
            serves: false,
        };
        Self {
            roots: Vec::new(),
            streams: IdMap::new(),
            library: Library::new(),
            shared,
        }
    }

    /// `proxy_on_context_create`; a root has no parent.
    pub(crate) fn create(&mut self, id: u32, parent: u32) {
        if parent != 0 {
            let (root, business) = (parent, Business::None);
            self.streams.insert(id, Stream { root, business });
        } else if self.roots.iter().all(|root| root.id != id) {
            self.roots.push(Root {
                id,
                plugin: String::new(),
                role: Role::Idle,
            });
        }
    }

    /// `proxy_on_vm_start`.
    pub(crate) fn start(&mut self) {
        self.shared.random = Random::new(ffi::random());
        self.shared.worker = ffi::random();
    }

    /// `proxy_on_configure`. False leaves what was in force.
    pub(crate) fn configure(&mut self, id: u32, size: usize) -> bool {
        let text = ffi::configuration(size);
        let text = text.as_deref().unwrap_or_default();
        let name = ffi::property("plugin_name");
        let plugin = String::from_utf8_lossy(name.as_deref().unwrap_or_default()).into_owned();
        let is_attempt = ffi::property("plugin_root_id").as_deref() == Some(ATTEMPT_ROOT_ID);
        let role = if is_attempt {
            AttemptRoot::configure(text).map(Role::Attempt)
        } else {
            self.configure_route(&plugin, text).map(Role::Route)
        };
        match role {
            Ok(role) => {
                if let Some(root) = self.roots.iter_mut().find(|root| root.id == id) {
                    (root.plugin, root.role) = (plugin, role);
                }
                ffi::set_tick_period(TICK_MILLIS);
                true
            }
            Err(problems) => {
                self.shared.meters.count_reload(false);
                let line = |text: &str| {
                    ffi::log(
                        Level::Error,
                        &["switchover: `", &plugin, "` rejected: ", text].concat(),
                    )
                };
                problems
                    .iter()
                    .take(PROBLEMS_LOGGED)
                    .for_each(|problem| line(&problem.to_string()));
                if let Some(more) = problems
                    .len()
                    .checked_sub(PROBLEMS_LOGGED)
                    .filter(|more| *more > 0)
                {
                    line(&["and ", &more.to_string(), " more problems"].concat());
                }
                false
            }
        }
    }

    fn configure_route(
        &mut self,
        plugin: &str,
        text: &[u8],
    ) -> Result<RouteRoot, Vec<switchover_core::document::Problem>> {
        // The turns of the document that this one replaces go on.
        let before = self
            .roots
            .iter()
            .rev()
            .filter(|root| root.plugin == plugin)
            .find_map(|root| match &root.role {
                Role::Route(route) => Some(route),
                _ => None,
            });
        if let Some(live) = self.library.same(plugin, text) {
            return Ok(RouteRoot::new(live, before, &mut self.shared.random));
        }
        let document = crate::library::read(text)?;
        let live = Live::new(
            plugin,
            document,
            before.map(|before| &**before.live()),
            self.shared.worker,
            &mut self.shared.meters,
        );
        let root = RouteRoot::new(Rc::clone(&live), before, &mut self.shared.random);
        self.library.publish(&live, text, &mut self.shared.meters);
        Ok(root)
    }

    /// `proxy_on_tick`.
    pub(crate) fn tick(&mut self, id: u32) {
        self.shared.meters.flush();
        let role = self
            .roots
            .iter_mut()
            .find(|root| root.id == id)
            .map(|root| &mut root.role);
        match role {
            Some(Role::Attempt(_)) => {
                self.library
                    .follow(self.shared.worker, &mut self.shared.meters);
            }
            Some(Role::Route(route)) => {
                let is_newest = self.library.is_newest(route.live());
                route.tick(id, is_newest, &mut self.shared);
                self.shared.callouts.forget_lost(ffi::now());
            }
            Some(Role::Idle) | None => {}
        }
    }

    /// `proxy_on_request_headers`.
    pub(crate) fn request(&mut self, id: u32, end_of_stream: bool) -> Action {
        let Some(stream) = self.streams.get_mut(id) else {
            return Action::Continue;
        };
        let Some(root) = self.roots.iter_mut().find(|root| root.id == stream.root) else {
            return Action::Continue;
        };
        let shared = &mut self.shared;
        match &mut root.role {
            Role::Idle => Action::Continue,
            Role::Attempt(attempt) => {
                let begun = attempt.request(end_of_stream, &mut self.library, shared);
                let is_refused = begun.as_ref().is_some_and(|begun| begun.refused);
                self.begin_attempt(id, begun);
                match is_refused {
                    true => Action::Pause,
                    false => Action::Continue,
                }
            }
            Role::Route(route) => {
                shared.serves = true;
                let (action, business) = route.request(id, end_of_stream, shared);
                stream.begin(business, root.id, end_of_stream, shared);
                action
            }
        }
    }

    /// Notes whose attempt it is where the route role finds it: in this VM, else in the stream's properties.
    fn begin_attempt(&mut self, id: u32, begun: Option<Begun>) {
        let Some(begun) = begun else {
            return;
        };
        let is_here = begun.origin.worker == self.shared.worker;
        match self.streams.get_mut(begun.origin.stream) {
            Some(stream) if is_here => {
                if let Business::Routed(routed) = &mut stream.business {
                    routed.begin_attempt(begun.name(), &self.library, &mut self.shared.meters);
                }
            }
            _ => begun.tell(&mut self.shared.meters),
        }
        if let (Some(stream), Some(tried)) = (self.streams.get_mut(id), begun.tried) {
            stream.business = Business::Tried(tried);
        }
    }

    /// `proxy_on_request_body`.
    pub(crate) fn request_body(&mut self, id: u32, size: usize, end_of_stream: bool) -> Action {
        let Some(stream) = self.streams.get_mut(id) else {
            return Action::Continue;
        };
        let shared = &mut self.shared;
        let (read, is_held) = match &mut stream.business {
            Business::None | Business::Tried(_) => return Action::Continue,
            Business::Held(held) => (held.read(size, end_of_stream, shared), true),
            Business::Routed(routed) => (routed.read(size, end_of_stream, shared), false),
        };
        match read {
            Read::More => Action::Pause,
            Read::Answered => {
                let business = std::mem::replace(&mut stream.business, Business::None);
                if let Business::Routed(mut routed) = business {
                    let callouts = &mut shared.callouts;
                    routed.drop_copy(ShadowOutcome::NotSent, callouts, &mut shared.meters);
                }
                Action::Pause
            }
            Read::Goes { size, .. } => {
                if is_held && !self.resume(id) {
                    return Action::Pause;
                }
                self.pass_body(id, size, end_of_stream);
                Action::Continue
            }
        }
    }

    /// Decides about a request whose headers waited for its body; false where it is answered.
    fn resume(&mut self, id: u32) -> bool {
        let Some(stream) = self.streams.get_mut(id) else {
            return true;
        };
        let business = std::mem::replace(&mut stream.business, Business::None);
        let root = self.roots.iter_mut().find(|root| root.id == stream.root);
        let (Business::Held(held), Some(root)) = (business, root) else {
            return true;
        };
        let Role::Route(route) = &mut root.role else {
            return true;
        };
        let (action, business) = route.resume(id, *held, &mut self.shared);
        stream.begin(business, root.id, false, &mut self.shared);
        matches!(action, Action::Continue)
    }

    /// A part of a request's body goes on.
    fn pass_body(&mut self, id: u32, size: usize, end_of_stream: bool) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if let Business::Routed(routed) = &mut stream.business {
            let (callouts, meters) = (&mut self.shared.callouts, &mut self.shared.meters);
            routed.copy_body(size, callouts, meters);
            if end_of_stream {
                routed.complete();
                routed.send_copy(stream.root, callouts, meters);
            }
        }
    }

    /// `proxy_on_response_body`.
    pub(crate) fn response_body(&mut self, id: u32, size: usize, end_of_stream: bool) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if let Business::Routed(routed) = &mut stream.business {
            routed.answer(size, end_of_stream, &mut self.shared.meters);
        }
    }

    /// `proxy_on_response_headers`.
    pub(crate) fn response(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let meters = &mut self.shared.meters;
        match &mut stream.business {
            Business::None | Business::Held(_) => {}
            Business::Routed(routed) => routed.respond(&self.library, meters),
            Business::Tried(_) => {
                let business = std::mem::replace(&mut stream.business, Business::None);
                if let Business::Tried(tried) = business {
                    let sent = match self.origin(tried.origin) {
                        Some(routed) => routed.sent,
                        None => tried.sent(),
                    };
                    let status = status(Map::Response);
                    tried.leave(status);
                    if let Some(ended) = tried.end(status, sent) {
                        ended.count(&self.library, &mut self.shared.meters);
                    }
                }
            }
        }
    }

    /// What the route role knows of an attempt's request, where it is in this VM and the client has not left.
    fn origin(&mut self, origin: Origin) -> Option<&mut Routed> {
        let stream = self.streams.get_mut(origin.stream);
        match &mut stream
            .filter(|_| origin.worker == self.shared.worker)?
            .business
        {
            Business::Routed(routed) => Some(routed),
            Business::None | Business::Held(_) | Business::Tried(_) => None,
        }
    }

    /// `proxy_on_http_call_response`; without headers, no answer has come.
    pub(crate) fn answer(&mut self, token: u32, has_headers: bool) {
        let Some(callout) = self.shared.callouts.take(token) else {
            return;
        };
        let status = status(Map::CallResponse).filter(|_| has_headers);
        let millis = ffi::now().saturating_sub(callout.started) / 1_000_000;
        let meters = &mut self.shared.meters;
        let (live, rollout) = (&callout.live, callout.rollout);
        match callout.purpose {
            Purpose::Probe => {
                let today = self.library.today(live, rollout, callout.environment);
                if let Some((live, rollout, environment)) = today {
                    live.probed(rollout, environment, (status, millis), meters);
                }
            }
            Purpose::Shadow => {
                if let Some(own) = live.meters.get(rollout) {
                    own.count_copy(ShadowOutcome::of(status), meters);
                    own.record_copy(millis, meters);
                }
            }
        }
    }

    /// `proxy_on_delete`.
    pub(crate) fn delete(&mut self, id: u32) {
        let Some(stream) = self.streams.remove(id) else {
            self.shared.meters.flush();
            self.shared.callouts.forget_root(id);
            self.roots.retain(|root| root.id != id);
            return;
        };
        let (callouts, meters) = (&mut self.shared.callouts, &mut self.shared.meters);
        match stream.business {
            Business::None | Business::Held(_) => {}
            Business::Routed(mut routed) => {
                // A request that never came to its end.
                routed.drop_copy(ShadowOutcome::NotSent, callouts, meters);
                routed.end(meters);
            }
            // The host ends a request's own context before its attempts where the client has gone away: nobody's fault.
            Business::Tried(tried) => {
                if let Some(routed) = self.origin(tried.origin)
                    && let Some(ended) = tried.end(None, routed.sent)
                {
                    routed.go_unanswered(ended);
                }
            }
        }
    }
}

// === impl Stream ===

impl Stream {
    /// A decision has been made, or waits for the body; a copy is begun where there is to be one.
    fn begin(&mut self, business: Business, root: u32, end_of_stream: bool, shared: &mut Shared) {
        self.business = business;
        if let Business::Routed(routed) = &mut self.business
            && routed.is_copied
        {
            let (callouts, meters) = (&mut shared.callouts, &mut shared.meters);
            routed.copy(root, end_of_stream, callouts, meters);
        }
    }
}
