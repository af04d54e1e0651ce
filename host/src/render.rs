//! `switchover render`: a rollout document as the files of a proxy, or as the objects of a control plane.
//!
//! Each target has a template, a file of its own format with comments; what goes into it is written as JSON, which is
//! YAML. Decisions are made here, in `model` and in the target's module; templates only say how they are written.

mod document;
mod envoy;
mod gateway_api;
mod istio;
mod kubernetes;
mod model;
mod notes;
mod template;
#[cfg(test)]
mod tests;
pub mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;

use switchover_core::Timestamp;

pub use notes::Note;
pub use upstream::Upstream;

use crate::config::Problem;
use crate::rollout::Loaded;
use model::Model;

/// What files are made for.
#[derive(Debug, Clone)]
pub enum Target {
    /// A bootstrap and an ECDS document, for Envoy and for `switchover serve`.
    Envoy(Envoy),
    /// Istio's own objects.
    Istio {
        /// Where they belong.
        place: Place,
        /// The filter.
        code: Code,
        /// The label of the gateway's pods, such as `istio` and `ingressgateway`.
        selector: (String, String),
    },
    /// Objects of Envoy Gateway and of the Gateway API.
    EnvoyGateway {
        /// Where they belong.
        place: Place,
        /// The filter.
        code: Code,
    },
    /// Objects of the Gateway API alone, without a filter.
    KubernetesGateway {
        /// Where they belong.
        place: Place,
        /// The present, at which shares are looked at.
        now: Timestamp,
    },
}

/// Files for a proxy that reads files.
#[derive(Debug, Clone)]
pub struct Envoy {
    /// Where they will be, as the proxy says it.
    pub directory: PathBuf,
    /// The filter's Wasm file, as the proxy says it.
    pub filter: PathBuf,
    /// The listener's address.
    pub listen: SocketAddr,
    /// The admin's address.
    pub admin: SocketAddr,
}

/// Where Kubernetes objects belong.
#[derive(Debug, Clone)]
pub struct Place {
    /// Their namespace.
    pub namespace: String,
    /// The gateway that requests come through.
    pub gateway: Gateway,
}

/// The gateway that requests come through.
#[derive(Debug, Clone)]
pub enum Gateway {
    /// One that is there already, perhaps in a namespace of its own.
    Existing {
        /// Its namespace; that of the other objects if `None`.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
    /// One that is made too, of this class where the target has classes.
    New {
        /// `gatewayClassName`.
        class: String,
    },
}

/// Where a control plane finds the filter.
#[derive(Debug, Clone)]
pub struct Code {
    /// An image, or a URL with its scheme.
    pub url: String,
    /// The digest that it must have, in hexadecimal.
    pub sha256: Option<String>,
}

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Options {
    /// For what.
    pub target: Target,
    /// What all names of new things begin with.
    pub name: String,
    /// Where the environments are.
    pub upstreams: Vec<Upstream>,
    /// The hosts of rollouts that name none; all if empty.
    pub hosts: Vec<String>,
}

/// A file that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name, without a directory.
    pub name: &'static str,
    /// Its text.
    pub text: String,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The files, at least one.
    pub files: Vec<File>,
    /// What the target does not do of what the document says, and what else there is to do; the files say it as well.
    pub notes: Vec<Note>,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// `render` writes no secrets: name a variable (`env`) instead of a value.
    #[error("nothing was rendered, for the document holds secrets:\n{}", lines(.0))]
    Secrets(Vec<Problem>),
    /// Upstreams that fit nothing, or are missing.
    #[error("{0}")]
    Upstream(String),
    /// The target has no words for it: the message says what would do.
    #[error("{target} cannot express this document: {message}")]
    Unfit {
        /// The target's name.
        target: &'static str,
        /// What, and what would be right.
        message: String,
    },
    /// A template does not fit what goes into it: a mistake of this program.
    #[error("the template of {0} is wrong")]
    Template(&'static str, #[source] minijinja::Error),
}

fn lines(problems: &[Problem]) -> String {
    let lines = problems.iter().map(|p| format!("  {p}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Makes the files of a target from a document.
///
/// # Errors
/// The document holds secrets, upstreams do not fit it, or the target cannot say what it says.
pub fn render(loaded: &Loaded, options: &Options) -> Result<Rendered, RenderError> {
    let secrets = document::secrets(loaded);
    if !secrets.is_empty() {
        return Err(RenderError::Secrets(secrets));
    }
    let model = Model::new(loaded, options)?;
    match &options.target {
        Target::Envoy(envoy) => envoy::render(loaded, &model, options, envoy),
        Target::Istio {
            place,
            code,
            selector,
        } => istio::render(loaded, &model, options, place, code, selector),
        Target::EnvoyGateway { place, code } => {
            gateway_api::with_filter(loaded, &model, options, place, code)
        }
        Target::KubernetesGateway { place, now } => {
            gateway_api::without_filter(loaded, &model, options, place, *now)
        }
    }
}

// === impl Target ===

impl Target {
    /// Its name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Envoy(_) => "envoy",
            Self::Istio { .. } => "istio",
            Self::EnvoyGateway { .. } => "envoy-gateway",
            Self::KubernetesGateway { .. } => "kubernetes-gateway",
        }
    }
}
