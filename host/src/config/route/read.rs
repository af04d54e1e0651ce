//! Reading route tables, virtual hosts and routes.

use std::collections::BTreeMap;

use super::{Route, RouteAction, RouteConfiguration, VirtualHost, action, edit, matcher, retry};
use crate::config::reader::{Field, Object};

/// Reads a `RouteConfiguration`.
pub(in crate::config) fn route_configuration(field: &Field<'_>) -> Option<RouteConfiguration> {
    field.object(|o| {
        o.refuse(&["vhds"], "there is no xDS; use virtual_hosts");
        o.only_bool("validate_clusters", true);
        let mut domains = BTreeMap::new();
        RouteConfiguration {
            name: o.text("name"),
            virtual_hosts: o
                .list("virtual_hosts")
                .iter()
                .filter_map(|f| virtual_host(f, &mut domains))
                .collect(),
            request_headers: edit::request(o),
            response_headers: edit::response(o),
        }
    })
}

/// Reads a `VirtualHost`; `taken` holds the domains of those before it, each with its line.
fn virtual_host(field: &Field<'_>, taken: &mut BTreeMap<String, usize>) -> Option<VirtualHost> {
    field.object(|o| {
        refuse_filters(o);
        if let Some(tls) = o.get("require_tls") {
            tls.choice(&[("NONE", ())]);
        }
        VirtualHost {
            name: o.required_name("name"),
            domains: domains(o, taken),
            routes: o.list("routes").iter().filter_map(route).collect(),
            request_headers: edit::request(o),
            response_headers: edit::response(o),
            retry: o.get("retry_policy").and_then(|f| retry::retry_policy(&f)),
        }
    })
}

fn refuse_filters(o: &Object<'_>) {
    o.refuse(
        &["typed_per_filter_config"],
        "a filter is the same on every route here",
    );
}

fn domains(o: &Object<'_>, taken: &mut BTreeMap<String, usize>) -> Vec<String> {
    let Some(list) = o.required("domains") else {
        return Vec::new();
    };
    let mut domains = Vec::new();
    for item in list.items() {
        let Some(domain) = item.name().map(str::to_ascii_lowercase) else {
            continue;
        };
        let inner = domain
            .strip_prefix('*')
            .or_else(|| domain.strip_suffix('*'))
            .unwrap_or(&domain);
        if inner.contains('*') {
            item.error(format!(
                "{domain:?} has a * that is neither its first nor its last character only"
            ));
        }
        match taken.insert(domain.clone(), item.place().line) {
            Some(line) => item.error(format!(
                "{domain:?} is a domain of this table already (line {line})"
            )),
            None => domains.push(domain),
        }
    }
    if list.node().value == crate::config::node::Value::List(Vec::new()) {
        list.error("a virtual host needs a domain; [\"*\"] takes every host");
    }
    domains
}

fn route(field: &Field<'_>) -> Option<Route> {
    field.object(|o| {
        refuse_filters(o);
        o.refuse(
            &["filter_action", "non_forwarding_action"],
            "use route, direct_response or redirect",
        );
        let matcher = o.required("match").and_then(|f| matcher::route_match(&f));
        let action = o.required_one_of(&["route", "direct_response", "redirect"]);
        let action = action.and_then(|(name, field)| match name {
            "route" => action::forward(&field).map(|f| RouteAction::Forward(Box::new(f))),
            "direct_response" => action::direct(&field).map(RouteAction::Direct),
            _ => action::redirect(&field).map(RouteAction::Redirect),
        });
        let (request_headers, response_headers) = (edit::request(o), edit::response(o));
        Some(Route {
            name: o.text("name"),
            matcher: matcher?,
            action: action?,
            request_headers,
            response_headers,
        })
    })?
}
