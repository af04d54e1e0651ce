//! Header maps as bytes: u32 count, then the lengths of each name and value, then both with a NUL behind each.

use super::Status;
use super::lint::{Rule, lint};
use crate::stream::head::Fields;
use crate::vm::state::State;

/// Names and values as they lie in a guest's memory.
pub(crate) type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// No map of more fields is read. Source: Envoy's limit.
const MAX_FIELDS: usize = 1024;
/// No larger map is read. Source: Envoy's limit.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// How large a map is as bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    /// Fields.
    fields: usize,
    /// Bytes in all.
    pub(super) bytes: usize,
}

/// How many bytes [`write`] needs.
pub(super) fn measure(fields: &Fields<'_>) -> Size {
    let mut size = Size {
        fields: 0,
        bytes: 4,
    };
    fields.for_each(|name, value| {
        size.fields += 1;
        size.bytes += 8 + name.len() + 1 + value.len() + 1;
    });
    if size.fields == 0 {
        // An empty map is no bytes at all, as in Envoy.
        size.bytes = 0;
    }
    size
}

/// Writes `fields`; `out` has just the bytes of their [`Size`].
///
/// # Errors
/// `SerializationFailure` where it has not, or a length does not fit.
pub(super) fn write(fields: &Fields<'_>, size: Size, out: &mut [u8]) -> Result<(), Status> {
    let (head, rest) = out
        .split_at_mut_checked(4)
        .ok_or(Status::SerializationFailure)?;
    head.copy_from_slice(&length(size.fields)?);
    let (mut lengths, mut data) = rest
        .split_at_mut_checked(size.fields * 8)
        .ok_or(Status::SerializationFailure)?;
    let mut result = Ok(());
    fields.for_each(|name, value| {
        if result.is_ok() {
            result = write_field(&mut lengths, &mut data, name, value);
        }
    });
    result
}

fn write_field(
    lengths: &mut &mut [u8],
    data: &mut &mut [u8],
    name: &[u8],
    value: &[u8],
) -> Result<(), Status> {
    put(lengths, &length(name.len())?)?;
    put(lengths, &length(value.len())?)?;
    put(data, name)?;
    put(data, b"\0")?;
    put(data, value)?;
    put(data, b"\0")
}

/// Copies `bytes` to the front of `out` and moves it on.
fn put(out: &mut &mut [u8], bytes: &[u8]) -> Result<(), Status> {
    let (to, rest) = std::mem::take(out)
        .split_at_mut_checked(bytes.len())
        .ok_or(Status::SerializationFailure)?;
    to.copy_from_slice(bytes);
    *out = rest;
    Ok(())
}

fn length(n: usize) -> Result<[u8; 4], Status> {
    u32::try_from(n)
        .map(u32::to_le_bytes)
        .map_err(|_| Status::SerializationFailure)
}

/// Reads what a guest wrote. What is malformed is an empty map, as in Envoy.
pub(super) fn read<'a>(state: &State, bytes: &'a [u8]) -> Pairs<'a> {
    if bytes.is_empty() {
        return Vec::new();
    }
    parse(bytes).unwrap_or_else(|| {
        lint(state, Rule::MalformedPairs);
        Vec::new()
    })
}

/// Header maps as bytes; `None` where it is too long, its lengths leave it, or bytes are left over.
pub(crate) fn parse(bytes: &[u8]) -> Option<Pairs<'_>> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    let (count, mut lengths) = take_u32(bytes)?;
    if count > MAX_FIELDS {
        return None;
    }
    let mut data = lengths.get(count * 8..)?;
    let mut fields = Vec::with_capacity(count);
    for _ in 0..count {
        let (name_len, rest) = take_u32(lengths)?;
        let (value_len, rest) = take_u32(rest)?;
        lengths = rest;
        let name = take_bytes(&mut data, name_len)?;
        let value = take_bytes(&mut data, value_len)?;
        fields.push((name, value));
    }
    data.is_empty().then_some(fields)
}

fn take_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*head) as usize, rest))
}

/// `len` bytes and the NUL behind them.
fn take_bytes<'a>(data: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (value, rest) = data.split_at_checked(len)?;
    let (nul, rest) = rest.split_first()?;
    *data = rest;
    (*nul == 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut map = HeaderMap::new();
        map.insert("a", HeaderValue::from_bytes(b"1\xff").unwrap());
        map.append("a", HeaderValue::from_static(""));
        let fields = Fields::Plain(&map);
        let size = measure(&fields);
        let mut bytes = vec![0; size.bytes];
        write(&fields, size, &mut bytes).unwrap();
        assert_eq!(
            parse(&bytes).unwrap(),
            [(&b"a"[..], &b"1\xff"[..]), (b"a", b"")]
        );
    }

    #[test]
    fn what_is_malformed_is_no_map() {
        for (why, bytes) in [
            (
                "a length leaves it",
                &[1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0][..],
            ),
            ("too many", &[255, 255, 255, 255]),
            ("bytes are left over", &[0, 0, 0, 0, 9]),
            (
                "no NUL behind the name",
                &[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', 0],
            ),
            ("shorter than its count", &[1, 0, 0]),
        ] {
            assert_eq!(parse(bytes), None, "{why}");
        }
        assert_eq!(measure(&Fields::Plain(&HeaderMap::new())).bytes, 0);
    }
}
