//! Request heads: from hyper's to the stream's, and what a connection manager adds to them.

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use crate::config::listener::{CommonOptions, Underscores};
use crate::config::route::Redirect;
use crate::proxy::reply::GatewayError;
use crate::stream::LocalReply;
use crate::stream::head::{RequestHead, Target};

pub(super) static HTTP: HeaderValue = HeaderValue::from_static("http");
pub(super) static HTTPS: HeaderValue = HeaderValue::from_static("https");

/// From hyper's head to the stream's.
///
/// The scheme of HTTP/1 stays open: empty.
pub(super) fn from_parts(parts: http::request::Parts) -> RequestHead {
    let mut headers = parts.headers;
    // An absolute target's authority is the host, and so is HTTP/2's `:authority`.
    // Source: RFC 9112, section 3.2.2; RFC 9113, section 8.3.1.
    if let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, host);
    }
    if parts.version >= Version::HTTP_2 {
        join_cookies(&mut headers);
    }
    let scheme = match parts.uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => HTTPS.clone(),
        Some(scheme) if *scheme == Scheme::HTTP => HTTP.clone(),
        _ => HeaderValue::from_static(""),
    };
    let path = parts
        .uri
        .into_parts()
        .path_and_query
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    RequestHead::new(parts.method, Target::Valid(path), scheme, headers)
}

/// HTTP/2 may cut cookies apart; behind this they are one header again. Source: RFC 9113, section 8.2.3.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Looks at the number of headers and at underscores in their names.
///
/// # Errors
/// Where a request is refused for them.
pub(super) fn check_names(
    headers: &mut HeaderMap,
    options: &CommonOptions,
) -> Result<(), GatewayError> {
    if headers.len() > usize::try_from(options.max_headers_count).unwrap_or(usize::MAX) {
        return Err(GatewayError::TooManyHeaders);
    }
    if options.underscores == Underscores::Allow {
        return Ok(());
    }
    let with: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_'))
        .cloned()
        .collect();
    if options.underscores == Underscores::Reject && !with.is_empty() {
        return Err(GatewayError::Underscore);
    }
    for name in with {
        headers.remove(name);
    }
    Ok(())
}

/// Whether `connection` asks for an upgrade.
pub(super) fn upgrades(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    })
}

/// A random UUID: from a fast generator, since it identifies and does not protect.
pub(super) fn request_id() -> HeaderValue {
    let uuid = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    HeaderValue::from_bytes(uuid.hyphenated().encode_lower(&mut text).as_bytes())
        .unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// The answer that a `redirect` route gives.
pub(super) fn redirect(to: &Redirect, request: &RequestHead) -> LocalReply {
    let host = request
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let path = match (&to.path, &request.path) {
        (Some(path), _) => path.as_str(),
        (None, Target::Valid(path)) => path.as_str(),
        (None, Target::Invalid(_)) => "/",
    };
    let scheme = to.scheme.as_deref().unwrap_or("http");
    let location = format!("{scheme}://{}{path}", to.host.as_deref().unwrap_or(host));
    let mut reply = LocalReply::text(to.status, "", "direct_response");
    if let Ok(value) = HeaderValue::from_str(&location) {
        reply.headers.push((header::LOCATION, value));
    }
    reply
}
