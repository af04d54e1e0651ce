//! Arguments of verbs that give a filter an exchange: the plugin, the request, the response.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use crate::config::WasmPlugin;
use crate::rig::{self, Exchange};

/// How filters are configured.
#[derive(Debug, clap::Args)]
pub(super) struct PluginArgs {
    /// File with a plugin's configuration; once for all filters, or once for each, in order
    #[arg(long, value_name = "FILE")]
    configuration: Vec<PathBuf>,
    /// File with the VM's configuration
    #[arg(long, value_name = "FILE")]
    vm_configuration: Option<PathBuf>,
    /// The plugin's root id; once for all filters, or once for each, in order
    #[arg(long, value_name = "ID")]
    root_id: Vec<String>,
    /// An environment variable for the guest; may be given several times
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    environment: Vec<(String, String)>,
}

/// What a filter gets.
#[derive(Debug, clap::Args)]
pub(super) struct ExchangeArgs {
    /// The request's method; default: GET, or POST with a body
    #[arg(long)]
    method: Option<Method>,
    /// The request's path, with its query
    #[arg(long, default_value = "/v1/models", value_parser = path)]
    path: PathAndQuery,
    /// A request header, in place of a default one of that name; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = field)]
    headers: Vec<Field>,
    /// The request's body, or @FILE
    #[arg(long, value_name = "TEXT|@FILE")]
    body: Option<String>,
    /// The upstream's status
    #[arg(long, default_value = "200", value_name = "STATUS")]
    response_status: StatusCode,
    /// A response header, in place of a default one of that name; may be given several times
    #[arg(long = "response-header", value_name = "NAME: VALUE", value_parser = field)]
    response_headers: Vec<Field>,
    /// The upstream's body, or @FILE
    #[arg(long, value_name = "TEXT|@FILE")]
    response_body: Option<String>,
    /// What every callout is answered, whatever its cluster; without it callouts fail
    #[arg(long, value_name = "STATUS[:BODY]", value_parser = callout)]
    callout: Option<(StatusCode, String)>,
}

/// A header.
type Field = (HeaderName, HeaderValue);

/// The headers of a request that a client might send: `host` first.
const REQUEST: [(&str, &str); DEFAULT_HEADERS] = [
    ("host", "api.example.com"),
    ("user-agent", "curl/8.14.1"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, br"),
    ("x-request-id", "2f1c9a56-5d0b-4c1e-9a37-7c1f0e8b6d42"),
];

/// The headers of a response, besides its length.
const RESPONSE: [(&str, &str); DEFAULT_HEADERS - 1] = [
    ("content-type", "application/json"),
    ("date", "Thu, 26 Nov 2026 00:00:00 GMT"),
    ("server", "upstream"),
    ("cache-control", "no-store"),
];

/// Headers of a request and of a response where nothing is said.
pub(super) const DEFAULT_HEADERS: usize = 5;

// === impl PluginArgs ===

impl PluginArgs {
    /// A plugin for each of the filters.
    ///
    /// # Errors
    /// Where a file cannot be read, or there are neither one nor as many as filters.
    pub(super) fn plugins(&self, filters: &[PathBuf]) -> Result<Vec<WasmPlugin>> {
        let configurations = spread(&self.configuration, filters.len(), "--configuration")?;
        let root_ids = spread(&self.root_id, filters.len(), "--root-id")?;
        let vm = self.vm_configuration.as_deref();
        let vm_configuration = vm.map(read).transpose()?.unwrap_or_default();
        let environment: BTreeMap<_, _> = self.environment.iter().cloned().collect();
        let mut plugins = Vec::new();
        for ((filter, configuration), root_id) in filters.iter().zip(configurations).zip(root_ids) {
            let configuration = configuration.map(|path| read(path)).transpose()?;
            plugins.push(rig::plugin(
                filter.clone(),
                root_id.cloned().unwrap_or_default(),
                configuration.unwrap_or_default(),
                vm_configuration.clone(),
                environment.clone(),
            ));
        }
        Ok(plugins)
    }
}

/// What was given once for all or once for each.
fn spread<'a, T>(given: &'a [T], filters: usize, what: &str) -> Result<Vec<Option<&'a T>>> {
    Ok(match given {
        [] => vec![None; filters],
        [one] => vec![Some(one); filters],
        each if each.len() == filters => each.iter().map(Some).collect(),
        each => bail!(
            "{what} is given {} times for {filters} filters: give it once for all, or once for each",
            each.len()
        ),
    })
}

// === impl ExchangeArgs ===

impl ExchangeArgs {
    /// The exchange, with so many default headers in each of the two heads, and with bodies of `size` bytes where none
    /// are given.
    ///
    /// # Errors
    /// Where a body's file cannot be read.
    pub(super) fn exchange(&self, default_headers: usize, size: usize) -> Result<Exchange> {
        let text = |body: &Option<String>| match body {
            Some(body) => read_text(body),
            None => Ok(Bytes::from(vec![b'x'; size])),
        };
        let (body, response_body) = (text(&self.body)?, text(&self.response_body)?);
        let method = self.method.clone().unwrap_or(match body.is_empty() {
            true => Method::GET,
            false => Method::POST,
        });
        let mut request = http::Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.path.clone().into();
        *request.headers_mut() = head(&REQUEST, default_headers, &self.headers);
        let mut response = http::Response::new(response_body);
        *response.status_mut() = self.response_status;
        let fields = default_headers.saturating_sub(1);
        let mut headers = head(&RESPONSE, fields, &self.response_headers);
        headers
            .entry(header::CONTENT_LENGTH)
            .or_insert_with(|| response.body().len().into());
        *response.headers_mut() = headers;
        let callout = self.callout.as_ref().map(|(status, body)| {
            let mut response = http::Response::new(Bytes::from(body.clone()));
            *response.status_mut() = *status;
            response
        });
        Ok(Exchange {
            request,
            response,
            callout,
        })
    }
}

/// So many of the defaults, then as many made up as are missing, and those given instead of or beside them.
fn head(defaults: &[(&'static str, &'static str)], count: usize, given: &[Field]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in defaults.iter().take(count) {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    for number in defaults.len()..count {
        let name = HeaderName::try_from(format!("x-header-{number}"));
        if let Ok(name) = name {
            headers.insert(name, HeaderValue::from_static("a value of usual length"));
        }
    }
    for (name, _) in given {
        headers.remove(name);
    }
    for (name, value) in given {
        headers.append(name, value.clone());
    }
    headers
}

fn read_text(text: &str) -> Result<Bytes> {
    match text.strip_prefix('@') {
        Some(file) => read(Path::new(file)),
        None => Ok(Bytes::copy_from_slice(text.as_bytes())),
    }
}

fn read(path: &Path) -> Result<Bytes> {
    let bytes = std::fs::read(path);
    Ok(bytes
        .with_context(|| format!("cannot read {}", path.display()))?
        .into())
}

fn field(text: &str) -> Result<Field> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| anyhow!("write NAME: VALUE"))?;
    let name = HeaderName::from_bytes(name.trim().as_bytes())
        .with_context(|| format!("{:?} is no header's name", name.trim()))?;
    // The value may be a secret.
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| anyhow!("the value of {name} has bytes that no header may have"))?;
    Ok((name, value))
}

fn path(text: &str) -> Result<PathAndQuery> {
    ensure!(text.starts_with('/'), "a path begins with /");
    Ok(text.parse()?)
}

fn variable(text: &str) -> Result<(String, String)> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| anyhow!("write NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn callout(text: &str) -> Result<(StatusCode, String)> {
    let (status, body) = text.split_once(':').unwrap_or((text, ""));
    let status = status
        .parse()
        .with_context(|| format!("{status:?} is no status: write 200, or 200:BODY"))?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_headers_take_the_place_of_default_ones() {
        let given = [field("Accept: text/plain").unwrap(), field("a:1").unwrap()];
        let headers = head(&REQUEST, DEFAULT_HEADERS, &given);
        assert_eq!(headers.len(), 6);
        assert_eq!(headers["accept"], "text/plain");
        assert_eq!(head(&REQUEST, 1, &[]).len(), 1);
        let many = head(&REQUEST, 40, &[]);
        assert_eq!(many.len(), 40);
        assert_eq!(many["host"], "api.example.com");
    }

    #[test]
    fn one_for_all_or_one_for_each() {
        assert_eq!(spread(&[7], 3, "").unwrap(), [Some(&7); 3]);
        assert_eq!(spread(&[7, 8], 2, "").unwrap(), [Some(&7), Some(&8)]);
        let error = spread(&[7, 8], 3, "--root-id").unwrap_err().to_string();
        assert!(
            error.contains("--root-id is given 2 times for 3 filters"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_is_told_without_the_value() {
        let error = field("authorization: se\u{7f}cret")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("authorization") && !error.contains("cret"),
            "{error}"
        );
        assert!(path("v1").is_err() && field("nothing").is_err() && callout("ok").is_err());
        assert_eq!(
            callout("403:no:way").unwrap(),
            (StatusCode::FORBIDDEN, "no:way".to_owned())
        );
    }
}
