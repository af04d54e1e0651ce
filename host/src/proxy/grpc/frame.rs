//! gRPC's frames: a flag, a length of four bytes, a message. Source: gRPC over HTTP/2, "Length-Prefixed-Message".

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::abi::MAX_MESSAGE;

/// Bytes ahead of a message.
const HEAD: usize = 5;

/// Takes messages out of the parts that a body comes in.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
}

/// Why what comes is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Invalid {
    /// It is compressed, which nobody asked for.
    Compressed,
    /// It is longer than [`MAX_MESSAGE`].
    TooLong,
}

/// What goes ahead of a message.
pub(super) fn head(message: &[u8]) -> Bytes {
    let mut head = BytesMut::with_capacity(HEAD);
    head.put_u8(0);
    // No longer than MAX_MESSAGE: the guest's call was refused otherwise.
    head.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    head.freeze()
}

// === impl Decoder ===

impl Decoder {
    /// Adds what has come.
    pub(super) fn put(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next whole message; `None` where more has to come.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Invalid> {
        let Some((head, _)) = self.buffer.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let [flag, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE {
            return Err(Invalid::TooLong);
        }
        if flag != 0 && length > 0 {
            return Err(Invalid::Compressed);
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_any_parts() {
        let messages = [&b"one"[..], b"", b"three"];
        let framed = |message: &&[u8]| [&head(message), *message].concat();
        let bytes: Vec<u8> = messages.iter().flat_map(framed).collect();
        for size in 1..=bytes.len() {
            let mut decoder = Decoder::default();
            let mut messages = Vec::new();
            for part in bytes.chunks(size) {
                decoder.put(part);
                while let Some(message) = decoder.next().unwrap() {
                    messages.push(message);
                }
            }
            assert_eq!(messages, [&b"one"[..], b"", b"three"], "in parts of {size}");
        }
    }

    #[test]
    fn what_is_no_message_is_told() {
        let refused = |bytes: &[u8]| {
            let mut decoder = Decoder::default();
            decoder.put(bytes);
            decoder.next().unwrap_err()
        };
        assert_eq!(refused(&[1, 0, 0, 0, 1]), Invalid::Compressed);
        assert_eq!(refused(&[0, 255, 255, 255, 255]), Invalid::TooLong);
    }
}
