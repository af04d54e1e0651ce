//! Options of the HTTP protocols: `envoy.config.core.v3.*ProtocolOptions`.

use std::time::Duration;

use super::reader::Object;

/// Envoy's default of `max_concurrent_streams`, and its bound.
const MAX_CONCURRENT_STREAMS: (u32, u32) = (1024, i32::MAX as u32);
/// The least and the greatest window.
const WINDOW: (u32, u32) = (65_535, i32::MAX as u32);
/// Envoy's default of `initial_stream_window_size`: 16 MiB.
const STREAM_WINDOW: u32 = 16 << 20;
/// What an upstream gets instead: Envoy reads no more than its buffer limit of 1 MiB of the 16 MiB.
pub const UPSTREAM_STREAM_WINDOW: u32 = 1 << 20;
/// Envoy's default of `initial_connection_window_size`: 24 MiB.
const CONNECTION_WINDOW: u32 = 24 << 20;
/// Envoy's default of `hpack_table_size`.
const HPACK_TABLE: u32 = 4096;

/// `envoy.config.core.v3.Http2ProtocolOptions`, of either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Options {
    /// `max_concurrent_streams` on one connection; Envoy's default is 1024. An upstream may allow fewer.
    pub max_concurrent_streams: u32,
    /// `initial_stream_window_size`, in bytes; Envoy's default is 16 MiB, an upstream's here [`UPSTREAM_STREAM_WINDOW`].
    pub stream_window: u32,
    /// `initial_connection_window_size`, in bytes; Envoy's default is 24 MiB.
    pub connection_window: u32,
    /// `hpack_table_size`, in bytes; Envoy's default is 4 KiB.
    pub hpack_table: u32,
    /// `allow_connect`: extended CONNECT (RFC 8441) is offered to clients; off by default.
    pub allow_connect: bool,
    /// `connection_keepalive`; off by default.
    pub keepalive: Option<Keepalive>,
}

/// `envoy.config.core.v3.KeepaliveSettings`: pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// `interval` between two pings.
    pub interval: Duration,
    /// `timeout` of an answer, after which the connection is closed.
    pub timeout: Duration,
}

impl Http2Options {
    /// What a cluster has where its file does not say.
    #[must_use]
    pub fn upstream() -> Self {
        Self {
            stream_window: UPSTREAM_STREAM_WINDOW,
            ..Self::default()
        }
    }
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            max_concurrent_streams: MAX_CONCURRENT_STREAMS.0,
            stream_window: STREAM_WINDOW,
            connection_window: CONNECTION_WINDOW,
            hpack_table: HPACK_TABLE,
            allow_connect: false,
            keepalive: None,
        }
    }
}

/// `envoy.config.core.v3.Http1ProtocolOptions`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Http1Options {
    /// `enable_trailers`; off by default, and then trailers are dropped.
    pub enable_trailers: bool,
}

/// Reads `http_protocol_options`.
pub(super) fn http1(o: &Object<'_>) -> Http1Options {
    o.refuse(
        &["accept_http_10", "default_host_for_http_10"],
        "HTTP/1.0 is answered with 426, as Envoy does by default",
    );
    o.refuse(
        &["header_key_format"],
        "header names are in lower case, as Envoy has them by default",
    );
    o.only_bool("allow_absolute_url", true);
    o.only_bool("allow_chunked_length", false);
    Http1Options {
        enable_trailers: o.bool("enable_trailers", false),
    }
}

/// Reads the `http2_protocol_options` of a listener.
pub(super) fn http2(o: &Object<'_>) -> Http2Options {
    read_http2(o, Http2Options::default())
}

/// Reads the `http2_protocol_options` of a cluster.
pub(super) fn upstream_http2(o: &Object<'_>) -> Http2Options {
    o.refuse(
        &["allow_connect"],
        "upgrades go to upstreams that speak HTTP/1.1",
    );
    read_http2(o, Http2Options::upstream())
}

fn read_http2(o: &Object<'_>, default: Http2Options) -> Http2Options {
    o.refuse(
        &[
            "max_outbound_frames",
            "max_outbound_control_frames",
            "max_consecutive_inbound_frames_with_empty_payload",
            "max_inbound_priority_frames_per_stream",
            "max_inbound_window_update_frames_per_data_frame_sent",
            "stream_error_on_invalid_http_messaging",
            "custom_settings_parameters",
            "use_oghttp2_codec",
            "max_metadata_size",
            "enable_huffman_encoding",
        ],
        "the HTTP/2 library has limits of its own",
    );
    o.only_bool("allow_metadata", false);
    // An invalid message ends its stream here, never the whole connection.
    o.get("override_stream_error_on_invalid_http_message")
        .and_then(|f| f.bool());
    let bounded = |name, (min, max), default| {
        o.get(name)
            .and_then(|f| f.uint(min, max))
            .unwrap_or(default)
    };
    Http2Options {
        max_concurrent_streams: bounded(
            "max_concurrent_streams",
            (1, MAX_CONCURRENT_STREAMS.1),
            default.max_concurrent_streams,
        ),
        stream_window: bounded("initial_stream_window_size", WINDOW, default.stream_window),
        connection_window: bounded(
            "initial_connection_window_size",
            WINDOW,
            default.connection_window,
        ),
        hpack_table: o.uint("hpack_table_size", default.hpack_table),
        allow_connect: o.bool("allow_connect", default.allow_connect),
        keepalive: o
            .get("connection_keepalive")
            .and_then(|f| f.object(keepalive)?),
    }
}

fn keepalive(o: &Object<'_>) -> Option<Keepalive> {
    o.refuse(
        &["interval_jitter", "connection_idle_interval"],
        "pings come at the interval",
    );
    let interval = o.required("interval");
    let timeout = o.required("timeout");
    Some(Keepalive {
        interval: interval?.positive_duration()?,
        timeout: timeout?.positive_duration()?,
    })
}
