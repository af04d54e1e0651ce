//! `compress` and `uncompress`: zlib's format, with its default level.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::abi::Status;

pub(super) fn compress(bytes: &[u8]) -> Result<Bytes, Status> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map(Bytes::from)
        .map_err(|_| Status::SerializationFailure)
}

/// What becomes longer than `limit`, which is more than a guest could take, is refused.
pub(super) fn uncompress(bytes: &[u8], limit: usize) -> Result<Bytes, Status> {
    let mut out = Vec::new();
    let decoder = ZlibDecoder::new(bytes);
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let read = decoder.take(limit.saturating_add(1)).read_to_end(&mut out);
    match read {
        Ok(read) if u64::try_from(read).is_ok_and(|read| read <= limit) => Ok(Bytes::from(out)),
        _ => Err(Status::SerializationFailure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back() {
        for text in [&b""[..], b"a", &[b'x'; 10_000]] {
            let packed = compress(text).unwrap();
            assert_eq!(uncompress(&packed, 10_000).unwrap(), text);
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = compress(&[0; 100_000]).unwrap();
        assert!(bomb.len() < 1_000);
        assert_eq!(uncompress(&bomb, 99_999), Err(Status::SerializationFailure));
    }

    #[test]
    fn what_is_no_zlib_is_refused() {
        let mut packed = compress(b"hello hello hello").unwrap().to_vec();
        packed.truncate(packed.len() - 2);
        for bytes in [&b"nonsense"[..], &[], &packed] {
            assert_eq!(uncompress(bytes, 100), Err(Status::SerializationFailure));
        }
    }
}
