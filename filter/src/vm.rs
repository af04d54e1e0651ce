//! What one VM holds, and the callbacks that act on it.

use std::cell::RefCell;
use std::rc::Rc;

use switchover_core::id_map::IdMap;
use switchover_core::{CookieId, Random, Spans};

use crate::attempt::AttemptRoot;
use crate::ffi::{self, Level};
use crate::library::{Library, Live};
use crate::meters::Meters;
use crate::route::RouteRoot;

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
    /// What the route role decided; `None` before that, and for streams that are none of its business.
    routed: Option<Routed>,
}

/// A request on its way.
pub(crate) struct Routed {
    pub(crate) live: Rc<Live>,
    /// Index of the rollout.
    pub(crate) rollout: usize,
    /// Index of the environment: the chosen one, and once it is known the one that answered.
    pub(crate) environment: usize,
    /// When the request came, in nanoseconds since 1970.
    pub(crate) started: u64,
    pub(crate) cookie: Option<Box<CookieId>>,
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
            self.streams.insert(
                id,
                Stream {
                    root: parent,
                    routed: None,
                },
            );
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
        let document = crate::library::read(text)?;
        let live = Live::new(document, &mut self.shared.meters);
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
        let root = RouteRoot::new(plugin, Rc::clone(&live), before, &mut self.shared.random);
        self.library.publish(plugin, &live, text);
        Ok(root)
    }

    /// `proxy_on_tick`.
    pub(crate) fn tick(&mut self, id: u32) {
        self.shared.meters.flush();
        let role = self
            .roots
            .iter()
            .find(|root| root.id == id)
            .map(|root| &root.role);
        if matches!(role, Some(Role::Attempt(_))) {
            self.library.follow(&mut self.shared.meters);
        }
    }

    /// `proxy_on_request_headers`.
    pub(crate) fn request(&mut self, id: u32) -> Action {
        let Some(stream) = self.streams.get_mut(id) else {
            return Action::Continue;
        };
        let Some(root) = self.roots.iter_mut().find(|root| root.id == stream.root) else {
            return Action::Continue;
        };
        match &mut root.role {
            Role::Idle => Action::Continue,
            Role::Attempt(attempt) => {
                attempt.request(&mut self.library, &mut self.shared);
                Action::Continue
            }
            Role::Route(route) => {
                let (action, routed) = route.request(&mut self.shared);
                stream.routed = routed;
                action
            }
        }
    }

    /// `proxy_on_response_headers`.
    pub(crate) fn response(&mut self, id: u32) {
        if let Some(routed) = self
            .streams
            .get_mut(id)
            .and_then(|stream| stream.routed.as_mut())
        {
            routed.respond();
        }
    }

    /// `proxy_on_delete`.
    pub(crate) fn delete(&mut self, id: u32) {
        if let Some(stream) = self.streams.remove(id) {
            stream
                .routed
                .into_iter()
                .for_each(|routed| routed.end(&mut self.shared.meters));
        } else {
            self.shared.meters.flush();
            self.roots.retain(|root| root.id != id);
        }
    }
}
