//! Header maps as bytes: u32 count, then the lengths of each name and value, then both with a NUL behind each.

use super::Status;
use crate::stream::head::Fields;

/// Names and values as they lie in a guest's memory.
pub(crate) type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// No map of more fields is read. Source: Envoy's limit.
const MAX_FIELDS: usize = 1024;
/// No larger map is read. Source: Envoy's limit.
const MAX_BYTES: usize = 1024 * 1024;

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

/// Reads what a guest wrote. Bytes left over make the whole map empty, as in Envoy.
///
/// # Errors
/// `ParseFailure` where it is too long or its lengths leave it.
pub(crate) fn read(bytes: &[u8]) -> Result<Pairs<'_>, Status> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    if bytes.len() > MAX_BYTES {
        return Err(Status::ParseFailure);
    }
    let (count, mut lengths) = take_u32(bytes)?;
    if count > MAX_FIELDS {
        return Err(Status::ParseFailure);
    }
    let mut data = lengths.get(count * 8..).ok_or(Status::ParseFailure)?;
    let mut fields = Vec::with_capacity(count);
    for _ in 0..count {
        let (name_len, rest) = take_u32(lengths)?;
        let (value_len, rest) = take_u32(rest)?;
        lengths = rest;
        let name = take_bytes(&mut data, name_len)?;
        let value = take_bytes(&mut data, value_len)?;
        fields.push((name, value));
    }
    if !data.is_empty() {
        return Ok(Vec::new());
    }
    Ok(fields)
}

fn take_u32(bytes: &[u8]) -> Result<(usize, &[u8]), Status> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(Status::ParseFailure)?;
    Ok((u32::from_le_bytes(*head) as usize, rest))
}

/// `len` bytes and the NUL behind them.
fn take_bytes<'a>(data: &mut &'a [u8], len: usize) -> Result<&'a [u8], Status> {
    let (value, rest) = data.split_at_checked(len).ok_or(Status::ParseFailure)?;
    let (_, rest) = rest.split_first().ok_or(Status::ParseFailure)?;
    *data = rest;
    Ok(value)
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
            read(&bytes).unwrap(),
            [(&b"a"[..], &b"1\xff"[..]), (b"a", b"")]
        );
    }

    #[test]
    fn lengths_that_leave_the_map_are_refused() {
        assert_eq!(
            read(&[1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]),
            Err(Status::ParseFailure)
        );
        assert_eq!(read(&[255, 255, 255, 255]), Err(Status::ParseFailure));
        assert_eq!(
            read(&[0, 0, 0, 0, 9]).unwrap(),
            [],
            "left over bytes make it empty"
        );
    }
}
