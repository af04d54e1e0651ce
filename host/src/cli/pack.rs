//! `switchover pack`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::pack::{self, Options, Variant};

/// Arguments of `switchover pack`.
#[derive(clap::Args)]
#[command(
    disable_version_flag = true,
    after_help = "The image is an OCI image layout: a directory that skopeo, crane, oras and others push. The same filter and \
options give the same bytes, so that the digest names the filter.

Examples:
  switchover pack dist/switchover.wasm -o image
  skopeo copy oci:image:0.1.0 docker://registry.example.com/switchover:0.1.0
  switchover pack filter.wasm -o image --variant oci --version 1.2.0 --root-id my_root
  switchover pack dist/switchover.wasm -o image --json | jq -r .digest

Exit code: 0 for an image, 1 where the file is no Proxy-Wasm filter or the directory cannot be written, 2 for wrong arguments."
)]
pub(super) struct PackArgs {
    /// A Proxy-Wasm module
    filter: PathBuf,
    /// The directory to make; it may be there, but empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// How the image holds the filter
    #[arg(long, value_enum, default_value_t)]
    variant: Variant,
    /// The image's tag; default: the version, else `latest`
    #[arg(long)]
    tag: Option<String>,
    /// The filter's version; default: what the filter says of itself
    #[arg(long)]
    version: Option<String>,
    /// The commit of the filter's sources; default: what the filter says of itself
    #[arg(long, value_name = "COMMIT")]
    revision: Option<String>,
    /// A root id that the filter serves, told to runtimes; may be repeated
    #[arg(long = "root-id", value_name = "ID")]
    root_ids: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `switchover pack`.
///
/// # Errors
/// The filter cannot be read or is none, or the directory cannot be written.
pub(super) fn run(args: &PackArgs) -> Result<ExitCode> {
    let name = args.filter.display();
    let filter = std::fs::read(&args.filter).with_context(|| format!("cannot read {name}"))?;
    let options = Options {
        variant: args.variant,
        tag: args.tag.clone(),
        version: args.version.clone(),
        revision: args.revision.clone(),
        root_ids: args.root_ids.clone(),
    };
    let image = pack::pack(&filter, &options).with_context(|| format!("cannot pack {name}"))?;
    image.write(&args.output)?;
    let directory = args.output.display();
    let mut out = anstream::stdout().lock();
    if args.json {
        let object = json!({
            "directory": args.output, "tag": image.tag, "digest": image.digest,
            "filter": {"bytes": filter.len(), "sha256": image.filter_sha256},
            "annotations": image.annotations,
        });
        writeln!(out, "{object:#}")?;
    } else {
        writeln!(out, "{directory}: {} {}", image.tag, image.digest)?;
        for (name, value) in &image.annotations {
            writeln!(out, "  {name}: {value}")?;
        }
        writeln!(
            out,
            "push it: skopeo copy oci:{directory}:{tag} docker://REGISTRY/NAME:{tag}",
            tag = image.tag
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
