//! OCI images of filters, by the two variants of the Wasm Image Specification that Istio and Envoy Gateway pull.
//!
//! Sources: `spec/spec-compat.md` and `spec/spec.md` of github.com/solo-io/wasm for what an image holds;
//! `pkg/wasm/imagefetcher.go` of github.com/istio/istio and `internal/wasm/imagefetcher.go` of
//! github.com/envoyproxy/gateway for what is read of it.
//!
//! The same filter and options give the same bytes: nothing of the time, the machine or the user goes into them.

mod layer;
mod layout;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;

use oci_spec::image::{
    ANNOTATION_REF_NAME, ANNOTATION_REVISION, ANNOTATION_TITLE, ANNOTATION_VERSION, Arch,
    Descriptor, ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, Os,
    RootFsBuilder,
};
use serde::Serialize;
use serde_json::json;

use crate::inspect::{Report, inspect};
use layout::Blobs;

/// The annotation by which tools tell the compat variant.
const ANNOTATION_VARIANT: &str = "module.wasm.image/variant";
/// The annotation that holds the SHA-256 of the filter itself, which is not that of the image.
const ANNOTATION_FILTER: &str = "switchover.filter.sha256";
/// The media type of the oci variant's first layer.
const CONFIG_LAYER: &str = "application/vnd.module.wasm.config.v1+json";
/// The media type of its second.
const CONTENT_LAYER: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
/// The filter's name in an image: what Istio looks for.
const PLUGIN: &str = "plugin.wasm";
/// The name of what tells a runtime about the filter.
const RUNTIME_CONFIG: &str = "runtime-config.json";
/// The schema of manifests and indexes.
const SCHEMA_VERSION: u32 = 2;
/// The most characters of a tag.
const LONGEST_TAG: usize = 128;

/// How an image holds its filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Variant {
    /// A tar.gz layer, for every registry and tool
    #[default]
    Compat,
    /// Layers of their own media types, for registries that take artifacts
    Oci,
}

/// What is said about a filter in its image.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How the image holds it.
    pub variant: Variant,
    /// The image's tag; by default the version, else `latest`.
    pub tag: Option<String>,
    /// The filter's version; by default what the filter says.
    pub version: Option<String>,
    /// The commit of its sources; by default what the filter says.
    pub revision: Option<String>,
    /// The root ids that it serves.
    pub root_ids: Vec<String>,
}

/// An image in memory.
#[derive(Debug)]
pub struct Image {
    /// Its tag in the layout.
    pub tag: String,
    /// The manifest's digest, with which registries and Istio's `sha256` name the image: `sha256:…`.
    pub digest: String,
    /// The filter's own SHA-256, in hexadecimal.
    pub filter_sha256: String,
    /// The manifest's annotations.
    pub annotations: BTreeMap<String, String>,
    index: Vec<u8>,
    blobs: Blobs,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is no filter that Envoy would load.
    #[error("it is no Proxy-Wasm filter that Envoy loads: {}", .0.join("; "))]
    NotAFilter(Vec<String>),
    /// The tag is none.
    #[error(
        "{0:?} is no tag: at most {LONGEST_TAG} letters, digits, `_`, `.` and `-`, neither of the last two in the beginning"
    )]
    Tag(String),
    /// The directory holds something.
    #[error("{} is not empty: name a new directory, or remove this one", .0.display())]
    NotEmpty(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The image cannot be put together.
    #[error("cannot put the image together: {0}")]
    Image(#[from] oci_spec::OciSpecError),
    /// A layer cannot be packed.
    #[error("cannot pack the layer: {0}")]
    Layer(#[from] io::Error),
    /// A part of it cannot be written as JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Packs a filter's bytes.
///
/// # Errors
/// [`Error::NotAFilter`] with all reasons where Envoy would not load it; [`Error::Tag`].
pub fn pack(filter: &[u8], options: &Options) -> Result<Image, Error> {
    let report = inspect(filter);
    if !report.loads_in_envoy.loads {
        return Err(Error::NotAFilter(report.loads_in_envoy.reasons));
    }
    let build = report.module.as_ref().and_then(|m| m.build.clone());
    let build = build.unwrap_or_default();
    let version = options.version.clone().or(build.version);
    let tag = options.tag.clone().or(version.clone());
    let tag = tag.unwrap_or_else(|| "latest".to_owned());
    if !is_tag(&tag) {
        return Err(Error::Tag(tag));
    }
    let mut annotations = BTreeMap::from([(ANNOTATION_FILTER.to_owned(), report.sha256.clone())]);
    let mut annotate = |name: &str, value: Option<String>| {
        annotations.extend(value.map(|value| (name.to_owned(), value)));
    };
    annotate(ANNOTATION_TITLE, build.name);
    annotate(ANNOTATION_VERSION, version);
    annotate(
        ANNOTATION_REVISION,
        options.revision.clone().or(build.commit),
    );
    if options.variant == Variant::Compat {
        annotate(ANNOTATION_VARIANT, Some("compat".to_owned()));
    }

    let mut blobs = Blobs::default();
    let runtime = runtime_config(&report, &options.root_ids)?;
    let (config, layers) = match options.variant {
        Variant::Compat => compat(&mut blobs, filter, &runtime)?,
        Variant::Oci => oci(&mut blobs, filter, &runtime)?,
    };
    let mut manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(layers)
        .annotations(HashMap::from_iter(annotations.clone()))
        .build()?;
    if options.variant == Variant::Oci {
        // Whose configuration is empty must say what it is.
        manifest.set_artifact_type(Some(MediaType::from(CONTENT_LAYER)));
    }
    let mut manifest = blobs.add(MediaType::ImageManifest, sorted(&manifest)?)?;
    let digest = manifest.digest().to_string();
    manifest.set_annotations(Some([(ANNOTATION_REF_NAME.to_owned(), tag.clone())].into()));
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests([manifest])
        .build()?;
    Ok(Image {
        tag,
        digest,
        filter_sha256: report.sha256,
        annotations,
        index: sorted(&index)?,
        blobs,
    })
}

/// One layer that tools for container images can read, with both files in it.
fn compat(
    blobs: &mut Blobs,
    filter: &[u8],
    runtime: &[u8],
) -> Result<(Descriptor, Vec<Descriptor>), Error> {
    let files = [(PLUGIN, filter), (RUNTIME_CONFIG, runtime)];
    let tar = layer::tar(&files)?;
    let rootfs = RootFsBuilder::default()
        .diff_ids([layout::digest(&tar)?.to_string()])
        .build()?;
    // A module is of no platform, but an image must name one: the one that Docker and Buildah write by default.
    let config = ImageConfigurationBuilder::default()
        .architecture(Arch::Amd64)
        .os(Os::Linux)
        .rootfs(rootfs)
        .build()?;
    let config = blobs.add(MediaType::ImageConfig, sorted(&config)?)?;
    let layer = blobs.add(MediaType::ImageLayerGzip, layer::gzip(&tar)?)?;
    Ok((config, vec![layer]))
}

/// A layer for each of the files, just as they are. Istio insists on two.
fn oci(
    blobs: &mut Blobs,
    filter: &[u8],
    runtime: &[u8],
) -> Result<(Descriptor, Vec<Descriptor>), Error> {
    let config = blobs.add(MediaType::EmptyJSON, b"{}".to_vec())?;
    let mut layers = Vec::new();
    for (media_type, name, bytes) in [
        (CONFIG_LAYER, RUNTIME_CONFIG, runtime),
        (CONTENT_LAYER, PLUGIN, filter),
    ] {
        let mut layer = blobs.add(MediaType::from(media_type), bytes.to_vec())?;
        layer.set_annotations(Some(
            [(ANNOTATION_TITLE.to_owned(), name.to_owned())].into(),
        ));
        layers.push(layer);
    }
    Ok((config, layers))
}

/// What the specification has runtimes told.
fn runtime_config(report: &Report, root_ids: &[String]) -> Result<Vec<u8>, Error> {
    let markers = report.module.iter().flat_map(|m| &m.abi.markers);
    let versions: Vec<_> = markers
        .map(|marker| {
            marker
                .trim_start_matches("proxy_abi_version_")
                .replace('_', ".")
        })
        .collect();
    sorted(&json!({
        "type": "envoy_proxy",
        "abiVersions": versions,
        "config": {"root_ids": root_ids},
    }))
}

/// JSON with its members in order: the builders keep annotations in maps that have none.
fn sorted(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let value = serde_json::to_value(value)?;
    Ok(serde_json::to_vec(&value)?)
}

/// The OCI distribution specification's `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn is_tag(tag: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !tag.is_empty()
        && tag.len() <= LONGEST_TAG
        && tag.chars().all(is_inner)
        && !tag.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests;
