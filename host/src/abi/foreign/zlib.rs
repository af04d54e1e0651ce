//! `compress` and `uncompress`: zlib's format, with its default level. Both take long for what is large, so they stop
//! between parts where the callback is over its time.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use wasmtime::Trap;

use crate::abi::{Failure, Status};

/// Bytes of a part, about two milliseconds' work.
const PART: usize = 64 * 1024;

pub(super) fn compress(
    bytes: &[u8],
    mut in_time: impl FnMut() -> Result<(), Trap>,
) -> Result<Bytes, Failure> {
    let failed = |_| Failure::from(Status::SerializationFailure);
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    for part in bytes.chunks(PART) {
        in_time()?;
        encoder.write_all(part).map_err(failed)?;
    }
    encoder.finish().map(Bytes::from).map_err(failed)
}

/// What becomes longer than `limit`, which is more than a guest could take, is refused.
pub(super) fn uncompress(
    bytes: &[u8],
    limit: usize,
    mut in_time: impl FnMut() -> Result<(), Trap>,
) -> Result<Bytes, Failure> {
    let mut out = Vec::new();
    let mut decoder = ZlibDecoder::new(bytes);
    loop {
        in_time()?;
        let part = (&mut decoder).take(PART as u64).read_to_end(&mut out);
        match part {
            Ok(0) => return Ok(Bytes::from(out)),
            Ok(_) if out.len() <= limit => {}
            _ => return Err(Status::SerializationFailure.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(bytes: &[u8]) -> Vec<u8> {
        super::compress(bytes, || Ok(())).unwrap().to_vec()
    }

    /// `None` where it is refused.
    fn uncompress(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
        match super::uncompress(bytes, limit, || Ok(())) {
            Ok(out) => Some(out.to_vec()),
            Err(Failure::Status(Status::SerializationFailure)) => None,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_compressed_comes_back() {
        for text in [&b""[..], b"a", &[b'x'; 10_000], &[b'x'; 3 * PART]] {
            let packed = compress(text);
            assert_eq!(uncompress(&packed, 3 * PART).unwrap(), text);
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = compress(&[0; 100_000]);
        assert!(bomb.len() < 1_000);
        assert_eq!(uncompress(&bomb, 99_999), None);
    }

    #[test]
    fn what_is_no_zlib_is_refused() {
        let mut packed = compress(b"hello hello hello");
        packed.truncate(packed.len() - 2);
        for bytes in [&b"nonsense"[..], &[], &packed] {
            assert_eq!(uncompress(bytes, 100), None);
        }
    }

    #[test]
    fn what_takes_too_long_ends() {
        let text = [0; 10 * PART];
        let packed = compress(&text);
        for times in [0, 5] {
            let clock = || {
                let mut left = times;
                move || {
                    left -= 1;
                    match left >= 0 {
                        true => Ok(()),
                        false => Err(Trap::Interrupt),
                    }
                }
            };
            let out = super::compress(&text, clock());
            assert!(matches!(out, Err(Failure::Trap(_))));
            let out = super::uncompress(&packed, usize::MAX, clock());
            assert!(matches!(out, Err(Failure::Trap(_))));
        }
    }
}
