//! A layer's bytes: tar and gzip without what differs from one machine to the next.

use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};

/// What gzip calls a system that it does not know.
const UNKNOWN_SYSTEM: u8 = 255;

/// A tar archive of files that everybody may read, of user 0 and time 0.
pub(super) fn tar(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(bytes.len()).map_err(io::Error::other)?);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        archive.append_data(&mut header, name, *bytes)?;
    }
    archive.into_inner()
}

/// The same packed, without a time.
pub(super) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let header = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM);
    let mut packed = header.write(Vec::new(), Compression::best());
    packed.write_all(bytes)?;
    packed.finish()
}
