//! Compiled modules kept on disk, so that a gateway starts without a compiler.
//!
//! A file holds native code, which is run as it is: whoever can write it can run anything in this process. So a
//! file is taken only from a folder that belongs to this user and that nobody else may write to, and only where the
//! digest in front of it is that of its content; the engine then checks its own version and configuration. Whatever is not
//! right is compiled anew and replaced.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

/// Begins every file; the number is that of the format, and of what is added to modules before they are compiled.
const MAGIC: &[u8; 16] = b"switchover-aot-2";

/// Bytes of all files together, about: the oldest go when there are more.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// No longer file is read.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// A folder of compiled modules.
#[derive(Debug)]
pub struct ModuleCache {
    folder: PathBuf,
}

/// What names a compiled module: the module, and the engine it is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 32]);

/// Why a folder is not used, or a file not taken.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The system.
    #[error("{}: {error}", path.display())]
    System {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// Others could have put code there.
    #[error(
        "{} belongs to another user or can be written by others; it must be this user's alone (chmod 700, files 600)",
        .0.display()
    )]
    Exposed(PathBuf),
    /// Not what was written.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
}

// === impl Key ===

impl Key {
    /// Of a module, and of what tells engines apart.
    #[must_use]
    pub fn new(module: &[u8], engine: u64) -> Self {
        let mut digest = Sha256::new();
        digest.update(MAGIC);
        digest.update(engine.to_le_bytes());
        digest.update(module);
        Self(digest.finalize().into())
    }

    fn file_name(&self) -> String {
        use std::fmt::Write as _;
        let mut name = String::with_capacity(64 + 4);
        for byte in self.0 {
            // Writing to a string does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        name + ".bin"
    }
}

// === impl ModuleCache ===

impl ModuleCache {
    /// The user's own folder: `$SWITCHOVER_MODULE_CACHE`, else `switchover/modules` below `$XDG_CACHE_HOME` or
    /// `~/.cache`; `None` where there is neither, or the first is empty.
    #[must_use]
    pub fn default_folder(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
        if let Some(folder) = env("SWITCHOVER_MODULE_CACHE") {
            return (!folder.is_empty()).then(|| PathBuf::from(folder));
        }
        let absolute = |name| {
            env(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Some(caches?.join("switchover/modules"))
    }

    /// Takes a folder, which is made where it is missing.
    ///
    /// # Errors
    /// Where it cannot be made, or is not this user's alone.
    pub fn open(folder: PathBuf) -> Result<Self, CacheError> {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder);
        made.map_err(|error| system(&folder, error))?;
        let metadata = fs::metadata(&folder).map_err(|error| system(&folder, error))?;
        if !metadata.is_dir() || exposed(&metadata) {
            return Err(CacheError::Exposed(folder));
        }
        Ok(Self { folder })
    }

    /// The compiled module of that key; `None` where it is not there.
    ///
    /// # Errors
    /// Where what is there must not be used.
    pub fn get(&self, key: Key) -> Result<Option<Vec<u8>>, CacheError> {
        let path = self.folder.join(key.file_name());
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(system(&path, error)),
        };
        let metadata = file.metadata().map_err(|error| system(&path, error))?;
        if !metadata.is_file() || exposed(&metadata) {
            return Err(CacheError::Exposed(path));
        }
        let mut bytes = Vec::new();
        let read = io::Read::take(&mut file, MAX_FILE).read_to_end(&mut bytes);
        read.map_err(|error| system(&path, error))?;
        let code = verified(&bytes, key).ok_or(CacheError::Damaged(path))?;
        // The time tells which modules are still in use; it does not matter where it cannot be set.
        let _ = file.set_modified(SystemTime::now());
        bytes.drain(..bytes.len() - code);
        Ok(Some(bytes))
    }

    /// Keeps a compiled module; the file appears whole or not at all.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn put(&self, key: Key, code: &[u8]) -> Result<(), CacheError> {
        let failed = |error| system(&self.folder, error);
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(&self.folder)
            .map_err(failed)?;
        file.write_all(MAGIC).map_err(failed)?;
        file.write_all(&digest(key, code)).map_err(failed)?;
        file.write_all(code).map_err(failed)?;
        let path = self.folder.join(key.file_name());
        file.persist(&path)
            .map_err(|error| system(&path, error.error))?;
        self.prune();
        Ok(())
    }

    /// Removes what was not used for the longest time while there is too much.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if total <= MAX_BYTES {
                break;
            }
            total -= size;
            // Another process may have removed it.
            let _ = fs::remove_file(path);
        }
    }
}

/// How many bytes of code a file ends with, where it is what [`ModuleCache::put`] wrote for that key.
fn verified(file: &[u8], key: Key) -> Option<usize> {
    let rest = file.strip_prefix(MAGIC)?;
    let (stored, code) = rest.split_first_chunk::<32>()?;
    (digest(key, code) == *stored).then_some(code.len())
}

/// Of the key too, so that no file can stand under another's name.
fn digest(key: Key, code: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(key.0);
    digest.update(code);
    digest.finalize().into()
}

/// Whether somebody else owns it or may write to it.
fn exposed(metadata: &fs::Metadata) -> bool {
    metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0
}

fn system(path: &Path, error: io::Error) -> CacheError {
    CacheError::System {
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn cache() -> (tempfile::TempDir, ModuleCache) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = ModuleCache::open(folder.path().join("a/b")).expect("opened");
        (folder, cache)
    }

    fn only_file(cache: &ModuleCache) -> PathBuf {
        let mut entries = fs::read_dir(&cache.folder).expect("read");
        let path = entries.next().expect("one").expect("read").path();
        assert!(entries.next().is_none(), "nothing is left behind");
        path
    }

    #[test]
    fn what_is_put_is_got_under_its_key_only() {
        let (_folder, cache) = cache();
        let key = Key::new(b"module", 1);
        assert!(cache.get(key).expect("read").is_none());
        cache.put(key, b"code").expect("written");
        cache.put(key, b"code 2").expect("written again");
        assert_eq!(
            cache.get(key).expect("read").as_deref(),
            Some(&b"code 2"[..])
        );
        for other in [Key::new(b"module", 2), Key::new(b"module2", 1)] {
            assert!(cache.get(other).expect("read").is_none());
            // even where the file is put in its place
            fs::copy(only_file(&cache), cache.folder.join(other.file_name())).expect("copied");
            assert!(matches!(cache.get(other), Err(CacheError::Damaged(_))));
            fs::remove_file(cache.folder.join(other.file_name())).expect("removed");
        }
    }

    #[test]
    fn damage_is_found() {
        let (_folder, cache) = cache();
        let key = Key::new(b"module", 1);
        cache.put(key, b"code").expect("written");
        let path = only_file(&cache);
        let whole = fs::read(&path).expect("read");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).expect("written");
            assert!(
                matches!(cache.get(key), Err(CacheError::Damaged(_))),
                "{at}"
            );
            fs::write(&path, &whole[..at]).expect("written");
            assert!(
                matches!(cache.get(key), Err(CacheError::Damaged(_))),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn what_others_could_write_is_not_taken() {
        let (folder, cache) = cache();
        let key = Key::new(b"module", 1);
        cache.put(key, b"code").expect("written");
        let path = only_file(&cache);
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).expect("set");
        assert!(matches!(cache.get(key), Err(CacheError::Exposed(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");

        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).expect("moved");
        symlink(&elsewhere, &path).expect("linked");
        assert!(
            matches!(cache.get(key), Err(CacheError::System { .. })),
            "a link is not followed"
        );

        fs::set_permissions(&cache.folder, fs::Permissions::from_mode(0o770)).expect("set");
        let opened = ModuleCache::open(cache.folder.clone());
        assert!(matches!(opened, Err(CacheError::Exposed(_))));
    }

    #[test]
    fn the_folder_is_the_users() {
        let folder = |pairs: &'static [(&str, &str)]| {
            ModuleCache::default_folder(&move |name: &str| {
                let found = pairs.iter().find(|(own, _)| *own == name)?;
                Some(found.1.to_owned())
            })
        };
        assert_eq!(folder(&[]), None);
        assert_eq!(
            folder(&[("HOME", "/h")]),
            Some("/h/.cache/switchover/modules".into())
        );
        let both = &[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")];
        assert_eq!(folder(both), Some("/c/switchover/modules".into()));
        assert_eq!(
            folder(&[("HOME", "/h"), ("SWITCHOVER_MODULE_CACHE", "")]),
            None,
            "empty is off"
        );
        assert_eq!(
            folder(&[("SWITCHOVER_MODULE_CACHE", "x")]),
            Some("x".into())
        );
    }
}
