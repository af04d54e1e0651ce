//! From files to keys, certificates and trust.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{TlsError, provider};
use crate::config::Data;
use crate::config::tls::{
    CommonTls, Identity, IdentitySource, SanMatch, Secret, SecretFile, Validation, load_secret,
};

/// What a TLS configuration is made of.
#[derive(Debug, Clone, Default)]
pub struct Materials {
    /// How this side proves who it is; none where it need not.
    pub identities: Vec<Arc<CertifiedKey>>,
    /// Whose certificates are trusted; `None` where any is.
    pub roots: Option<Arc<RootCertStore>>,
    /// `match_typed_subject_alt_names`.
    pub sans: Vec<SanMatch>,
}

/// What was found.
pub(super) struct Loaded {
    pub(super) materials: Result<Materials, TlsError>,
    /// Another one where any file says something else.
    pub(super) digest: u64,
    pub(super) directories: BTreeSet<PathBuf>,
}

/// Reads files and notes what they say and where they are.
struct Files {
    hasher: DefaultHasher,
    directories: BTreeSet<PathBuf>,
}

/// Reads everything that a context names.
///
/// # Errors
/// Where a file cannot be read, which may be between two moves: nothing is known then.
pub(super) fn load(common: &CommonTls) -> Result<Loaded, TlsError> {
    let mut files = Files {
        hasher: DefaultHasher::new(),
        directories: BTreeSet::new(),
    };
    let mut identities = Vec::new();
    for source in &common.identities {
        let identity = match source {
            IdentitySource::Static(identity) => identity.clone(),
            IdentitySource::Discovered(file) => match files.secret(file)? {
                Secret::Identity(identity) => identity,
                Secret::Validation(_) => return Err(kind(file, "tls_certificate")),
            },
        };
        let pem = files.identity(&identity)?;
        identities.push((identity, pem));
    }
    let validation = match &common.validation {
        None => None,
        Some(source) => {
            let found = match &source.discovered {
                None => None,
                Some(file) => match files.secret(file)? {
                    Secret::Validation(validation) => Some(validation),
                    Secret::Identity(_) => return Err(kind(file, "validation_context")),
                },
            };
            Some(merged(source.default.clone(), found))
        }
    };
    let trust = match &validation {
        Some(validation) => files.validation(validation)?,
        None => None,
    };
    let sans = validation.as_ref().map(|v| v.sans.clone());
    let materials = || {
        Ok(Materials {
            identities: identities
                .iter()
                .map(|(identity, (chain, key))| certified(identity, chain, key))
                .collect::<Result<_, _>>()?,
            roots: match (&validation, &trust) {
                (
                    Some(Validation {
                        trusted_ca: Some(ca),
                        accept_untrusted: false,
                        ..
                    }),
                    Some(pem),
                ) => Some(roots(ca, pem)?),
                _ => None,
            },
            sans: sans.unwrap_or_default(),
        })
    };
    Ok(Loaded {
        materials: materials(),
        digest: files.hasher.finish(),
        directories: files.directories,
    })
}

fn kind(file: &SecretFile, wanted: &'static str) -> TlsError {
    TlsError::Kind {
        path: file.path.clone(),
        wanted,
    }
}

/// What a file says over what the bootstrap says, as protobuf merges messages.
fn merged(default: Option<Validation>, found: Option<Validation>) -> Validation {
    let mut merged = default.unwrap_or_default();
    if let Some(found) = found {
        merged.trusted_ca = found.trusted_ca.or(merged.trusted_ca);
        merged.sans.extend(found.sans);
        merged.accept_untrusted |= found.accept_untrusted;
        merged.watched_directory = found.watched_directory.or(merged.watched_directory);
    }
    merged
}

// === impl Files ===

impl Files {
    /// Reads a secret's document, whose text is part of the digest too.
    fn secret(&mut self, file: &SecretFile) -> Result<Secret, TlsError> {
        self.read(&Data::File(file.path.clone()))?;
        self.directories.extend(file.watched_directory.clone());
        load_secret(file).map_err(TlsError::Secret)
    }

    fn identity(&mut self, identity: &Identity) -> Result<(Bytes, Bytes), TlsError> {
        self.directories.extend(identity.watched_directory.clone());
        Ok((self.read(&identity.chain)?, self.read(&identity.key)?))
    }

    fn validation(&mut self, validation: &Validation) -> Result<Option<Bytes>, TlsError> {
        self.directories
            .extend(validation.watched_directory.clone());
        validation
            .trusted_ca
            .as_ref()
            .map(|ca| self.read(ca))
            .transpose()
    }

    fn read(&mut self, data: &Data) -> Result<Bytes, TlsError> {
        let bytes = match data {
            Data::Inline(bytes) => bytes.clone(),
            Data::File(path) => {
                self.directories.insert(parent(path));
                let read = std::fs::read(path).map_err(|error| TlsError::Read {
                    path: path.clone(),
                    error,
                });
                Bytes::from(read?)
            }
        };
        self.hasher.write_usize(bytes.len());
        self.hasher.write(&bytes);
        Ok(bytes)
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Where data comes from, for messages.
fn place(data: &Data) -> String {
    match data {
        Data::File(path) => path.display().to_string(),
        Data::Inline(_) => "written in place".to_owned(),
    }
}

fn certified(identity: &Identity, chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
    let certificates = certificates("certificate_chain", &identity.chain, chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Pem {
        what: "private_key",
        place: place(&identity.key),
        expected: "a private key (PKCS #8, PKCS #1 or SEC 1)",
    })?;
    let unusable = |what| move |error| TlsError::Unusable { what, error };
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(unusable("private_key"))?;
    let certified = CertifiedKey::new(certificates, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(error) => return Err(unusable("certificate_chain and private_key")(error)),
    }
    Ok(Arc::new(certified))
}

fn certificates(
    what: &'static str,
    data: &Data,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsError::Pem {
            what,
            place: place(data),
            expected: "certificates",
        }),
    }
}

fn roots(data: &Data, pem: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates("trusted_ca", data, pem)? {
        store.add(certificate).map_err(|error| TlsError::Unusable {
            what: "trusted_ca",
            error,
        })?;
    }
    Ok(Arc::new(store))
}
