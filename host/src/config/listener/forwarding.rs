//! Reading what the connection manager says of where requests come from.

use std::net::IpAddr;

use http::HeaderValue;

use super::{CidrRange, EscapedSlashes, Forwarding, ServerHeader, StripPort};
use crate::config::reader::{Field, Object};

/// Reads those fields of an HTTP connection manager.
pub(super) fn forwarding(o: &Object<'_>) -> Forwarding {
    o.refuse(
        &[
            "original_ip_detection_extensions",
            "early_header_mutation_extensions",
        ],
        "use use_remote_address and xff_num_trusted_hops",
    );
    o.refuse(
        &["set_current_client_cert_details", "forward_client_cert_matcher"],
        "filters read the certificate as properties: connection.subject_peer_certificate and the like",
    );
    o.refuse(
        &[
            "append_x_forwarded_port",
            "append_local_overload",
            "proxy_100_continue",
        ],
        "leave it out",
    );
    let escaped = o.get("path_with_escaped_slashes_action").and_then(|f| {
        f.choice(&[
            ("KEEP_UNCHANGED", EscapedSlashes::Keep),
            ("REJECT_REQUEST", EscapedSlashes::Reject),
            ("UNESCAPE_AND_FORWARD", EscapedSlashes::Forward),
        ])
    });
    let certificate = o
        .get("forward_client_cert_details")
        .and_then(|f| f.choice(&[("SANITIZE", false), ("ALWAYS_FORWARD_ONLY", true)]));
    Forwarding {
        trusted_hops: o.uint("xff_num_trusted_hops", 0),
        skip_append: o.bool("skip_xff_append", false),
        internal: o
            .get("internal_address_config")
            .and_then(|f| f.object(internal))
            .unwrap_or_default(),
        preserve_external_request_id: o.bool("preserve_external_request_id", false),
        forward_client_cert: certificate.unwrap_or(false),
        via: o.get("via").and_then(|f| header_value(&f)),
        strip_port: strip_port(o),
        normalize_path: o.bool("normalize_path", false),
        merge_slashes: o.bool("merge_slashes", false),
        escaped_slashes: escaped.unwrap_or_default(),
    }
}

/// Reads `server_header_transformation`.
pub(super) fn server_header(o: &Object<'_>) -> ServerHeader {
    o.get("server_header_transformation")
        .and_then(|f| {
            f.choice(&[
                ("OVERWRITE", ServerHeader::Overwrite),
                ("APPEND_IF_ABSENT", ServerHeader::IfAbsent),
                ("PASS_THROUGH", ServerHeader::PassThrough),
            ])
        })
        .unwrap_or(ServerHeader::Overwrite)
}

fn strip_port(o: &Object<'_>) -> Option<StripPort> {
    let any = o.bool("strip_any_host_port", false);
    let matching = o.bool("strip_matching_host_port", false);
    match (any, matching) {
        (true, _) => Some(StripPort::Any),
        (false, true) => Some(StripPort::Matching),
        (false, false) => None,
    }
}

fn header_value(field: &Field<'_>) -> Option<HeaderValue> {
    let text = field.text().filter(|text| !text.is_empty())?;
    let value = HeaderValue::from_str(text).ok();
    if value.is_none() {
        field.expected("text that may stand in a header");
    }
    value
}

fn internal(o: &Object<'_>) -> Vec<CidrRange> {
    o.only_bool("unix_sockets", false);
    o.list("cidr_ranges").iter().filter_map(range).collect()
}

fn range(field: &Field<'_>) -> Option<CidrRange> {
    field.object(|o| {
        let prefix = o.required("address_prefix")?;
        let address = prefix.text()?.parse::<IpAddr>().ok();
        if address.is_none() {
            prefix.expected("an IP address");
        }
        let bits = match address {
            Some(IpAddr::V4(_)) => 32,
            _ => 128,
        };
        let length = match o.get("prefix_len") {
            Some(length) => length.uint(0, bits)?,
            None => 0,
        };
        Some(CidrRange {
            address: address?,
            length: u8::try_from(length).ok()?,
        })
    })?
}
