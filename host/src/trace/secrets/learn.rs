//! Learning secrets from what passes.

use std::ops::Range;

use super::find::{self, Found, What};
use super::readings::readings;
use super::text::{self, Pair};
use super::{Secrets, credentials};
use crate::config::WasmPlugin;
use crate::rig::Exchange;
use crate::trace::{CallTrace, Value};

/// Where a value is masked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Wherever it occurs.
    Everywhere,
    /// Only where its name stands before it: `auth=none` in a log line does not make a secret of every `none`.
    InPlace,
}

impl Secrets {
    /// Learns from the request and the responses.
    pub(in crate::trace) fn learn_exchange(&mut self, exchange: &Exchange) {
        let Exchange {
            request,
            response,
            callout,
        } = exchange;
        let mut maps = vec![request.headers(), response.headers()];
        maps.extend(callout.iter().map(http::Response::headers));
        for (name, value) in maps.into_iter().flatten() {
            self.learn_field(name.as_str().as_bytes(), value.as_bytes());
        }
        self.learn_text(request.uri().to_string().as_bytes(), Scope::Everywhere);
        let bodies = [request.body(), response.body()];
        let answers = callout.iter().map(http::Response::body);
        for body in bodies.into_iter().chain(answers) {
            self.learn_text(body, Scope::Everywhere);
        }
    }

    /// Learns from a plugin's configurations and its guest's variables.
    pub(in crate::trace) fn learn_plugin(&mut self, plugin: &WasmPlugin) {
        for value in plugin.vm.environment.values() {
            self.add(value.as_bytes());
            self.learn_text(value.as_bytes(), Scope::Everywhere);
        }
        for configuration in [&plugin.configuration, &plugin.vm.configuration] {
            self.learn_text(configuration, Scope::Everywhere);
            if serde_json::from_slice::<serde::de::IgnoredAny>(configuration).is_err() {
                self.learn_lines(configuration);
            }
        }
    }

    /// Learns from a header field.
    pub(in crate::trace) fn learn_field(&mut self, name: &[u8], value: &[u8]) {
        self.learn_text(value, Scope::Everywhere);
        let name = name.to_ascii_lowercase();
        if matches!(&name[..], b":authority" | b"host")
            && let Some(password) = text::password(value, 0)
        {
            self.add(value.get(password).unwrap_or_default());
        }
        if !self.names.is_secret(&name) {
            return;
        }
        match &name[..] {
            b"cookie" => value
                .split(|byte| *byte == b';')
                .for_each(|pair| self.learn_cookie(pair)),
            b"set-cookie" => {
                self.learn_cookie(value.split(|byte| *byte == b';').next().unwrap_or_default());
            }
            _ => self.add_credential(value),
        }
    }

    /// Learns from what a guest gave and got.
    pub(in crate::trace) fn learn_call(&mut self, call: &CallTrace) {
        let scope = match call.name {
            "proxy_log" | "fd_write" | "proxy_define_metric" => Scope::InPlace,
            _ => Scope::Everywhere,
        };
        let all = || call.arguments.iter().chain(&call.returned);
        for argument in all() {
            match &argument.value {
                Value::Fields(fields) => {
                    for (name, value) in fields {
                        self.learn_field(name, value);
                    }
                }
                Value::Bytes(bytes) => self.learn_text(bytes, scope),
                _ => {}
            }
        }
        let named = |name: &str| {
            all().find_map(|argument| match &argument.value {
                Value::Bytes(bytes) if argument.name == name => Some(&bytes[..]),
                _ => None,
            })
        };
        let Some(value) = named("value") else { return };
        // A path's last part is a header's name, or a member's.
        let path = named("path").and_then(|path| path.rsplit(|byte| *byte == b'.').next());
        if let Some(name) = named("name").or_else(|| named("key")).or(path) {
            self.learn_field(name, value);
        }
    }

    /// Learns from text in which values have names, in each way it may be read.
    pub(super) fn learn_text(&mut self, text: &[u8], scope: Scope) {
        for reading in readings(text) {
            for Found { at, value, what } in find::all(&reading.bytes, &self.names) {
                let bytes = |range: Range<usize>| reading.bytes.get(range).unwrap_or_default();
                if scope == Scope::InPlace || what == What::Flag {
                    self.add_in_place(bytes(at..value.end), value.start - at);
                    continue;
                }
                match what {
                    What::Credential => self.add_credential(bytes(value.clone())),
                    _ => self.add(bytes(value.clone())),
                }
                // As it stands, for what is cut out of the text.
                if let Some(number) = self.numbers.get(bytes(value.clone())).copied() {
                    self.add_form(text.get(reading.place(value)).unwrap_or_default(), number);
                }
            }
        }
    }

    /// Learns from a configuration that is not JSON.
    pub(super) fn learn_lines(&mut self, text: &[u8]) {
        for Pair { name, value } in text::lines(text) {
            if self.names.is_secret(text.get(name).unwrap_or_default()) {
                self.add_credential(text.get(value).unwrap_or_default());
            }
        }
    }

    /// `name=value` of a cookie.
    fn learn_cookie(&mut self, pair: &[u8]) {
        let at = pair.iter().position(|byte| *byte == b'=');
        let value = at.and_then(|at| pair.get(at + 1..)).unwrap_or(pair);
        self.add(value.trim_ascii());
    }

    /// Masks a credential and what is inside it wherever they occur.
    fn add_credential(&mut self, value: &[u8]) {
        for reading in readings(value) {
            for part in credentials::parts(&reading.bytes) {
                self.add(&part);
            }
        }
    }
}
