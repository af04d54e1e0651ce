//! Reading listeners, the HTTP connection manager and its filters.

use std::time::Duration;

use super::manager::connection_manager;
use super::{
    ConnectionLimit, Discovery, HeaderMutation, HttpConnectionManager, HttpFilter, HttpFilterKind,
    Listener,
};
use crate::config::common;
use crate::config::facts::{Chain, DiscoveryAt, Slot};
use crate::config::plugin::{self, WASM_URL};
use crate::config::reader::{Field, Object};
use crate::config::route::{self, HeaderEdit};
use crate::config::tls::{self, DownstreamTls};

const HCM_URL: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const CONNECTION_LIMIT_URL: &str =
    "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit";
const TLS_INSPECTOR_URL: &str =
    "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
const HEADER_MUTATION_URL: &str =
    "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";

/// Envoy's default of `per_connection_buffer_limit_bytes`.
const BUFFER_LIMIT: u32 = 1 << 20;

/// Reads a `Listener`, the `index`th of the file; `None` after an error in it.
pub(in crate::config) fn listener(field: &Field<'_>, index: usize) -> Option<Listener> {
    field.object(|o| {
        o.refuse(
            &["access_log"],
            "use access_log of the HTTP connection manager",
        );
        let inspectors = o.list("listener_filters");
        for filter in &inspectors {
            common::extension(filter, TLS_INSPECTOR_URL, |_| ());
        }
        o.only_bool("enable_reuse_port", true);
        let name = o.text("name");
        let address = o
            .required("address")
            .and_then(|f| common::listen_address(&f));
        let buffer_limit = o.uint("per_connection_buffer_limit_bytes", BUFFER_LIMIT);
        let chains = o.required("filter_chains")?;
        let http = single(&chains, "a listener has one filter chain here")
            .and_then(|chain| chain.object(|o| filter_chain(o, index))?);
        let FilterChain {
            tls,
            connection_limit,
            http,
        } = http?;
        let address = address?;
        let name = if name.is_empty() {
            address.to_string()
        } else {
            name
        };
        Some(Listener {
            name,
            address,
            buffer_limit,
            tls_inspector: !inspectors.is_empty(),
            tls,
            connection_limit,
            http,
        })
    })?
}

/// The only element of a list.
fn single<'a>(list: &Field<'a>, message: &str) -> Option<Field<'a>> {
    match <[Field<'a>; 1]>::try_from(list.items()) {
        Ok([only]) => Some(only),
        Err(items) => {
            let place = items.get(1).unwrap_or(list);
            place.error(message);
            items.into_iter().next()
        }
    }
}

/// `FilterChain`.
struct FilterChain {
    tls: Option<DownstreamTls>,
    connection_limit: Option<ConnectionLimit>,
    http: HttpConnectionManager,
}

fn filter_chain(o: &Object<'_>, index: usize) -> Option<FilterChain> {
    let tls = o.get("transport_socket").map(|f| tls::read_downstream(&f));
    o.refuse(
        &["filter_chain_match"],
        "the one chain takes every connection",
    );
    o.text("name");
    let filters = o.required("filters")?;
    let items = filters.items();
    let Some((last, before)) = items.split_last() else {
        filters.error("the last network filter must be the HTTP connection manager");
        return None;
    };
    let mut limit = None;
    for filter in before {
        if limit.is_some() {
            filter.error("a filter chain has one connection_limit at most");
        }
        limit = common::extension(filter, CONNECTION_LIMIT_URL, connection_limit);
    }
    let http = common::extension(last, HCM_URL, |o| connection_manager(o, index))?;
    Some(FilterChain {
        tls: match tls {
            Some(tls) => Some(tls?),
            None => None,
        },
        connection_limit: limit,
        http: http?,
    })
}

fn connection_limit(o: &Object<'_>) -> ConnectionLimit {
    o.refuse(&["runtime_enabled"], "there is no runtime");
    ConnectionLimit {
        stat_prefix: o.required_name("stat_prefix"),
        max_connections: o
            .required("max_connections")
            .and_then(|f| f.uint(1, u32::MAX))
            .unwrap_or(u32::MAX),
        delay: o.duration("delay", Duration::ZERO),
    }
}

/// Reads `http_filters`, whose last must be the terminal filter of the given type, and no other.
pub(in crate::config) fn http_filters(
    list: &Field<'_>,
    chain: &Chain,
    terminal: &'static str,
) -> Vec<HttpFilter> {
    let items = list.items();
    let last = items.len().saturating_sub(1);
    let mut filters = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let slot = Slot {
            chain: chain.clone(),
            position,
        };
        let Some(filter) = item.object(|o| http_filter(o, slot, terminal)).flatten() else {
            continue;
        };
        let ends = matches!(filter.kind, HttpFilterKind::Terminal);
        if ends && position != last {
            item.error(format!("must be the last filter: {}", short(terminal)));
        } else if !ends && position == last {
            item.error(format!(
                "the last filter must be {} ({terminal})",
                short(terminal)
            ));
        }
        filters.push(filter);
    }
    if items.is_empty() {
        list.error(format!(
            "the last filter must be {} ({terminal})",
            short(terminal)
        ));
    }
    filters
}

/// A type's last name.
fn short(url: &str) -> &str {
    url.rsplit('.').next().unwrap_or(url)
}

fn http_filter(o: &Object<'_>, slot: Slot, terminal: &'static str) -> Option<HttpFilter> {
    o.refuse(&["disabled", "is_optional"], "leave the filter out instead");
    let name = o.required_name("name");
    let kind = match o.required_one_of(&["typed_config", "config_discovery"])? {
        ("typed_config", field) => typed_filter(&field, slot, terminal),
        (_, field) => {
            discovery(&field, &name, slot).map(|d| HttpFilterKind::Discovered(Box::new(d)))
        }
    };
    Some(HttpFilter { name, kind: kind? })
}

fn typed_filter(field: &Field<'_>, slot: Slot, terminal: &'static str) -> Option<HttpFilterKind> {
    match field.type_url(&[WASM_URL, HEADER_MUTATION_URL, terminal])? {
        WASM_URL => plugin::read(field, Some(slot)).map(|p| HttpFilterKind::Wasm(Box::new(p))),
        HEADER_MUTATION_URL => field
            .any(HEADER_MUTATION_URL, header_mutation)?
            .map(HttpFilterKind::HeaderMutation),
        _ => field.any(terminal, |_| HttpFilterKind::Terminal),
    }
}

fn header_mutation(o: &Object<'_>) -> Option<HeaderMutation> {
    o.required("mutations")?.object(|o| HeaderMutation {
        request: mutations(o, "request_mutations", true),
        response: mutations(o, "response_mutations", false),
    })
}

fn mutations(o: &Object<'_>, name: &'static str, request: bool) -> Vec<HeaderEdit> {
    let edit = |f: &Field<'_>| {
        f.object(|o| match o.required_one_of(&["remove", "append"])? {
            ("remove", f) => route::read_removed(&f, request),
            (_, f) => route::read_header_value(&f, request),
        })?
    };
    o.list(name).iter().filter_map(edit).collect()
}

fn discovery(field: &Field<'_>, name: &str, slot: Slot) -> Option<Discovery> {
    field.object(|o| {
        let urls = o.required("type_urls").map(|f| f.items());
        if urls.as_ref().is_some_and(Vec::is_empty) {
            o.missing("type_urls", "must name the type of the filter");
        }
        for url in urls.unwrap_or_default() {
            url.choice(&[(WASM_URL, ())]);
        }
        let default = o.get("default_config");
        // With a file there is nothing to warm: its document is there when the listener starts, or Envoy does not
        // start. So either value means the same.
        if let Some(warm) = o.get("apply_default_config_without_warming")
            && warm.bool() == Some(true)
            && default.is_none()
        {
            warm.error("needs a default_config");
        }
        let source = o
            .required("config_source")
            .and_then(|f| common::config_source(&f));
        let default = default.map(|f| plugin::read(&f, Some(slot.clone())));
        let source = source?;
        field
            .context()
            .facts
            .discoveries
            .borrow_mut()
            .push(DiscoveryAt {
                name: name.to_owned(),
                path: source.path.clone(),
                slot,
                place: field.place(),
            });
        Some(Discovery {
            path: source.path,
            watched_directory: source.watched_directory,
            default: match default {
                Some(default) => Some(default?),
                None => None,
            },
            initial_fetch_timeout: source.initial_fetch_timeout,
        })
    })?
}
