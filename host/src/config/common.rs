//! Messages of `envoy.config.core.v3` that several others hold.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use bytes::Bytes;

use super::reader::{Field, Object};

/// `envoy.config.core.v3.DataSource`.
pub(super) enum Data {
    /// `filename`.
    File(PathBuf),
    /// `inline_string` or `inline_bytes`.
    Inline(Bytes),
}

/// Reads a `DataSource`.
pub(super) fn data_source(field: &Field<'_>) -> Option<Data> {
    field.object(|o| {
        o.refuse(
            &["environment_variable"],
            "write the text itself, or name a file",
        );
        match o.required_one_of(&["filename", "inline_string", "inline_bytes"])? {
            ("filename", f) => f.name().map(|path| Data::File(PathBuf::from(path))),
            ("inline_string", f) => f
                .text()
                .map(|text| Data::Inline(Bytes::copy_from_slice(text.as_bytes()))),
            (_, f) => f.bytes().map(Data::Inline),
        }
    })?
}

/// Reads an `Address` that is a `socket_address`: its host and port.
pub(super) fn host_port(field: &Field<'_>, min_port: u16) -> Option<(String, u16)> {
    field.object(|o| {
        o.refuse(&["pipe", "envoy_internal_address"], "use socket_address");
        let (_, address) = o.required_one_of(&["socket_address"])?;
        address.object(|o| {
            o.refuse(&["named_port"], "use port_value");
            if let Some(protocol) = o.get("protocol") {
                protocol.choice(&[("TCP", ())]);
            }
            let host = o.required_name("address");
            let port = o
                .required("port_value")
                .and_then(|f| f.uint(min_port.into(), u16::MAX.into()));
            Some((host, u16::try_from(port?).ok()?))
        })?
    })?
}

/// Reads an `Address` to listen on: an IP address and a port, 0 for any.
pub(super) fn listen_address(field: &Field<'_>) -> Option<SocketAddr> {
    let (host, port) = host_port(field, 0)?;
    match host.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, port)),
        Err(_) if host.is_empty() => None,
        Err(_) => {
            field.error(format!(
                "expected an IP address to listen on, found {host:?}"
            ));
            None
        }
    }
}

/// Reads a `TypedExtensionConfig` (a `name` of no consequence and a `typed_config`): its type must be this one.
pub(super) fn extension<'a, T>(
    field: &Field<'a>,
    url: &'static str,
    read: impl FnOnce(&Object<'a>) -> T,
) -> Option<T> {
    field.object(|o| {
        o.required_name("name");
        o.required("typed_config")?.any(url, read)
    })?
}
