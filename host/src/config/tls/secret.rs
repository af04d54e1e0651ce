//! Documents of file-based secret discovery (SDS).

use std::path::Path;

use super::read::{certificate, validation};
use super::{Identity, SecretFile, Validation};
use crate::config::reader::{Context, Field};
use crate::config::{Problem, discovery, read_file, split, with_root};

/// The type of a secret.
const SECRET_URL: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// `envoy.extensions.transport_sockets.tls.v3.Secret`.
#[derive(Debug, Clone)]
pub enum Secret {
    /// `tls_certificate`.
    Identity(Identity),
    /// `validation_context`.
    Validation(Validation),
}

/// Reads the document of a secret.
///
/// # Errors
/// All problems of the document, each with its line and path.
pub fn load(file: &SecretFile) -> Result<Secret, Vec<Problem>> {
    let text = read_file(&file.path).map_err(|problem| vec![problem])?;
    load_text(&file.path, &text, &file.name)
}

fn load_text(path: &Path, text: &str, name: &str) -> Result<Secret, Vec<Problem>> {
    let (secret, _, problems) = with_root(Context::new(path, &|_| None), text, |root| {
        secret(&discovery::resource(root, SECRET_URL)?, name)
    });
    let (errors, _) = split(problems);
    match secret.flatten() {
        Some(secret) if errors.is_empty() => Ok(secret),
        _ => Err(errors),
    }
}

fn secret(field: &Field<'_>, wanted: &str) -> Option<Secret> {
    field.any(SECRET_URL, |o| {
        o.refuse(
            &["session_ticket_keys", "generic_secret"],
            "a secret is a tls_certificate or a validation_context here",
        );
        if let Some(name) = o.get("name")
            && name.name().is_some_and(|name| name != wanted)
        {
            name.error(format!("must be the name that asks for it, {wanted:?}"));
        }
        match o.required_one_of(&["tls_certificate", "validation_context"])? {
            ("tls_certificate", f) => f.object(certificate)?.map(Secret::Identity),
            (_, f) => f.object(validation).map(Secret::Validation),
        }
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_holds_one_secret_of_the_name() {
        let document = |name: &str| {
            format!(
                "resources:\n- \"@type\": {SECRET_URL}\n  name: {name}\n  tls_certificate:\n    \
                 certificate_chain: {{filename: c.pem}}\n    private_key: {{filename: k.pem}}\n"
            )
        };
        let read = |text: &str| load_text(Path::new("s.yaml"), text, "server");
        assert!(matches!(read(&document("server")), Ok(Secret::Identity(_))));
        let problems = read(&document("other")).unwrap_err();
        assert_eq!(
            problems[0].to_string(),
            "s.yaml:3: resources[0].name: must be the name that asks for it, \"server\""
        );
    }
}
