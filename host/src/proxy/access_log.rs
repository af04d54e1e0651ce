//! One JSON line for each exchange, on standard output.

use std::io::Write as _;
use std::time::Duration;

use http::header;
use serde_json::{Value, json};

use crate::stream::Stream;
use crate::stream::head::Fields;

/// Writes the line. The path goes without its query, which may hold a credential.
pub(super) fn write(stream: &Stream, took: Duration) {
    let text = |name: &[u8]| -> Value {
        Fields::Request(&stream.request)
            .get(name)
            .map_or(Value::Null, |value| {
                Value::String(String::from_utf8_lossy(&value).into_owned())
            })
    };
    let info = &stream.info;
    let line = json!({
        "time": humantime::format_rfc3339_millis(info.start).to_string(),
        "method": stream.request.method.as_str(),
        "authority": text(b":authority"),
        "path": stream.request.path.path(),
        "status": stream.response.as_ref().map(|head| head.status.as_u16()),
        "details": info.details,
        "request_bytes": info.request_bytes,
        "response_bytes": info.response_bytes,
        "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "client": info.source.to_string(),
        "route": &*info.route_name,
        "cluster": info.cluster.as_deref(),
        "upstream": info.upstream.as_ref().map(|host| host.address.to_string()),
        "upstream_cluster": info.upstream.as_ref().map(|host| host.cluster.to_string()),
        "attempts": info.attempts,
        "request_id": text(b"x-request-id"),
        "user_agent": text(header::USER_AGENT.as_str().as_bytes()),
    });
    // Nobody is left to tell where standard output is gone.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
