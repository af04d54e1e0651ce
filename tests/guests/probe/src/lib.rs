//! Carries out scripts of hostcalls, in any callback, and logs what each answered.
//!
//! A stream's script comes in its request header `x-probe`: a tag, then for each callback its name, a colon and
//! [commands](script), with `|` between the callbacks; `*` means all of them. The roots' come from the variable `PROBE`
//! of the VM's environment, one callback a line under the tag `root`, and so do lists of commands that scripts name:
//! `@list`; `at-end` before a command is for the last part of a message. Each callback of a context with a script, and each command, is one line of the log, with `|` between:
//! `PROBE`, tag, callback, command (`begins` where the callback does), answer. Where a context ends, its last line is `ends`. A line named `first CALLBACK` is for the first of them only;
//! `next CALLBACK COMMAND` in a script writes such a line.

// It is nothing anywhere else.
#![cfg(target_arch = "wasm32")]

mod abi;
mod script;

use std::cell::RefCell;
use std::collections::HashMap;

use script::Scope;

/// What the guest remembers.
#[derive(Default)]
struct State {
    /// Lines of the program by their names.
    program: HashMap<String, String>,
    /// The root of each stream; of roots 0.
    parents: HashMap<u32, u32>,
    /// Streams that have a script.
    streams: HashMap<u32, Stream>,
    /// Who made a call.
    callers: HashMap<u32, u32>,
    kept: HashMap<String, u64>,
}

#[derive(Clone)]
struct Stream {
    tag: String,
    script: String,
}

/// What a callback answers in the end.
#[derive(Default, Clone, Copy)]
struct Verdict {
    pause: bool,
    refuse: bool,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

fn with<T>(act: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(act)
}

/// Carries out what `context`'s script says for a callback.
fn run(callback: &str, context: u32, details: &str, end_of_stream: bool) -> Verdict {
    let root = with(|state| state.parents.get(&context).copied()).unwrap_or(0);
    let stream = with(|state| state.streams.get(&context).cloned());
    let (tag, script) = match stream {
        Some(stream) => (stream.tag, commands(&stream.script, callback)),
        None if root != 0 => return Verdict::default(),
        None => match line(callback) {
            Some(script) => ("root".to_owned(), script),
            None => return Verdict::default(),
        },
    };
    let root = if root == 0 { context } else { root };
    follow(
        callback,
        &tag,
        &script,
        details,
        end_of_stream,
        (context, root),
    )
}

/// Carries out a script in a context of a root.
fn follow(
    callback: &str,
    tag: &str,
    script: &str,
    details: &str,
    end_of_stream: bool,
    (context, root): (u32, u32),
) -> Verdict {
    let details = if details.is_empty() { "-" } else { details };
    abi::log(&format!("PROBE | {tag} | {callback} | begins | {details}"));
    let mut verdict = Verdict::default();
    let mut scope = Scope {
        kept: with(|state| std::mem::take(&mut state.kept)),
        context,
        root,
    };
    carry_out(
        script,
        &format!("{tag} | {callback}"),
        end_of_stream,
        &mut scope,
        &mut verdict,
    );
    with(|state| state.kept = scope.kept);
    if callback == "delete" {
        abi::log(&format!("PROBE | {tag} | {callback} | ends"));
    }
    verdict
}

/// The program's line for a callback of a root.
fn line(callback: &str) -> Option<String> {
    with(|state| {
        let first = state.program.remove(&format!("first {callback}"));
        first.or_else(|| state.program.get(callback).cloned())
    })
}

/// The commands of a stream's script for one callback.
fn commands(script: &str, callback: &str) -> String {
    let part = |part: &str| {
        let (name, commands) = part.split_once(':')?;
        let wanted = name
            .split(',')
            .any(|name| matches!(name.trim(), n if n == callback || n == "*"));
        wanted.then(|| commands.to_owned())
    };
    script
        .split('|')
        .filter_map(part)
        .collect::<Vec<_>>()
        .join(";")
}

fn carry_out(
    script: &str,
    place: &str,
    end_of_stream: bool,
    scope: &mut Scope,
    verdict: &mut Verdict,
) {
    for command in script
        .split(';')
        .map(str::trim)
        .filter(|command| !command.is_empty())
    {
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        match word {
            "pause" => verdict.pause = true,
            "pause-until-end" => verdict.pause = !end_of_stream,
            "refuse" => verdict.refuse = true,
            "trap" => core::arch::wasm32::unreachable(),
            "loop" => loop {
                std::hint::black_box(0);
            },
            "recurse" => {
                recurse(1);
            }
            "grow" => {
                let pages = rest.parse().unwrap_or(1);
                let before = core::arch::wasm32::memory_grow::<0>(pages);
                let grew = if before == usize::MAX {
                    "REFUSED"
                } else {
                    "OK"
                };
                abi::log(&format!("PROBE | {place} | {command} | {grew}"));
            }
            "times" => {
                let (times, command) = rest.split_once(' ').unwrap_or_default();
                let mut answer = String::new();
                for time in 0..times.parse::<u32>().unwrap_or(0) {
                    answer = script::call(&command.replace('#', &time.to_string()), scope);
                }
                abi::log(&format!("PROBE | {place} | times {rest} | {answer}"));
            }
            "next" => {
                let (callback, commands) = rest.split_once(' ').unwrap_or_default();
                let (name, commands) = (format!("first {callback}"), commands.to_owned());
                with(|state| state.program.insert(name, commands));
            }
            "at-end" if end_of_stream => carry_out(rest, place, end_of_stream, scope, verdict),
            "at-end" => {}
            _ if word.starts_with('@') => {
                let list = with(|state| state.program.get(word).cloned()).unwrap_or_default();
                carry_out(&list, place, end_of_stream, scope, verdict);
            }
            _ => {
                let answer = script::call(command, scope);
                if word.ends_with("_call") || word == "proxy_grpc_stream" {
                    let token = answer
                        .strip_prefix("OK ")
                        .and_then(|token| token.parse().ok());
                    with(|state| {
                        token.map(|token: u32| state.callers.insert(token, scope.context))
                    });
                }
                abi::log(&format!("PROBE | {place} | {command} | {answer}"));
            }
        }
    }
}

/// As deep as the stack is.
#[inline(never)]
#[allow(unconditional_recursion, reason = "the host's limit ends it")]
fn recurse(depth: u32) -> u32 {
    let frame = std::hint::black_box([depth; 64]);
    recurse(frame[depth as usize % 64] + 1) + frame[0]
}

/// The context that made a call, or `context` itself.
fn caller(token: u32, context: u32) -> u32 {
    with(|state| state.callers.get(&token).copied()).unwrap_or(context)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    with(|state| state.parents.insert(context, parent));
    if parent == 0 {
        let program = abi::variable("PROBE").unwrap_or_default();
        let line = |line: &str| {
            line.split_once(':')
                .map(|(name, list)| (name.trim().to_owned(), list.trim().to_owned()))
        };
        with(|state| state.program = program.lines().filter_map(line).collect());
        run("context_create", context, "", false);
        return;
    }
    // No header can be read yet. The first stream's script for this moment is the program's.
    if let Some(script) = line("stream_create") {
        follow(
            "context_create",
            "stream",
            &script,
            "",
            false,
            (context, parent),
        );
    }
}

/// Reads a stream's script from its header.
fn remember(context: u32) {
    let text = abi::request_header("x-probe");
    if let Some((tag, script)) = text.as_deref().and_then(|text| text.split_once(' ')) {
        let stream = Stream {
            tag: tag.to_owned(),
            script: script.to_owned(),
        };
        with(|state| state.streams.insert(context, stream));
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(root: u32, size: u32) -> u32 {
    u32::from(!run("vm_start", root, &format!("size={size}"), false).refuse)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root: u32, size: u32) -> u32 {
    u32::from(!run("configure", root, &format!("size={size}"), false).refuse)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root: u32) {
    run("tick", root, "", false);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_queue_ready(root: u32, queue: u32) {
    with(|state| state.kept.insert("queue".to_owned(), queue.into()));
    run("queue_ready", root, "", false);
}

/// Declares the callbacks of streams.
macro_rules! stream_callbacks {
    ($($export:ident, $name:literal, ($($argument:ident),*);)*) => {
        $(#[unsafe(no_mangle)]
        extern "C" fn $export(context: u32 $(, $argument: u32)*) -> u32 {
            let details: &[(&str, u32)] = &[$((stringify!($argument), $argument)),*];
            let end = details.iter().any(|detail| *detail == ("end", 1));
            let details: Vec<String> = details.iter().map(|(name, value)| format!("{name}={value}")).collect();
            u32::from(run($name, context, &details.join(" "), end).pause)
        })*
    };
}

stream_callbacks! {
    proxy_on_request_body, "request_body", (size, end);
    proxy_on_request_trailers, "request_trailers", (fields);
    proxy_on_response_headers, "response_headers", (fields, end);
    proxy_on_response_body, "response_body", (size, end);
    proxy_on_response_trailers, "response_trailers", (fields);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, fields: u32, end: u32) -> u32 {
    remember(context);
    u32::from(
        run(
            "request_headers",
            context,
            &format!("fields={fields} end={end}"),
            end == 1,
        )
        .pause,
    )
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    root: u32,
    token: u32,
    fields: u32,
    size: u32,
    trailers: u32,
) {
    let owner = caller(token, root);
    let same = if owner == root {
        ""
    } else {
        " on another context"
    };
    run(
        "http_call_response",
        owner,
        &format!("fields={fields} size={size} trailers={trailers}{same}"),
        false,
    );
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive_initial_metadata(root: u32, token: u32, fields: u32) {
    run(
        "grpc_receive_initial_metadata",
        caller(token, root),
        &format!("fields={fields}"),
        false,
    );
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive(root: u32, token: u32, size: u32) {
    run(
        "grpc_receive",
        caller(token, root),
        &format!("size={size}"),
        false,
    );
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive_trailing_metadata(root: u32, token: u32, fields: u32) {
    run(
        "grpc_receive_trailing_metadata",
        caller(token, root),
        &format!("fields={fields}"),
        false,
    );
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_close(root: u32, token: u32, status: u32) {
    run(
        "grpc_close",
        caller(token, root),
        &format!("status={status}"),
        false,
    );
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(context: u32) -> u32 {
    u32::from(!run("done", context, "", false).refuse)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(context: u32) {
    run("log", context, "", false);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    run("delete", context, "", false);
    with(|state| {
        state.streams.remove(&context);
        state.parents.remove(&context);
    });
}
