//! A serialised `envoy.config.core.v3.GrpcService`, as far as it names an upstream.

/// What such a message names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// `envoy_grpc`.
    Envoy(EnvoyGrpc),
    /// `google_grpc`, or nothing.
    Other,
}

/// `GrpcService.EnvoyGrpc`, and the service's `initial_metadata`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct EnvoyGrpc {
    /// `cluster_name`.
    pub(super) cluster: String,
    /// `authority`; empty for the cluster's name.
    pub(super) authority: String,
    /// `initial_metadata`.
    pub(super) metadata: Vec<(Vec<u8>, Vec<u8>)>,
}

/// One field of a protobuf message: its number, and its bytes if it is a text or a message.
struct Field<'a> {
    number: u64,
    bytes: Option<&'a [u8]>,
}

// === impl EnvoyGrpc ===

impl EnvoyGrpc {
    /// Of a cluster.
    pub(super) fn of(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            ..Self::default()
        }
    }
}

/// Reads a `GrpcService`; `None` where it is none, as a cluster's name mostly is.
pub(super) fn service(bytes: &[u8]) -> Option<Service> {
    let mut envoy = None;
    let mut metadata = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        match field(&mut rest)? {
            Field {
                number: 1,
                bytes: Some(bytes),
            } => envoy = Some(envoy_grpc(bytes)?),
            Field {
                number: 5,
                bytes: Some(bytes),
            } => metadata.push(header(bytes)?),
            _ => {}
        }
    }
    Some(match envoy {
        Some(envoy) => Service::Envoy(EnvoyGrpc { metadata, ..envoy }),
        None => Service::Other,
    })
}

fn envoy_grpc(bytes: &[u8]) -> Option<EnvoyGrpc> {
    let mut envoy = EnvoyGrpc::default();
    let mut rest = bytes;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    while !rest.is_empty() {
        match field(&mut rest)? {
            Field {
                number: 1,
                bytes: Some(bytes),
            } => envoy.cluster = text(bytes)?,
            Field {
                number: 2,
                bytes: Some(bytes),
            } => envoy.authority = text(bytes)?,
            _ => {}
        }
    }
    Some(envoy)
}

/// `HeaderValue`: `key`, and `value` or `raw_value`.
fn header(bytes: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut name, mut value) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        match field(&mut rest)? {
            Field {
                number: 1,
                bytes: Some(bytes),
            } => name = bytes.to_vec(),
            Field {
                number: 2 | 3,
                bytes: Some(bytes),
            } => value = bytes.to_vec(),
            _ => {}
        }
    }
    Some((name, value))
}

/// Takes one field off. Source: Protocol Buffers, "Encoding".
fn field<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let tag = varint(rest)?;
    let number = tag >> 3;
    if number == 0 {
        return None;
    }
    let bytes = match tag & 7 {
        0 => {
            varint(rest)?;
            None
        }
        1 => take(rest, 8).map(|_| None)?,
        2 => {
            let length = varint(rest)?;
            Some(take(rest, usize::try_from(length).ok()?)?)
        }
        5 => take(rest, 4).map(|_| None)?,
        _ => return None,
    };
    Some(Field { number, bytes })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut message = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        message.extend_from_slice(bytes);
        message
    }

    #[test]
    fn a_service_names_a_cluster() {
        let envoy = [message(1, b"auth"), message(2, b"auth.example.com")].concat();
        let header = [message(1, b"x-key"), message(2, b"value")].concat();
        let bytes = [message(1, &envoy), message(3, &[8, 1]), message(5, &header)].concat();
        let Some(Service::Envoy(found)) = service(&bytes) else {
            panic!("not read");
        };
        assert_eq!(
            (&*found.cluster, &*found.authority),
            ("auth", "auth.example.com")
        );
        assert_eq!(found.metadata, [(b"x-key".to_vec(), b"value".to_vec())]);
    }

    #[test]
    fn names_of_clusters_are_none() {
        for name in ["auth", "blue", "green-only", "grpc"] {
            assert_eq!(service(name.as_bytes()), None, "{name}");
        }
        assert_eq!(service(&message(2, b"google")), Some(Service::Other));
        assert_eq!(service(b""), Some(Service::Other));
        assert_eq!(
            service(&[0x0a, 0xff, 0xff, 0xff]),
            None,
            "a length without an end"
        );
    }
}
