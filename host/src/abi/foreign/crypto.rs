//! Signatures: RSA (PKCS#1 v1.5) and ECDSA (P-256, P-384), over SHA-256, SHA-384 and SHA-512.
//!
//! Envoy has SHA-1, SHA-224 and other curves besides, which no library in use here offers: they are "not supported" as
//! unknown hash functions are.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use rustls::sign::SigningKey;
use webpki::{RawPublicKeyEntity, ring};

use crate::abi::Status;

/// A key as it was given.
pub(super) enum Key<'a> {
    Der(&'a [u8]),
    Pem(&'a str),
}

/// Verifies.
pub(super) struct PublicKey(SubjectPublicKeyInfoDer<'static>);

/// Signs.
pub(super) struct PrivateKey(Arc<dyn SigningKey>);

/// The one that was given.
pub(super) fn key<'a>(der: &'a [u8], pem: &'a str) -> Result<Key<'a>, Status> {
    match (der, pem) {
        ([], "") => Err(Status::BadArgument),
        (der, "") => Ok(Key::Der(der)),
        ([], pem) => Ok(Key::Pem(pem)),
        _ => Err(Status::BadArgument),
    }
}

fn unsupported(hash: &str) -> String {
    format!("{hash} is not supported.")
}

impl PublicKey {
    pub(super) fn read(key: &Key<'_>) -> Option<Self> {
        let der = match key {
            Key::Der(der) => SubjectPublicKeyInfoDer::from(*der).into_owned(),
            Key::Pem(pem) => SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?,
        };
        RawPublicKeyEntity::try_from(&der).ok()?;
        Some(Self(der))
    }

    /// Why `signature` is not that of `text`, if it is not.
    pub(super) fn verify(&self, hash: &str, signature: &[u8], text: &[u8]) -> Result<(), String> {
        let algorithms: &[&dyn SignatureVerificationAlgorithm] =
            match hash.to_ascii_lowercase().as_str() {
                "sha256" => &[
                    ring::RSA_PKCS1_2048_8192_SHA256,
                    ring::ECDSA_P256_SHA256,
                    ring::ECDSA_P384_SHA256,
                ],
                "sha384" => &[
                    ring::RSA_PKCS1_2048_8192_SHA384,
                    ring::ECDSA_P256_SHA384,
                    ring::ECDSA_P384_SHA384,
                ],
                "sha512" => &[ring::RSA_PKCS1_2048_8192_SHA512],
                _ => return Err(unsupported(hash)),
            };
        let key = RawPublicKeyEntity::try_from(&self.0);
        let key = key.map_err(|_| "Failed to initialize digest verify.".to_owned())?;
        let valid = algorithms
            .iter()
            .any(|algorithm| key.verify_signature(*algorithm, text, signature).is_ok());
        match valid {
            true => Ok(()),
            false => Err("Failed to verify digest. Error code: 0".to_owned()),
        }
    }
}

impl PrivateKey {
    pub(super) fn read(key: &Key<'_>) -> Option<Self> {
        let der = match key {
            Key::Der(der) => PrivateKeyDer::try_from(*der).ok()?.clone_key(),
            Key::Pem(pem) => PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?,
        };
        any_supported_type(&der).ok().map(Self)
    }

    /// The signature of `text`, or why there is none.
    pub(super) fn sign(&self, hash: &str, text: &[u8]) -> Result<Vec<u8>, String> {
        let schemes: &[SignatureScheme] = match hash.to_ascii_lowercase().as_str() {
            "sha256" => &[
                SignatureScheme::RSA_PKCS1_SHA256,
                SignatureScheme::ECDSA_NISTP256_SHA256,
            ],
            "sha384" => &[
                SignatureScheme::RSA_PKCS1_SHA384,
                SignatureScheme::ECDSA_NISTP384_SHA384,
            ],
            "sha512" => &[SignatureScheme::RSA_PKCS1_SHA512],
            _ => return Err(unsupported(hash)),
        };
        let signer = self
            .0
            .choose_scheme(schemes)
            .ok_or_else(|| unsupported(hash))?;
        signer
            .sign(text)
            .map_err(|_| "Failed to create signature.".to_owned())
    }
}
