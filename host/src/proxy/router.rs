//! Which route a request takes.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};

use crate::config::route::{
    HeaderEdit, HeaderMatch, PathMatch, QueryMatch, Route, RouteConfiguration, ValueMatch,
    VirtualHost,
};
use crate::stream::head::{Fields, RequestHead, Target};

/// A route table ready for look-ups: the file's, with names that are shared instead of copied.
#[derive(Debug)]
pub struct Router {
    config: RouteConfiguration,
    names: Vec<HostNames>,
}

#[derive(Debug)]
struct HostNames {
    virtual_host: Arc<str>,
    routes: Vec<Arc<str>>,
}

/// Where a chosen route stands in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteId {
    host: usize,
    route: usize,
}

/// A chosen route.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// Its place.
    pub id: RouteId,
    /// The route.
    pub route: &'a Route,
    /// Its virtual host.
    pub host: &'a VirtualHost,
    /// The route's name.
    pub route_name: &'a Arc<str>,
    /// The virtual host's name.
    pub host_name: &'a Arc<str>,
}

// === impl Router ===

impl Router {
    /// Prepares a table.
    #[must_use]
    pub fn new(config: RouteConfiguration) -> Self {
        let names = config
            .virtual_hosts
            .iter()
            .map(|host| HostNames {
                virtual_host: Arc::from(host.name.as_str()),
                routes: host
                    .routes
                    .iter()
                    .map(|route| Arc::from(route.name.as_str()))
                    .collect(),
            })
            .collect();
        Self { config, names }
    }

    /// The first route that matches, in the virtual host that fits best.
    #[must_use]
    pub fn find(&self, request: &RequestHead) -> Option<Chosen<'_>> {
        let authority = request
            .headers
            .get(header::HOST)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let host = self.virtual_host(authority)?;
        let routes = &self.config.virtual_hosts.get(host)?.routes;
        let route = routes.iter().position(|route| matches(route, request))?;
        self.get(RouteId { host, route })
    }

    /// The route at a place that [`Self::find`] gave.
    #[must_use]
    pub fn get(&self, id: RouteId) -> Option<Chosen<'_>> {
        let (host, names) = (
            self.config.virtual_hosts.get(id.host)?,
            self.names.get(id.host)?,
        );
        Some(Chosen {
            id,
            route: host.routes.get(id.route)?,
            host,
            route_name: names.routes.get(id.route)?,
            host_name: &names.virtual_host,
        })
    }

    /// The table's own header edits, after those of route and virtual host: requests, then responses.
    #[must_use]
    pub fn edits(&self) -> (&[HeaderEdit], &[HeaderEdit]) {
        (&self.config.request_headers, &self.config.response_headers)
    }

    /// Exact names first, then the longest suffix, then the longest prefix, then `*`, as Envoy orders them.
    fn virtual_host(&self, authority: &str) -> Option<usize> {
        // The common file has one host for all names.
        if let [only] = self.config.virtual_hosts.as_slice()
            && only.domains.iter().any(|domain| domain == "*")
        {
            return Some(0);
        }
        let best = self
            .config
            .virtual_hosts
            .iter()
            .enumerate()
            .filter_map(|(at, host)| {
                host.domains
                    .iter()
                    .filter_map(|domain| rank(domain, authority))
                    .max()
                    .map(|rank| (rank, at))
            });
        best.max_by_key(|(rank, at)| (*rank, std::cmp::Reverse(*at)))
            .map(|(_, at)| at)
    }
}

/// How well a domain fits: kind, then length.
fn rank(domain: &str, authority: &str) -> Option<(u8, usize)> {
    let ends = |suffix: &str| {
        authority.len() > suffix.len()
            && authority
                .get(authority.len() - suffix.len()..)
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    let begins = |prefix: &str| {
        authority.len() > prefix.len()
            && authority
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if domain == "*" {
        Some((0, 0))
    } else if let Some(suffix) = domain.strip_prefix('*') {
        ends(suffix).then_some((2, suffix.len()))
    } else if let Some(prefix) = domain.strip_suffix('*') {
        begins(prefix).then_some((1, prefix.len()))
    } else {
        domain
            .eq_ignore_ascii_case(authority)
            .then_some((3, domain.len()))
    }
}

fn matches(route: &Route, request: &RequestHead) -> bool {
    let Target::Valid(target) = &request.path else {
        return false;
    };
    let path = target.path();
    let connect = request.method == Method::CONNECT;
    let path_fits = match &route.matcher.path {
        // `CONNECT` has no path.
        PathMatch::Connect => connect,
        _ if connect => false,
        PathMatch::Prefix(prefix) => path.starts_with(prefix.as_str()),
        PathMatch::Exact(exact) => path == exact,
        PathMatch::SeparatedPrefix(prefix) => path
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        PathMatch::Regex(regex) => regex.is_match(path),
    };
    path_fits
        && route
            .matcher
            .headers
            .iter()
            .all(|test| header_fits(test, request))
        && route
            .matcher
            .query
            .iter()
            .all(|test| query_fits(test, target.query().unwrap_or_default()))
}

/// Whether a request's header passes a test.
pub fn header_fits(test: &HeaderMatch, request: &RequestHead) -> bool {
    let joined;
    let value: Option<&[u8]> = if test.name.starts_with(':') {
        joined = Fields::Request(request).get(test.name.as_bytes());
        joined.as_deref()
    } else {
        let mut values = request.headers.get_all(test.name.as_str()).iter();
        match (values.next(), values.next()) {
            (None, _) => None,
            (Some(only), None) => Some(only.as_bytes()),
            // Envoy compares several values joined by commas.
            _ => {
                joined = Some(join(&request.headers, &test.name));
                joined.as_deref()
            }
        }
    };
    let value = if test.missing_as_empty {
        value.or(Some(b""))
    } else {
        value
    };
    let fits = match (&test.test, value) {
        (ValueMatch::Present(wanted), value) => *wanted == value.is_some(),
        (_, None) => return false,
        (test, Some(value)) => test.fits(value),
    };
    fits != test.invert
}

fn join(headers: &HeaderMap, name: &str) -> bytes::Bytes {
    let values: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    values.join(&b","[..]).into()
}

fn query_fits(test: &QueryMatch, query: &str) -> bool {
    let value = query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == test.name).then_some(value)
    });
    match (&test.test, value) {
        (ValueMatch::Present(wanted), value) => *wanted == value.is_some(),
        (_, None) => false,
        (test, Some(value)) => test.fits(value.as_bytes()),
    }
}

/// Carries out header edits.
pub fn edit(headers: &mut HeaderMap, edits: &[HeaderEdit]) {
    for edit in edits {
        match edit {
            HeaderEdit::Append(name, value) => {
                headers.append(name.clone(), value.clone());
            }
            HeaderEdit::AddIfAbsent(name, value) => {
                headers.entry(name.clone()).or_insert_with(|| value.clone());
            }
            HeaderEdit::Overwrite(name, value) => {
                headers.insert(name.clone(), value.clone());
            }
            HeaderEdit::OverwriteIfPresent(name, value) => {
                if headers.contains_key(name) {
                    headers.insert(name.clone(), value.clone());
                }
            }
            HeaderEdit::Remove(name) => {
                headers.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_ranked_as_envoy_ranks_them() {
        assert_eq!(rank("*", "a.b"), Some((0, 0)));
        assert!(rank("*.example.com", "x.example.com") > rank("x.*", "x.example.com"));
        assert!(rank("x.example.com", "X.example.com") > rank("*.example.com", "x.example.com"));
        assert_eq!(
            rank("*.example.com", ".example.com"),
            None,
            "the star stands for something"
        );
        assert_eq!(rank("a.com", "b.com"), None);
    }

    #[test]
    fn query_parameters_match_by_name_and_value() {
        let test = |value| QueryMatch {
            name: "v".into(),
            test: value,
        };
        assert!(query_fits(
            &test(ValueMatch::Exact("2".into(), false)),
            "a=1&v=2"
        ));
        assert!(!query_fits(
            &test(ValueMatch::Exact("2".into(), false)),
            "av=2"
        ));
        assert!(query_fits(&test(ValueMatch::Present(true)), "v"));
    }
}
