//! An image as a directory: OCI's image layout.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::image::{Descriptor, Digest, MediaType, Sha256Digest};
use sha2::{Digest as _, Sha256};

use super::{Error, Image};

/// What marks a layout, in the file `oci-layout`.
const MARK: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// Layouts hold nothing that is secret.
const MODE: u32 = 0o755;

/// Contents by their SHA-256, in hexadecimal.
#[derive(Debug, Default)]
pub(super) struct Blobs(BTreeMap<String, Vec<u8>>);

/// Bytes' digest.
pub(super) fn digest(bytes: &[u8]) -> Result<Digest, OciSpecError> {
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex.parse::<Sha256Digest>()?.into())
}

// === impl Blobs ===

impl Blobs {
    /// Takes one in, and says what it is.
    pub(super) fn add(
        &mut self,
        media_type: MediaType,
        bytes: Vec<u8>,
    ) -> Result<Descriptor, OciSpecError> {
        let digest = digest(&bytes)?;
        let size = bytes.len() as u64;
        self.0.insert(digest.digest().to_owned(), bytes);
        Ok(Descriptor::new(media_type, size, digest))
    }
}

// === impl Image ===

impl Image {
    /// Writes the image into a directory that is not there yet, or empty: all of it, or nothing.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::Write`].
    pub fn write(&self, directory: &Path) -> Result<(), Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Write { path, source }
        };
        let is_taken = match fs::read_dir(directory) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(directory)(error)),
        };
        if is_taken {
            return Err(Error::NotEmpty(directory.to_owned()));
        }
        let parent = match directory.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(failed(parent))?;
        let staged = tempfile::Builder::new()
            .prefix(".switchover-pack-")
            .tempdir_in(parent)
            .map_err(failed(parent))?;
        let blobs = staged.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(failed(&blobs))?;
        let all = self.blobs.0.iter();
        let mut files: Vec<(PathBuf, &[u8])> = all
            .map(|(digest, bytes)| (blobs.join(digest), bytes.as_slice()))
            .collect();
        files.push((staged.path().join("index.json"), &self.index));
        files.push((staged.path().join("oci-layout"), MARK));
        for (path, bytes) in files {
            fs::write(&path, bytes).map_err(failed(&path))?;
        }
        fs::set_permissions(staged.path(), fs::Permissions::from_mode(MODE))
            .and_then(|()| fs::rename(staged.path(), directory))
            .map_err(failed(directory))?;
        // It is not there under its first name any more, so there is nothing to be removed.
        let _ = staged.keep();
        Ok(())
    }
}
