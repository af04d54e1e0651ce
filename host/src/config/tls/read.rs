//! Reading TLS contexts.

use super::{
    CommonTls, DownstreamTls, Identity, IdentitySource, SanKind, SanMatch, SecretFile, UpstreamTls,
    Validation, ValidationSource, Version, Versions,
};
use crate::config::common;
use crate::config::facts::TlsAt;
use crate::config::reader::{Field, Object};
use crate::config::route::{self, ValueMatch};

/// The type of an upstream's `transport_socket`.
const UPSTREAM_URL: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

/// The type of a listener's.
const DOWNSTREAM_URL: &str =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// Reads a cluster's `transport_socket`.
pub(in crate::config) fn upstream(field: &Field<'_>) -> Option<UpstreamTls> {
    common::extension(field, UPSTREAM_URL, |o| {
        o.refuse(&["allow_renegotiation"], "TLS 1.3 has none; leave it out");
        o.refuse(
            &["max_session_keys", "enforce_rsa_key_usage"],
            "leave it out: sessions are resumed, and key usage is enforced",
        );
        let common = o.get("common_tls_context").and_then(|f| common(&f));
        let common = common.unwrap_or_default();
        if common.identities.len() > 1 {
            o.field().error("a client has one certificate at most");
        }
        if !common.verifies() {
            o.field().warning(
                "the upstream's certificate is not verified: without a validation_context Envoy takes any, and so does the host",
            );
        }
        UpstreamTls {
            sni: Some(o.text("sni")).filter(|sni| !sni.is_empty()),
            auto_host_sni: o.bool("auto_host_sni", false),
            auto_sni_san_validation: sni_validation(o, &common),
            common,
        }
    })
}

/// Reads a listener's `transport_socket`.
pub(in crate::config) fn downstream(field: &Field<'_>) -> Option<DownstreamTls> {
    common::extension(field, DOWNSTREAM_URL, |o| {
        o.refuse(
            &[
                "session_ticket_keys",
                "session_ticket_keys_sds_secret_config",
            ],
            "ticket keys are made at the start and change by themselves",
        );
        o.refuse(&["ocsp_staple_policy", "session_timeout"], "leave it out");
        o.refuse(
            &["full_scan_certs_on_sni_mismatch", "prefer_client_ciphers"],
            "leave it out: where no certificate is for the SNI, the first is shown",
        );
        o.get("disable_stateful_session_resumption")
            .and_then(|f| f.bool());
        let common = o.required("common_tls_context").and_then(|f| common(&f));
        let common = common.unwrap_or_default();
        if common.identities.is_empty() {
            o.field().error(
                "a listener needs a certificate: tls_certificates or tls_certificate_sds_secret_configs",
            );
        }
        DownstreamTls {
            require_client_certificate: o.bool("require_client_certificate", false),
            tickets: !o.bool("disable_stateless_session_resumption", false),
            common,
        }
    })
}

fn sni_validation(o: &Object<'_>, common: &CommonTls) -> bool {
    let Some(field) = o.get("auto_sni_san_validation") else {
        return false;
    };
    let wanted = field.bool() == Some(true);
    if wanted && !common.verifies() {
        field.error("needs a validation_context with trusted_ca");
    }
    wanted
}

/// Reads a `CommonTlsContext`, and notes it for `check`, which opens its files.
pub(in crate::config) fn common(field: &Field<'_>) -> Option<CommonTls> {
    let tls = field.object(|o| {
        refuse(o);
        CommonTls {
            versions: o
                .get("tls_params")
                .and_then(|f| f.object(versions))
                .unwrap_or_default(),
            identities: identities(o),
            validation: validation_source(o),
            alpn: o
                .list("alpn_protocols")
                .iter()
                .filter_map(|f| f.name())
                .map(|name| name.as_bytes().to_vec())
                .collect(),
        }
    })?;
    field.context().facts.tls.borrow_mut().push(TlsAt {
        common: tls.clone(),
        place: field.place(),
    });
    Some(tls)
}

fn refuse(o: &Object<'_>) {
    o.refuse(
        &[
            "tls_certificate_provider_instance",
            "validation_context_certificate_provider",
            "validation_context_certificate_provider_instance",
            "tls_certificate_certificate_provider",
            "tls_certificate_certificate_provider_instance",
            "custom_handshaker",
            "custom_tls_certificate_selector",
        ],
        "use tls_certificates or tls_certificate_sds_secret_configs with a file",
    );
    o.refuse(&["key_log"], "session keys are not written down");
}

fn versions(o: &Object<'_>) -> Versions {
    o.refuse(
        &["cipher_suites", "ecdh_curves", "signature_algorithms"],
        "rustls chooses among its own, all of them safe",
    );
    let default = Versions::default();
    let version = |name, default| {
        let names = [
            ("TLS_AUTO", default),
            ("TLSv1_2", Version::Tls12),
            ("TLSv1_3", Version::Tls13),
        ];
        o.get(name)
            .and_then(|f| f.choice(&names))
            .unwrap_or(default)
    };
    let versions = Versions {
        min: version("tls_minimum_protocol_version", default.min),
        max: version("tls_maximum_protocol_version", default.max),
    };
    if versions.min > versions.max {
        o.field()
            .error("tls_minimum_protocol_version must not be above tls_maximum_protocol_version");
    }
    versions
}

fn identities(o: &Object<'_>) -> Vec<IdentitySource> {
    let certificate = |f: &Field<'_>| f.object(certificate)?.map(IdentitySource::Static);
    let secret = |f: &Field<'_>| f.object(secret_file)?.map(IdentitySource::Discovered);
    match o.one_of(&["tls_certificates", "tls_certificate_sds_secret_configs"]) {
        None => Vec::new(),
        Some(("tls_certificates", list)) => list.items().iter().filter_map(certificate).collect(),
        Some((_, list)) => list.items().iter().filter_map(secret).collect(),
    }
}

/// Reads a `TlsCertificate`.
pub(super) fn certificate(o: &Object<'_>) -> Option<Identity> {
    o.refuse(
        &["password", "private_key_provider", "pkcs12"],
        "use private_key with a key in PEM that has no password",
    );
    o.refuse(
        &["ocsp_staple", "signed_certificate_timestamp"],
        "leave it out",
    );
    let chain = o
        .required("certificate_chain")
        .and_then(|f| common::data_source(&f));
    let key = o
        .required("private_key")
        .and_then(|f| common::data_source(&f));
    let watched_directory = common::watched_directory(o);
    Some(Identity {
        chain: chain?,
        key: key?,
        watched_directory,
    })
}

fn secret_file(o: &Object<'_>) -> Option<SecretFile> {
    let name = o.required_name("name");
    let source = o
        .required("sds_config")
        .and_then(|f| common::config_source(&f))?;
    Some(SecretFile {
        name,
        path: source.path,
        watched_directory: source.watched_directory,
    })
}

fn validation_source(o: &Object<'_>) -> Option<ValidationSource> {
    let (name, field) = o.one_of(&[
        "validation_context",
        "validation_context_sds_secret_config",
        "combined_validation_context",
    ])?;
    let source = field.object(|o| match name {
        "validation_context" => ValidationSource {
            default: Some(validation(o)),
            discovered: None,
        },
        "validation_context_sds_secret_config" => ValidationSource {
            default: None,
            discovered: secret_file(o),
        },
        _ => ValidationSource {
            default: o
                .required("default_validation_context")
                .and_then(|f| f.object(validation)),
            discovered: o
                .required("validation_context_sds_secret_config")
                .and_then(|f| f.object(secret_file)?),
        },
    })?;
    let only_default = source
        .default
        .as_ref()
        .filter(|_| source.discovered.is_none());
    if only_default.is_some_and(|v| v.trusted_ca.is_none() && !v.sans.is_empty()) {
        field.error(
            "match_typed_subject_alt_names needs a trusted_ca: without one anybody has any name",
        );
    }
    Some(source)
}

/// Reads a `CertificateValidationContext`.
pub(super) fn validation(o: &Object<'_>) -> Validation {
    o.refuse(
        &[
            "verify_certificate_spki",
            "verify_certificate_hash",
            "custom_validator_config",
            "ca_certificate_provider_instance",
            "system_root_certs",
        ],
        "use trusted_ca",
    );
    o.refuse(
        &[
            "crl",
            "require_signed_certificate_timestamp",
            "max_verify_depth",
            "only_verify_leaf_cert_crl",
        ],
        "leave it out",
    );
    o.refuse(
        &["match_subject_alt_names"],
        "deprecated; use match_typed_subject_alt_names",
    );
    o.only_bool("allow_expired_certificate", false);
    let chain = o
        .get("trust_chain_verification")
        .and_then(|f| f.choice(&[("VERIFY_TRUST_CHAIN", false), ("ACCEPT_UNTRUSTED", true)]));
    Validation {
        trusted_ca: o.get("trusted_ca").and_then(|f| common::data_source(&f)),
        sans: o
            .list("match_typed_subject_alt_names")
            .iter()
            .filter_map(san_match)
            .collect(),
        accept_untrusted: chain.unwrap_or(false),
        watched_directory: common::watched_directory(o),
    }
}

fn san_match(field: &Field<'_>) -> Option<SanMatch> {
    field.object(|o| {
        o.refuse(&["oid"], "san_type OTHER_NAME is not supported");
        let kinds = [
            ("DNS", SanKind::Dns),
            ("URI", SanKind::Uri),
            ("IP_ADDRESS", SanKind::Ip),
        ];
        let kind = o.required("san_type").and_then(|f| f.choice(&kinds));
        let matcher = o.required("matcher")?;
        let test = route::read_string_match(&matcher)?;
        let kind = kind?;
        if kind == SanKind::Ip {
            match &test {
                ValueMatch::Exact(text, _) if text.parse::<std::net::IpAddr>().is_ok() => {}
                _ => matcher.error("an IP_ADDRESS is matched by exact, with an IP address"),
            }
        }
        Some(SanMatch { kind, test })
    })?
}

// === impl CommonTls ===

impl CommonTls {
    /// Whether the peer's certificate is verified, as far as the bootstrap tells.
    fn verifies(&self) -> bool {
        self.validation.as_ref().is_some_and(|validation| {
            let default = validation.default.as_ref();
            validation.discovered.is_some() || default.is_some_and(|v| v.trusted_ca.is_some())
        })
    }

    /// Secrets that files discover.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretFile> {
        let identities = self
            .identities
            .iter()
            .filter_map(|identity| match identity {
                IdentitySource::Discovered(file) => Some(file),
                IdentitySource::Static(_) => None,
            });
        let validation = self.validation.as_ref().and_then(|v| v.discovered.as_ref());
        identities.chain(validation)
    }
}
