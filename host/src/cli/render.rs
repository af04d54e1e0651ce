//! `switchover render`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use clap::builder::PossibleValuesParser;
use tempfile::NamedTempFile;

use crate::render::{Code, Envoy, Gateway, Options, Place, Rendered, Target, Upstream, render};
use crate::rollout::{Loaded, timestamp};

const EXAMPLES: &str = "\
Examples:
  switchover render rollout.json --target envoy --output gateway \\
    --upstream blue=10.0.0.5:8080 --upstream green=10.0.0.6:8080
  switchover render rollout.json --target istio --image oci://registry.example.com/switchover:1.0.0 \\
    --upstream blue=blue:8080 --upstream green=green:8080 | kubectl apply -f -
  switchover render rollout.json --target envoy-gateway --image registry.example.com/switchover:1.0.0 \\
    --upstream blue=blue:8080 --upstream green=green:8080 --namespace shop --gateway infra/public
  switchover render rollout.json --target kubernetes-gateway --gateway public \\
    --upstream blue=blue:8080 --upstream green=green:8080

envoy writes envoy.yaml, for Envoy and for `switchover serve`, and rollout.yaml, the document that \
both watch. The others print objects for `kubectl apply`, or write them into one file. What a target \
does not do of what the document says stands on standard error, and as a comment in the file. \
Credentials are written as variables of the proxy; a document that holds a value is refused.

Exit code: 0 where everything was rendered, 1 where nothing was, 2 for wrong arguments.";

const ENVOY: &str = "envoy";
const ISTIO: &str = "istio";
const ENVOY_GATEWAY: &str = "envoy-gateway";
const KUBERNETES_GATEWAY: &str = "kubernetes-gateway";
const TARGETS: [&str; 4] = [ENVOY, ISTIO, ENVOY_GATEWAY, KUBERNETES_GATEWAY];

/// Arguments of `switchover render`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RenderArgs {
    /// The rollout document, or the ECDS file that holds it
    document: PathBuf,
    /// What the files are for
    #[arg(long, value_parser = PossibleValuesParser::new(TARGETS))]
    target: String,
    /// Where an environment, or one of its clusters, is; again for each address. A name without a dot is a Service of
    /// the namespace where the target is Kubernetes
    #[arg(long = "upstream", value_name = "NAME=HOST:PORT", value_parser = Upstream::parse)]
    upstreams: Vec<Upstream>,
    /// Write into this directory instead of standard output; envoy needs it
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace files that are there already
    #[arg(long, requires = "output")]
    force: bool,
    /// What the names of new objects begin with, also the proxy's own
    #[arg(long, default_value = "switchover", value_parser = label)]
    name: String,
    /// A host that the document's rollouts are for, where they name none; default: all
    #[arg(long = "host", value_name = "HOST", value_parser = host)]
    hosts: Vec<String>,
    #[command(flatten)]
    envoy: EnvoyArgs,
    #[command(flatten)]
    kubernetes: KubernetesArgs,
}

/// What a proxy with files needs.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Only for envoy")]
struct EnvoyArgs {
    /// The filter, as the proxy is to find it [default: dist/switchover.wasm]
    #[arg(long, value_name = "FILE")]
    filter: Option<PathBuf>,
    /// The gateway's address [default: 127.0.0.1:10000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The admin's address [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

/// What Kubernetes objects need.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Only for istio, envoy-gateway and kubernetes-gateway")]
struct KubernetesArgs {
    /// Where the filter is: an image, or http(s)://…/switchover.wasm, or for istio file://…; not for kubernetes-gateway
    #[arg(long, value_name = "URL", value_parser = image)]
    image: Option<String>,
    /// The SHA-256 digest that it must have; not for kubernetes-gateway
    #[arg(long, value_name = "HEX", value_parser = digest)]
    sha256: Option<String>,
    /// The namespace of all objects [default: default]
    #[arg(long, value_name = "NAME", value_parser = label)]
    namespace: Option<String>,
    /// A gateway that is there already; without it, one is made too
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = gateway, conflicts_with = "gateway_class")]
    gateway: Option<Gateway>,
    /// The class of the gateway that is made; not for istio [default for envoy-gateway: eg]
    #[arg(long, value_name = "NAME", value_parser = label)]
    gateway_class: Option<String>,
    /// The label of the gateway's pods; only for istio [default: istio=ingressgateway]
    #[arg(long, value_name = "KEY=VALUE", value_parser = pod_label)]
    selector: Option<(String, String)>,
}

/// Renders a document, and prints or writes it.
///
/// # Errors
/// The document is wrong, options are missing, the target cannot say what it says, or a file cannot be written.
pub(super) fn run(args: &RenderArgs) -> Result<ExitCode> {
    let loaded = Loaded::read(&args.document)?;
    let options = Options {
        target: args.target()?,
        name: args.name.clone(),
        upstreams: args.upstreams.clone(),
        hosts: args.hosts.clone(),
    };
    let rendered = render(&loaded, &options)?;
    match &args.output {
        Some(directory) => write(directory, &rendered, args.force)?,
        None => {
            let mut out = std::io::stdout().lock();
            for file in &rendered.files {
                out.write_all(file.text.as_bytes())?;
            }
            out.flush()?;
        }
    }
    for note in &rendered.notes {
        anstream::eprintln!("note: {note}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Moves each file to its place: a proxy that watches it sees all of it or nothing.
fn write(directory: &Path, rendered: &Rendered, force: bool) -> Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("the directory {} cannot be made", directory.display()))?;
    let paths = || {
        rendered
            .files
            .iter()
            .map(|file| (file, directory.join(file.name)))
    };
    if let Some((_, path)) = paths().find(|(_, path)| !force && path.exists()) {
        bail!(
            "{} is there already, and nothing was written: --force replaces it, and what has been changed in it",
            path.display()
        );
    }
    for (file, path) in paths() {
        let failed = || format!("{} cannot be written", path.display());
        let mut new = NamedTempFile::new_in(directory).with_context(failed)?;
        new.write_all(file.text.as_bytes()).with_context(failed)?;
        // As any file that a program makes; the temporary one is its owner's alone.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        new.as_file().set_permissions(mode).with_context(failed)?;
        new.persist(&path).with_context(failed)?;
        println!("{}", path.display());
    }
    Ok(())
}

// === impl RenderArgs ===

impl RenderArgs {
    fn target(&self) -> Result<Target> {
        self.refuse_foreign()?;
        match self.target.as_str() {
            ENVOY => self.envoy(),
            ISTIO => Ok(Target::Istio {
                place: self.place(Some("istio"))?,
                code: self.code()?,
                selector: self
                    .kubernetes
                    .selector
                    .clone()
                    .unwrap_or_else(|| ("istio".to_owned(), "ingressgateway".to_owned())),
            }),
            ENVOY_GATEWAY => Ok(Target::EnvoyGateway {
                place: self.place(Some("eg"))?,
                code: self.code()?,
            }),
            _ => Ok(Target::KubernetesGateway {
                place: self.place(None)?,
                now: timestamp(SystemTime::now()),
            }),
        }
    }

    fn envoy(&self) -> Result<Target> {
        let directory = self.output.clone().with_context(|| {
            "the target envoy makes two files: say --output DIR, the directory that the proxy finds them in"
        })?;
        let or = |address: Option<SocketAddr>, port| {
            address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], port)))
        };
        Ok(Target::Envoy(Envoy {
            directory,
            filter: self
                .envoy
                .filter
                .clone()
                .unwrap_or_else(|| "dist/switchover.wasm".into()),
            listen: or(self.envoy.listen, 10000),
            admin: or(self.envoy.admin, 9901),
        }))
    }

    fn place(&self, class: Option<&str>) -> Result<Place> {
        let kubernetes = &self.kubernetes;
        let gateway = match &kubernetes.gateway {
            Some(gateway) => gateway.clone(),
            None => {
                let class = kubernetes.gateway_class.as_deref().or(class);
                let class = class.with_context(|| {
                    let target = &self.target;
                    format!("the target {target} needs --gateway NAME, or --gateway-class NAME to make one")
                })?;
                Gateway::New {
                    class: class.to_owned(),
                }
            }
        };
        let namespace = kubernetes.namespace.clone();
        Ok(Place {
            namespace: namespace.unwrap_or_else(|| "default".to_owned()),
            gateway,
        })
    }

    fn code(&self) -> Result<Code> {
        let url = self.kubernetes.image.clone().with_context(|| {
            format!(
                "the target {} needs --image URL: where it finds the filter",
                self.target
            )
        })?;
        let is_file = url.starts_with("file://");
        if is_file && self.target != ISTIO {
            bail!(
                "--image {url}: only istio reads files; {} takes an image or http(s)://…",
                self.target
            );
        }
        Ok(Code {
            url,
            sha256: self.kubernetes.sha256.clone(),
        })
    }

    /// What is said and would be ignored is a mistake.
    fn refuse_foreign(&self) -> Result<()> {
        let (envoy, kubernetes) = (&self.envoy, &self.kubernetes);
        let with_filter = &[ISTIO, ENVOY_GATEWAY][..];
        let gateways = &[ENVOY_GATEWAY, KUBERNETES_GATEWAY][..];
        let options = [
            ("--filter", envoy.filter.is_some(), &[ENVOY][..]),
            ("--listen", envoy.listen.is_some(), &[ENVOY]),
            ("--admin", envoy.admin.is_some(), &[ENVOY]),
            ("--image", kubernetes.image.is_some(), with_filter),
            ("--sha256", kubernetes.sha256.is_some(), with_filter),
            ("--namespace", kubernetes.namespace.is_some(), &TARGETS[1..]),
            ("--gateway", kubernetes.gateway.is_some(), &TARGETS[1..]),
            (
                "--gateway-class",
                kubernetes.gateway_class.is_some(),
                gateways,
            ),
            ("--selector", kubernetes.selector.is_some(), &[ISTIO]),
        ];
        let foreign = options
            .iter()
            .find(|(_, said, targets)| *said && !targets.contains(&self.target.as_str()));
        match foreign {
            Some((option, _, targets)) => {
                bail!(
                    "{option} is not for the target {}, only for {}",
                    self.target,
                    targets.join(", ")
                )
            }
            None => Ok(()),
        }
    }
}

/// A name of Kubernetes' own form: letters, digits and `-`.
fn label(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=40).contains(&text.len())
        && text.bytes().all(inner)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-');
    if fits {
        return Ok(text.to_owned());
    }
    Err(
        "expected 1 to 40 of the characters a-z, 0-9 and `-`, a letter first and no `-` last"
            .to_owned(),
    )
}

fn host(text: &str) -> Result<String, String> {
    let pattern = switchover_core::document::HostPattern::new(text);
    let pattern = pattern.map(|pattern| pattern.as_str().to_owned());
    pattern.ok_or_else(|| {
        "expected a host name in small letters without a port, or `*.` and a suffix".to_owned()
    })
}

fn image(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let known = text
        .split_once("://")
        .is_none_or(|(scheme, _)| ["oci", "http", "https", "file"].contains(&scheme));
    if fits && known {
        return Ok(text.to_owned());
    }
    Err("expected an image such as registry.example.com/switchover:1.0.0, or a URL: oci, http, https or file".to_owned())
}

fn digest(text: &str) -> Result<String, String> {
    let text = text
        .strip_prefix("sha256:")
        .unwrap_or(text)
        .to_ascii_lowercase();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text);
    }
    Err("expected 64 hexadecimal digits".to_owned())
}

fn gateway(text: &str) -> Result<Gateway, String> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(label(namespace)?), name),
        None => (None, text),
    };
    Ok(Gateway::Existing {
        namespace,
        name: label(name)?,
    })
}

fn pod_label(text: &str) -> Result<(String, String), String> {
    let fits = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
    };
    match text.split_once('=') {
        Some((key, value)) if fits(key) && fits(value) => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, such as istio=ingressgateway".to_owned()),
    }
}
