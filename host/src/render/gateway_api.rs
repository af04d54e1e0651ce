//! For the Gateway API: with Envoy Gateway's own objects around the filter, or by itself without one.

mod order;

use serde::Serialize;
use serde_json::json;
use switchover_core::Timestamp;
use switchover_core::document::MODE_HEADER;

use super::kubernetes::{self, Reference};
use super::model::{Environment, Model};
use super::template::{fill, indented, stats_config};
use super::upstream::Endpoint;
use super::{Code, File, Gateway, Options, Place, RenderError, Rendered, document, notes};
use crate::rollout::Loaded;

const WITH_FILTER: &str = "envoy-gateway";
const WITHOUT_FILTER: &str = "kubernetes-gateway";
const WITH_FILTER_TEMPLATE: &str = include_str!("templates/envoy-gateway.yaml.j2");
const WITHOUT_FILTER_TEMPLATE: &str = include_str!("templates/kubernetes-gateway.yaml.j2");
/// The spaces before the document's lines in the template, and before those of the bootstrap.
const INDENT: usize = 6;

/// An `HTTPRoute`: a rollout.
#[derive(Serialize)]
struct Route<T> {
    object: String,
    id: String,
    hosts: Vec<String>,
    path: Option<String>,
    /// The environments, stable last.
    backends: Vec<T>,
    /// The headers that only Switchover may set.
    reserved: Vec<String>,
}

/// An environment behind Envoy Gateway.
#[derive(Serialize)]
struct Backend {
    name: String,
    environment: String,
    is_stable: bool,
    /// Any of them, for references.
    port: u16,
    addresses: Vec<Address>,
}

/// One of its addresses.
#[derive(Serialize)]
struct Address {
    is_ip: bool,
    host: String,
    port: u16,
}

/// An environment that is a Service.
#[derive(Serialize)]
struct Weighted {
    environment: String,
    service: Reference,
    port: u16,
    weight: u32,
}

pub(super) fn with_filter(
    loaded: &Loaded,
    model: &Model,
    options: &Options,
    place: &Place,
    code: &Code,
) -> Result<Rendered, RenderError> {
    kubernetes::check_names(WITH_FILTER, model)?;
    kubernetes::check_models(WITH_FILTER, model)?;
    order::check(WITH_FILTER, model)?;
    let routes = routes(model, options, |at, _, environment, is_stable| {
        let object = kubernetes::object(options, at);
        backend(object, environment, is_stable, place)
    })?;
    let (gateway, is_new) = kubernetes::gateway(place, options);
    // Envoy Gateway calls clusters by the route's rule, in which an environment stands where it does in `backends`.
    let cluster = |rollout: usize, environment: usize| {
        let object = kubernetes::object(options, rollout);
        let mut order = model
            .rollouts
            .get(rollout)
            .into_iter()
            .flat_map(|r| r.in_order());
        let rule = order
            .position(|(index, _)| index == environment)
            .unwrap_or_default();
        format!("httproute/{}/{object}/rule/{rule}", place.namespace)
    };
    let text = document::without_attempts(loaded, model, cluster);
    let notes = notes::envoy_gateway(model, &gateway, is_new);
    let is_image = !code.url.contains("://") || code.url.starts_with("oci://");
    let values = json!({
        "name": options.name,
        "namespace": place.namespace,
        "is_image": is_image,
        "url": code.url.trim_start_matches("oci://"),
        "sha256": code.sha256,
        "variables": model.variables,
        "text": indented(text.lines(), INDENT),
        "stats_config": stats_config(INDENT),
        "class": class(place),
        "mode_header": MODE_HEADER,
        "routes": routes,
        "is_new": is_new,
        "gateway": gateway,
        "notes": notes,
    });
    let text = fill(WITH_FILTER, WITH_FILTER_TEMPLATE, &values)?;
    Ok(Rendered {
        files: vec![File {
            name: "envoy-gateway.yaml",
            text,
        }],
        notes,
    })
}

pub(super) fn without_filter(
    loaded: &Loaded,
    model: &Model,
    options: &Options,
    place: &Place,
    now: Timestamp,
) -> Result<Rendered, RenderError> {
    kubernetes::check_names(WITHOUT_FILTER, model)?;
    order::check(WITHOUT_FILTER, model)?;
    let weights: Vec<_> = loaded
        .document()
        .rollouts()
        .iter()
        .map(|r| r.weights_at(now))
        .collect();
    let routes = routes(model, options, |at, index, environment, _| {
        let weight = weights
            .get(at)
            .and_then(|weights| weights.get(index))
            .copied();
        weighted(environment, weight.unwrap_or_default(), place)
    })?;
    let (gateway, is_new) = kubernetes::gateway(place, options);
    let foreign = |weighted: &Weighted| weighted.service.namespace != place.namespace;
    let is_foreign = routes.iter().flat_map(|route| &route.backends).any(foreign);
    let notes = notes::kubernetes_gateway(model, is_foreign);
    let values = json!({
        "name": options.name,
        "namespace": place.namespace,
        "class": class(place),
        "routes": routes,
        "is_new": is_new,
        "gateway": gateway,
        "notes": notes,
    });
    let text = fill(WITHOUT_FILTER, WITHOUT_FILTER_TEMPLATE, &values)?;
    Ok(Rendered {
        files: vec![File {
            name: "kubernetes-gateway.yaml",
            text,
        }],
        notes,
    })
}

/// The class of a gateway that is made; empty for one that is there.
fn class(place: &Place) -> &str {
    match &place.gateway {
        Gateway::New { class } => class,
        Gateway::Existing { .. } => "",
    }
}

/// A route for each rollout, with its environments as `backend` says, which gets both indices.
fn routes<T>(
    model: &Model,
    options: &Options,
    backend: impl Fn(usize, usize, &Environment, bool) -> Result<T, RenderError>,
) -> Result<Vec<Route<T>>, RenderError> {
    let route = |(at, rollout): (usize, &super::model::Rollout)| {
        let backends = rollout.in_order();
        let backends = backends
            .map(|(index, environment)| backend(at, index, environment, index == rollout.stable));
        let mut reserved = vec![MODE_HEADER.to_owned()];
        reserved.extend(rollout.identity.clone());
        Ok(Route {
            object: kubernetes::object(options, at),
            id: rollout.id.clone(),
            hosts: rollout.hosts.clone(),
            path: rollout.path.clone(),
            backends: backends.collect::<Result<_, _>>()?,
            reserved,
        })
    };
    model.rollouts.iter().enumerate().map(route).collect()
}

fn backend(
    object: String,
    environment: &Environment,
    is_stable: bool,
    place: &Place,
) -> Result<Backend, RenderError> {
    let endpoints = kubernetes::endpoints(environment, &place.namespace);
    let ips = endpoints.iter().filter(|endpoint| endpoint.is_ip()).count();
    if ips > 0 && ips < endpoints.len() {
        return Err(RenderError::Unfit {
            target: WITH_FILTER,
            message: format!(
                "{} has IP addresses and host names; a Backend takes one kind",
                environment.name
            ),
        });
    }
    let address = |endpoint: &Endpoint| Address {
        is_ip: endpoint.is_ip(),
        host: endpoint.host.clone(),
        port: endpoint.port,
    };
    Ok(Backend {
        name: format!("{object}-{}", environment.name),
        environment: environment.name.clone(),
        is_stable,
        port: endpoints.first().map_or(80, |endpoint| endpoint.port),
        addresses: endpoints.iter().map(address).collect(),
    })
}

fn weighted(
    environment: &Environment,
    weight: u32,
    place: &Place,
) -> Result<Weighted, RenderError> {
    let endpoints = kubernetes::endpoints(environment, &place.namespace);
    let service = match endpoints.as_slice() {
        [only] => kubernetes::service(&only.host).map(|service| (service, only.port)),
        _ => None,
    };
    let (service, port) = service.ok_or_else(|| RenderError::Unfit {
        target: WITHOUT_FILTER,
        message: format!(
            "{} must be one Service, such as {}=NAME:PORT or {}=NAME.NAMESPACE.svc:PORT",
            environment.name, environment.name, environment.name
        ),
    })?;
    Ok(Weighted {
        environment: environment.name.clone(),
        service,
        port,
        weight,
    })
}
