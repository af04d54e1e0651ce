//! Heads of requests and responses, with pseudo headers beside the header map.
//!
//! `Host` stays in the map and is shown to guests as `:authority`, as Envoy shows it.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::intern::Interner;

/// A request's head.
#[derive(Debug)]
pub struct RequestHead {
    /// `:method`.
    pub method: Method,
    /// `:path`.
    pub path: Target,
    /// `:scheme`.
    pub scheme: HeaderValue,
    /// All other headers; `host` is `:authority`.
    pub headers: HeaderMap,
    /// Which of the above a filter has taken away.
    pub removed: Removed,
}

/// Pseudo headers that a filter has taken away: their fields keep a value that nobody is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed(u8);

/// The request target: valid, or bytes a filter set that are none.
#[derive(Debug, Clone)]
pub enum Target {
    /// A path with its query.
    Valid(PathAndQuery),
    /// What a filter set; answered with 400 when the request is to be forwarded.
    Invalid(Bytes),
}

/// A response's head.
#[derive(Debug)]
pub struct ResponseHead {
    /// `:status`.
    pub status: StatusCode,
    /// All other headers.
    pub headers: HeaderMap,
    /// Whether a filter has taken `:status` away.
    pub removed: Removed,
}

/// A map of headers as guests see it: pseudo headers first, then the others.
#[derive(Debug)]
pub enum Fields<'a> {
    /// A request's.
    Request(&'a RequestHead),
    /// A response's.
    Response(&'a ResponseHead),
    /// Trailers, or a callout's headers: no pseudo headers.
    Plain(&'a HeaderMap),
}

/// The same, for edits.
#[derive(Debug)]
pub enum FieldsMut<'a> {
    /// A request's.
    Request(&'a mut RequestHead),
    /// A response's.
    Response(&'a mut ResponseHead),
    /// Trailers.
    Plain(&'a mut HeaderMap),
}

/// A name or a value that is no valid header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid header name or value")]
pub struct InvalidField;

// === impl Target ===

impl Target {
    /// As bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Valid(path) => path.as_str().as_bytes(),
            Self::Invalid(bytes) => bytes,
        }
    }

    /// The path without its query; `None` where it is invalid.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Valid(path) => Some(path.path()),
            Self::Invalid(_) => None,
        }
    }

    /// Reads bytes that a filter set.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let bytes = Bytes::copy_from_slice(bytes);
        if bytes.first() != Some(&b'/') && bytes.as_ref() != b"*" {
            return Self::Invalid(bytes);
        }
        PathAndQuery::from_maybe_shared(bytes.clone()).map_or(Self::Invalid(bytes), Self::Valid)
    }
}

// === impl Removed ===

impl Removed {
    /// None.
    pub const NONE: Self = Self(0);
    /// `:method`.
    pub const METHOD: Self = Self(1);
    /// `:path`.
    pub const PATH: Self = Self(1 << 1);
    /// `:scheme`.
    pub const SCHEME: Self = Self(1 << 2);
    /// `:status`.
    pub const STATUS: Self = Self(1 << 3);

    fn named(name: &[u8]) -> Self {
        match name {
            b":method" => Self::METHOD,
            b":path" => Self::PATH,
            b":scheme" => Self::SCHEME,
            b":status" => Self::STATUS,
            _ => Self::NONE,
        }
    }

    /// Whether one of `other` is among them.
    #[must_use]
    #[inline]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

// === impl RequestHead ===

impl RequestHead {
    /// A head with all of its pseudo headers.
    #[must_use]
    pub fn new(method: Method, path: Target, scheme: HeaderValue, headers: HeaderMap) -> Self {
        Self {
            method,
            path,
            scheme,
            headers,
            removed: Removed::NONE,
        }
    }
}

// === impl ResponseHead ===

impl ResponseHead {
    /// A head with its status.
    #[must_use]
    pub fn new(status: StatusCode, headers: HeaderMap) -> Self {
        Self {
            status,
            headers,
            removed: Removed::NONE,
        }
    }
}

/// A status as three digits.
fn digits(status: StatusCode) -> [u8; 3] {
    let mut out = *b"000";
    for (to, from) in out.iter_mut().zip(status.as_str().bytes()) {
        *to = from;
    }
    out
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// How many fields there are, values of one name counted apart.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Request(head) => {
                // `host` is counted as `:authority`
                3 + head.headers.len() - head.removed.count()
            }
            Self::Response(head) => 1 + head.headers.len() - head.removed.count(),
            Self::Plain(map) => map.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `each` with every field, pseudo headers first.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) {
        match self {
            Self::Request(head) => {
                if let Some(host) = head.headers.get(header::HOST) {
                    each(b":authority", host.as_bytes());
                }
                if !head.removed.has(Removed::PATH) {
                    each(b":path", head.path.as_bytes());
                }
                if !head.removed.has(Removed::METHOD) {
                    each(b":method", head.method.as_str().as_bytes());
                }
                if !head.removed.has(Removed::SCHEME) {
                    each(b":scheme", head.scheme.as_bytes());
                }
                for (name, value) in &head.headers {
                    if name != header::HOST {
                        each(name.as_str().as_bytes(), value.as_bytes());
                    }
                }
            }
            Self::Response(head) => {
                if !head.removed.has(Removed::STATUS) {
                    each(b":status", &digits(head.status));
                }
                for (name, value) in &head.headers {
                    each(name.as_str().as_bytes(), value.as_bytes());
                }
            }
            Self::Plain(map) => {
                for (name, value) in *map {
                    each(name.as_str().as_bytes(), value.as_bytes());
                }
            }
        }
    }

    /// The first value of `name` (spec issue 53: Envoy gives the first only).
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<Bytes> {
        let mut value = Vec::new();
        let found = match name.first() {
            Some(b':') => self.read_pseudo(name, &mut value),
            // by `str`: a look-up needs no owned name
            _ => {
                let found = self.map().get(std::str::from_utf8(name).ok()?)?;
                value.extend_from_slice(found.as_bytes());
                true
            }
        };
        found.then(|| value.into())
    }

    /// Appends the first value of a header to `to`; false where there is none.
    #[inline]
    pub fn read(&self, name: &HeaderName, to: &mut Vec<u8>) -> bool {
        let value = self.map().get(name);
        if let Some(value) = value {
            to.extend_from_slice(value.as_bytes());
        }
        value.is_some()
    }

    fn map(&self) -> &'a HeaderMap {
        match self {
            Self::Request(head) => &head.headers,
            Self::Response(head) => &head.headers,
            Self::Plain(map) => map,
        }
    }

    /// The same for a pseudo header.
    pub fn read_pseudo(&self, name: &[u8], to: &mut Vec<u8>) -> bool {
        let removed = match self {
            Self::Request(head) => head.removed,
            Self::Response(head) => head.removed,
            Self::Plain(_) => Removed::NONE,
        };
        if removed != Removed::NONE && removed.has(Removed::named(name)) {
            return false;
        }
        match (self, name) {
            (Self::Request(_), b":authority") => return self.read(&header::HOST, to),
            (Self::Request(head), b":path") => to.extend_from_slice(head.path.as_bytes()),
            (Self::Request(head), b":method") => {
                to.extend_from_slice(head.method.as_str().as_bytes());
            }
            (Self::Request(head), b":scheme") => to.extend_from_slice(head.scheme.as_bytes()),
            (Self::Response(head), b":status") => to.extend_from_slice(&digits(head.status)),
            _ => return false,
        }
        true
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        let mut size = 0;
        self.for_each(|name, value| size += name.len() + value.len());
        size
    }
}

// === impl FieldsMut ===

impl FieldsMut<'_> {
    /// The same, to look at.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        match self {
            Self::Request(head) => Fields::Request(head),
            Self::Response(head) => Fields::Response(head),
            Self::Plain(map) => Fields::Plain(map),
        }
    }

    fn map(&mut self) -> &mut HeaderMap {
        match self {
            Self::Request(head) => &mut head.headers,
            Self::Response(head) => &mut head.headers,
            Self::Plain(map) => map,
        }
    }

    /// Sets a pseudo header; `Ok(false)` where `name` is none of this map's.
    fn set_pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<bool, InvalidField> {
        match (&mut *self, name) {
            (Self::Request(head), b":authority") => {
                let value = HeaderValue::from_bytes(value).map_err(|_| InvalidField)?;
                head.headers.insert(header::HOST, value);
            }
            (Self::Request(head), b":path") => head.path = Target::from_bytes(value),
            (Self::Request(head), b":method") => {
                head.method = Method::from_bytes(value).map_err(|_| InvalidField)?;
            }
            (Self::Request(head), b":scheme") => {
                head.scheme = HeaderValue::from_bytes(value).map_err(|_| InvalidField)?;
            }
            (Self::Response(head), b":status") => {
                head.status = StatusCode::from_bytes(value).map_err(|_| InvalidField)?;
            }
            _ => return Ok(false),
        }
        if let Some(removed) = self.removed() {
            removed.0 &= !Removed::named(name).0;
        }
        Ok(true)
    }

    fn removed(&mut self) -> Option<&mut Removed> {
        match self {
            Self::Request(head) => Some(&mut head.removed),
            Self::Response(head) => Some(&mut head.removed),
            Self::Plain(_) => None,
        }
    }

    /// Takes a pseudo header away, where this map has it.
    #[cold]
    fn remove_pseudo(&mut self, name: &[u8]) {
        let gone = match (&mut *self, name) {
            (Self::Request(head), b":authority") => {
                head.headers.remove(header::HOST);
                return;
            }
            (Self::Request(head), b":path") => {
                // Nothing is found by it.
                head.path = Target::Invalid(Bytes::new());
                Removed::PATH
            }
            (Self::Request(_), b":method" | b":scheme") | (Self::Response(_), b":status") => {
                Removed::named(name)
            }
            _ => return,
        };
        if let Some(removed) = self.removed() {
            removed.0 |= gone.0;
        }
    }

    /// Replaces all values of `name`, or adds it.
    ///
    /// # Errors
    /// Where name or value cannot stand in a header.
    pub fn replace(
        &mut self,
        name: &[u8],
        value: &[u8],
        known: &mut Interner,
    ) -> Result<(), InvalidField> {
        if name.first() == Some(&b':') {
            return if self.set_pseudo(name, value)? {
                Ok(())
            } else {
                Err(InvalidField)
            };
        }
        let value = known.value(value)?;
        let name = known.name(name)?;
        let replaced = self.map().try_insert(name, value);
        replaced.map(drop).map_err(|_| InvalidField)
    }

    /// Adds a value beside those present; a pseudo header is replaced.
    ///
    /// # Errors
    /// Where name or value cannot stand in a header.
    pub fn add(
        &mut self,
        name: &[u8],
        value: &[u8],
        known: &mut Interner,
    ) -> Result<(), InvalidField> {
        if name.first() == Some(&b':') {
            return self.replace(name, value, known);
        }
        let value = known.value(value)?;
        let name = known.name(name)?;
        let added = self.map().try_append(name, value);
        added.map(drop).map_err(|_| InvalidField)
    }

    /// Removes all values of `name`.
    pub fn remove(&mut self, name: &[u8], known: &mut Interner) {
        if name.first() == Some(&b':') {
            return self.remove_pseudo(name);
        }
        if let Ok(name) = known.name(name) {
            self.map().remove(name);
        }
    }

    /// Removes everything, then adds `pairs`.
    ///
    /// # Errors
    /// At the first invalid field; those before it have been added.
    pub fn set_all<'p>(
        &mut self,
        pairs: impl Iterator<Item = (&'p [u8], &'p [u8])>,
        known: &mut Interner,
    ) -> Result<(), InvalidField> {
        self.map().clear();
        for name in [&b":method"[..], b":path", b":scheme", b":status"] {
            self.remove_pseudo(name);
        }
        for (name, value) in pairs {
            self.add(name, value, known)?;
        }
        Ok(())
    }
}
