//! A document's file: read under a lock, and replaced as a whole or not at all.
//!
//! Writers exclude each other by an advisory lock on the file's directory, which leaves nothing behind that a gateway
//! watching it could stumble over. What was read is compared again before it is replaced, for writers that take no lock.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

/// How long another writer is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
/// How often the lock is tried meanwhile.
const LOCK_POLL: Duration = Duration::from_millis(10);
/// The longest file that is read: a document is a thousandth of it.
const SIZE_LIMIT: u64 = 16 << 20;

/// Why a document's file was not read or written. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is no plain file of bounded length in UTF-8.
    #[error("{} {message}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What it is, and what would be right.
        message: String,
    },
    /// Its directory cannot be locked against other writers.
    #[error("{} cannot be locked against other writers: {error}", path.display())]
    Lock {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A lock on the file's directory is held for seconds: look for a verb that hangs.
    #[error("another process has been changing a document in {} for {LOCK_LIMIT:?}; try again", .0.display())]
    Locked(PathBuf),
    /// Two changes at once: read the status, then decide again.
    #[error("{} was changed by something else meanwhile; nothing was written, try again", .0.display())]
    Changed(PathBuf),
    /// It cannot be written.
    #[error("{} cannot be replaced, and is as it was: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A document's file, locked against other writers as long as this lives.
pub(super) struct DocumentFile {
    path: PathBuf,
    text: String,
    metadata: Metadata,
    directory: File,
}

/// A new text for a file, complete on disk beside it.
pub(super) struct Staged<'a> {
    file: &'a DocumentFile,
    new: NamedTempFile,
}

/// Reads a file's text.
pub(super) fn read(path: &Path) -> Result<String, FileError> {
    read_with_metadata(path).map(|(text, _)| text)
}

fn read_with_metadata(path: &Path) -> Result<(String, Metadata), FileError> {
    let failed = |error| FileError::Read {
        path: path.to_owned(),
        error,
    };
    let unfit = |message: &str| FileError::Unfit {
        path: path.to_owned(),
        message: message.to_owned(),
    };
    let no_file = || unfit("is not a file; name the rollout document's file");
    // Before it is opened: a pipe would wait for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(no_file());
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(no_file());
    }
    let mut bytes = Vec::new();
    file.take(SIZE_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 == SIZE_LIMIT {
        return Err(unfit("is longer than any rollout document"));
    }
    let text = String::from_utf8(bytes).map_err(|_| unfit("is not text in UTF-8"))?;
    Ok((text, metadata))
}

// === impl DocumentFile ===

impl DocumentFile {
    /// Locks and reads a file that is to be replaced.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let link = fs::read_link(path).ok();
        if let Some(target) = link {
            let message = format!(
                "is a symbolic link to {}: a gateway that watches the link would not notice a change behind it. \
                 Change what the link is made from, or name the target if that is what the gateway watches",
                target.display()
            );
            return Err(FileError::Unfit {
                path: path.to_owned(),
                message,
            });
        }
        let directory = lock(path)?;
        let (text, metadata) = read_with_metadata(path)?;
        if metadata.permissions().mode() & 0o222 == 0 {
            return Err(FileError::Unfit {
                path: path.to_owned(),
                message: "is read-only; make it writable first (`chmod u+w`)".to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            text,
            metadata,
            directory,
        })
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What the system knows of it.
    pub(super) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Writes a new text beside the file, with its mode and owner.
    pub(super) fn stage(&self, text: &str) -> Result<Staged<'_>, FileError> {
        let stage = || -> io::Result<NamedTempFile> {
            let mut new = tempfile::Builder::new()
                .prefix(".switchover-")
                .tempfile_in(directory_of(&self.path))?;
            new.write_all(text.as_bytes())?;
            self.keep_owner(new.as_file())?;
            // After the owner, for a change of owner takes mode bits away.
            let mode = self.metadata.permissions().mode() & 0o7777;
            new.as_file()
                .set_permissions(Permissions::from_mode(mode))?;
            new.as_file().sync_all()?;
            Ok(new)
        };
        Ok(Staged {
            file: self,
            new: stage().map_err(|error| self.failed(error))?,
        })
    }

    /// Only root may give a file away; others may do without where all can read it.
    fn keep_owner(&self, new: &File) -> io::Result<()> {
        let (uid, gid) = (self.metadata.uid(), self.metadata.gid());
        let of_new = new.metadata()?;
        if (of_new.uid(), of_new.gid()) == (uid, gid) || fchown(new, Some(uid), Some(gid)).is_ok() {
            return Ok(());
        }
        let keeps_group = fchown(new, None, Some(gid)).is_ok();
        let mode = self.metadata.permissions().mode();
        if mode & 0o004 != 0 || (keeps_group && mode & 0o040 != 0) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "it belongs to user {uid}, who could not read the new one; run this as that user or as root, or let \
                 others read it"
            ),
        ))
    }

    fn failed(&self, error: io::Error) -> FileError {
        FileError::Write {
            path: self.path.clone(),
            error,
        }
    }
}

// === impl Staged ===

impl Staged<'_> {
    /// Moves it onto the file, which is what a gateway notices.
    pub(super) fn commit(self) -> Result<(), FileError> {
        let file = self.file;
        if read(&file.path)? != file.text {
            return Err(FileError::Changed(file.path.clone()));
        }
        self.new
            .persist(&file.path)
            .map_err(|e| file.failed(e.error))?;
        // The move has happened; that it may not outlive a crash of the machine is no reason to call it failed.
        if let Err(error) = file.directory.sync_all() {
            tracing::warn!(
                "{}: the directory cannot be synced: {error}",
                file.path.display()
            );
        }
        Ok(())
    }
}

/// The directory that holds a file.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn lock(path: &Path) -> Result<File, FileError> {
    let directory = directory_of(path);
    let failed = |error| FileError::Read {
        path: directory.to_owned(),
        error,
    };
    let handle = File::open(directory).map_err(failed)?;
    let start = Instant::now();
    loop {
        match handle.try_lock() {
            Ok(()) => return Ok(handle),
            Err(TryLockError::Error(error)) => {
                return Err(FileError::Lock {
                    path: directory.to_owned(),
                    error,
                });
            }
            Err(TryLockError::WouldBlock) if start.elapsed() > LOCK_LIMIT => {
                return Err(FileError::Locked(directory.to_owned()));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rollout.json");
        fs::write(&path, text).expect("written");
        (directory, path)
    }

    /// Root's own business; nobody else may give a file away.
    #[test]
    fn a_file_is_replaced_with_its_owner() {
        let (_directory, path) = file("old");
        if std::os::unix::fs::chown(&path, Some(12_345), Some(54_321)).is_err() {
            return;
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a mode");
        let open = DocumentFile::open(&path).expect("opened");
        open.stage("new").expect("staged").commit().expect("moved");
        let after = fs::metadata(&path).expect("a file");
        assert_eq!(
            (after.uid(), after.gid(), after.mode() & 0o777),
            (12_345, 54_321, 0o600)
        );
    }

    /// What is in the directory.
    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        let name = |e: io::Result<fs::DirEntry>| e.expect("an entry").file_name().into_string();
        entries.map(|e| name(e).expect("text")).collect()
    }

    #[test]
    fn a_file_is_replaced_with_its_mode() {
        let (directory, path) = file("old");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("a mode");
        let before = fs::metadata(&path).expect("a file");
        let open = DocumentFile::open(&path).expect("opened");
        open.stage("new").expect("staged").commit().expect("moved");
        let after = fs::metadata(&path).expect("a file");
        assert_eq!(fs::read_to_string(&path).expect("read"), "new");
        assert_eq!(after.mode(), before.mode());
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino(), "moved, not written into");
        assert_eq!(names(directory.path()), ["rollout.json"]);
    }

    #[test]
    fn what_someone_else_wrote_stays() {
        let (directory, path) = file("old");
        let open = DocumentFile::open(&path).expect("opened");
        let staged = open.stage("new").expect("staged");
        fs::write(&path, "theirs").expect("written");
        assert!(matches!(staged.commit(), Err(FileError::Changed(_))));
        assert_eq!(fs::read_to_string(&path).expect("read"), "theirs");
        assert_eq!(names(directory.path()), ["rollout.json"]);
    }

    #[test]
    fn writers_take_turns() {
        let (_directory, path) = file("0");
        let count = || {
            let open = DocumentFile::open(&path).expect("opened");
            let next = open.text().parse::<u32>().expect("a number") + 1;
            open.stage(&next.to_string())
                .expect("staged")
                .commit()
                .expect("moved");
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10).for_each(|_| count()));
            }
        });
        assert_eq!(fs::read_to_string(&path).expect("read"), "40");
    }

    #[test]
    fn what_cannot_be_replaced_is_left_alone() {
        let (directory, path) = file("old");
        let refusal = |path: &Path| {
            DocumentFile::open(path)
                .map(drop)
                .expect_err("refused")
                .to_string()
        };
        let none = refusal(&directory.path().join("none.json"));
        assert!(
            none.contains("none.json cannot be read: No such file"),
            "{none}"
        );
        assert!(refusal(directory.path()).contains("is not a file"));
        let link = directory.path().join("link.json");
        std::os::unix::fs::symlink("rollout.json", &link).expect("a link");
        assert!(refusal(&link).contains("is a symbolic link to rollout.json"));
        fs::set_permissions(&path, Permissions::from_mode(0o444)).expect("a mode");
        assert!(refusal(&path).contains("is read-only"));
        let bytes = directory.path().join("bytes");
        fs::write(&bytes, [0xff]).expect("written");
        assert!(refusal(&bytes).contains("UTF-8"));
        assert_eq!(fs::read_to_string(&path).expect("read"), "old");
    }
}
