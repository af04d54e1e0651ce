//! Requests that ask for a tunnel: upgrades and `CONNECT`.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::{Exchange, head};
use crate::config::route::RouteAction;
use crate::proxy::attempt::Upgraded;
use crate::proxy::filters::Direction;
use crate::proxy::pump::Pump;
use crate::proxy::reply::GatewayError;
use crate::proxy::response::DownstreamBody;
use crate::proxy::tunnel::Tunnel as Running;
use crate::proxy::worker::WorkerListener;
use crate::stream::Tunnel;
use crate::stream::head::RequestHead;

static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What a request asks for.
pub(super) struct Asked {
    /// The type of upgrade in lower case; `connect` for `CONNECT`.
    kind: String,
    /// What becomes the tunnel of an HTTP/2 stream.
    stream: Option<OnUpgrade>,
}

/// Finds out whether a request asks for a tunnel. HTTP/2's extended `CONNECT` becomes the upgrade that it stands for, as
/// in Envoy. Source: RFC 8441.
pub(super) fn asked(parts: &mut Parts) -> Option<Asked> {
    if parts.method == Method::CONNECT {
        let stream = match parts.version {
            Version::HTTP_2 => parts.extensions.remove::<OnUpgrade>(),
            _ => None,
        };
        let kind = match parts.extensions.remove::<Protocol>() {
            None => "connect".to_owned(),
            Some(protocol) => {
                parts.method = Method::GET;
                let upgrade = HeaderValue::from_static("upgrade");
                parts.headers.insert(header::CONNECTION, upgrade);
                if let Ok(kind) = HeaderValue::from_str(protocol.as_str()) {
                    parts.headers.insert(header::UPGRADE, kind);
                }
                protocol.as_str().to_ascii_lowercase()
            }
        };
        return Some(Asked { kind, stream });
    }
    if parts.version >= Version::HTTP_2 {
        return None;
    }
    let kind = parts.headers.get(header::UPGRADE)?;
    if !head::upgrades(&parts.headers) {
        return None;
    }
    let kind = kind.to_str().unwrap_or_default().to_ascii_lowercase();
    if kind == "h2c" {
        // Nobody upgrades so any more; the request is served as it is, as in Envoy.
        parts.headers.remove(header::UPGRADE);
        parts.headers.remove(&HTTP2_SETTINGS);
        return None;
    }
    Some(Asked { kind, stream: None })
}

/// Whether the route, or else the listener, allows what a request asks for.
///
/// # Errors
/// The answer where it does not.
pub(super) fn permitted(
    listener: &WorkerListener,
    request: &RequestHead,
    asked: &Asked,
) -> Result<Tunnel, GatewayError> {
    let route = listener.router.find(request);
    let connect = asked.kind == "connect";
    if connect && route.is_none() {
        return Err(GatewayError::NoRoute);
    }
    let own = match route.as_ref().map(|chosen| &chosen.route.action) {
        Some(RouteAction::Forward(forward)) => {
            let own = |upgrade: &&crate::config::route::RouteUpgrade| upgrade.kind == asked.kind;
            forward.upgrades.iter().find(own)
        }
        _ => None,
    };
    let (enabled, terminate) = match own {
        Some(own) => (own.enabled, own.terminate),
        None => {
            let all = &listener.config.http.upgrades;
            let enabled = all.iter().any(|(kind, on)| *on && *kind == asked.kind);
            (enabled, false)
        }
    };
    match (enabled, connect, terminate) {
        (false, ..) => Err(GatewayError::Upgrade),
        (true, false, _) => Ok(Tunnel::Upgrade),
        (true, true, false) => Ok(Tunnel::Connect),
        (true, true, true) => Ok(Tunnel::Terminated),
    }
}

impl Asked {
    /// The stream that becomes the tunnel, where there is one.
    pub(super) fn into_stream(self) -> Option<OnUpgrade> {
        self.stream
    }
}

impl Exchange {
    /// Answers with the beginning of a tunnel, which runs when the answer has gone out.
    pub(super) fn begin_tunnel(
        mut self: Box<Self>,
        upstream: Upgraded,
    ) -> Response<DownstreamBody> {
        let mut head = self.finish_head();
        let client = self.client.clone();
        let stream = self.on_upgrade.take();
        let limit = self.listener.config.body_limit();
        let pumps = [Direction::Request, Direction::Response]
            .map(|direction| Pump::new(&self.active, direction, limit));
        let idle = self
            .idle_timeout()
            .unwrap_or(self.listener.config.http.stream_idle_timeout);
        let tunnel = Running::new(self, pumps, upstream, stream.is_some(), idle);
        match stream {
            None => client.tunnel.leave(tunnel),
            Some(stream) => {
                // HTTP/2 has no 101. Source: RFC 8441, section 5.
                *head.status_mut() = StatusCode::OK;
                tokio::task::spawn_local(async move {
                    if let Ok(io) = stream.await {
                        tunnel.run(TokioIo::new(io), Bytes::new()).await;
                    }
                });
            }
        }
        head.map(|()| DownstreamBody::Empty)
    }

    /// `idle_timeout` of the route.
    fn idle_timeout(&self) -> Option<std::time::Duration> {
        match &self.listener.router.get(self.route?)?.route.action {
            RouteAction::Forward(forward) => forward.idle_timeout,
            _ => None,
        }
    }
}
