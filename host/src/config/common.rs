//! Messages of `envoy.config.core.v3` that several others hold.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use super::reader::{Field, Object};

/// Envoy's default of `initial_fetch_timeout`.
const INITIAL_FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// `envoy.config.core.v3.DataSource`. What is written in place may be a secret: it shows nowhere.
#[derive(Clone, PartialEq, Eq)]
pub enum Data {
    /// `filename`.
    File(PathBuf),
    /// `inline_string` or `inline_bytes`.
    Inline(Bytes),
}

/// `envoy.config.core.v3.ConfigSource` that is a file.
pub(super) struct FileSource {
    /// `path_config_source.path`.
    pub(super) path: PathBuf,
    /// `path_config_source.watched_directory.path`.
    pub(super) watched_directory: Option<PathBuf>,
    /// `initial_fetch_timeout`; Envoy's default is 15 s.
    pub(super) initial_fetch_timeout: Duration,
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
        }
    }
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

/// Reads a `WatchedDirectory`.
pub(super) fn watched_directory(o: &Object<'_>) -> Option<PathBuf> {
    let directory = |f: Field<'_>| f.object(|o| PathBuf::from(o.required_name("path")));
    o.get("watched_directory").and_then(directory)
}

/// Reads a `ConfigSource`.
pub(super) fn config_source(field: &Field<'_>) -> Option<FileSource> {
    field.object(|o| {
        o.refuse(&["path"], "deprecated; use path_config_source: {path: …}");
        o.refuse(
            &["api_config_source", "ads", "self"],
            "there is no xDS server; use path_config_source",
        );
        if let Some(version) = o.get("resource_api_version") {
            version.choice(&[("V3", ())]);
        }
        let initial_fetch_timeout = o.duration("initial_fetch_timeout", INITIAL_FETCH_TIMEOUT);
        let (_, source) = o.required_one_of(&["path_config_source"])?;
        source.object(|o| FileSource {
            path: PathBuf::from(o.required_name("path")),
            watched_directory: watched_directory(o),
            initial_fetch_timeout,
        })
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
