//! `connection.*`, `upstream.*`, and the addresses.

use std::net::SocketAddr;

use super::{Status, Value, flag, nanoseconds, number, string};
use crate::stream::Stream;
use crate::stream::tls::{Certificate, Tls};

pub(super) fn address(address: SocketAddr, name: &[u8]) -> Value {
    match name {
        b"" => Err(Status::SerializationFailure),
        b"address" => Ok(string(&address.to_string())),
        b"port" => Ok(number(u64::from(address.port()))),
        _ => Err(Status::NotFound),
    }
}

pub(super) fn connection(stream: &Stream, name: &[u8]) -> Value {
    let info = &stream.info;
    let tls = info.tls.as_deref();
    match name {
        b"" => Err(Status::SerializationFailure),
        b"id" => Ok(number(info.connection_id)),
        b"mtls" => Ok(flag(tls.is_some_and(|tls| tls.peer.is_some()))),
        b"requested_server_name" => {
            let name = tls.and_then(|tls| tls.server_name.as_deref());
            Ok(string(name.unwrap_or_default()))
        }
        _ => tls
            .ok_or(Status::NotFound)
            .and_then(|tls| secured(tls, name)),
    }
}

pub(super) fn upstream(stream: &Stream, name: &[u8]) -> Value {
    let info = &stream.info;
    let host = info.upstream.as_ref().ok_or(Status::NotFound);
    match name {
        b"" => Err(Status::SerializationFailure),
        b"request_attempt_count" => Ok(number(u64::from(info.attempts))),
        b"num_endpoints" => info.endpoints.map(number).ok_or(Status::NotFound),
        b"address" | b"port" => address(host?.address, name),
        b"local_address" => {
            let local = info.upstream_connection.local;
            let local = local.ok_or(Status::NotFound)?;
            Ok(string(&local.to_string()))
        }
        b"transport_failure_reason" => host.map(|_| string(&info.transport_failure)),
        b"cx_pool_ready_duration" => info
            .connected_after
            .map(nanoseconds)
            .ok_or(Status::NotFound),
        _ => {
            let tls = info.upstream_connection.tls.as_deref();
            let tls = tls.ok_or(Status::NotFound)?;
            secured(tls, name)
        }
    }
}

/// What both sides tell of TLS.
fn secured(tls: &Tls, name: &[u8]) -> Value {
    let none = Certificate::default();
    let local = tls.local.as_ref().unwrap_or(&none);
    let peer = tls.peer.as_ref().unwrap_or(&none);
    let found = match name {
        b"tls_version" => Some(tls.version),
        b"subject_local_certificate" => Some(&*local.subject),
        b"subject_peer_certificate" => Some(&*peer.subject),
        b"dns_san_local_certificate" => local.dns_san.as_deref(),
        b"dns_san_peer_certificate" => peer.dns_san.as_deref(),
        b"uri_san_local_certificate" => local.uri_san.as_deref(),
        b"uri_san_peer_certificate" => peer.uri_san.as_deref(),
        b"sha256_peer_certificate_digest" => {
            Some(&*peer.sha256).filter(|digest| !digest.is_empty())
        }
        _ => None,
    };
    found.map(string).ok_or(Status::NotFound)
}
