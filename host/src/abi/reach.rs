//! What a stream context reaches at a moment: the header maps and buffers that its callback is about.
//!
//! Envoy lets a guest see a map or buffer in the callback that brings it, and from there on for as long as that callback's
//! answer holds the stream; the answer to go on takes it away.

/// A set of maps and buffers, and of phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach(u8);

impl Reach {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The request's headers.
    pub const REQUEST_HEADERS: Self = Self(1);
    /// The request's body.
    pub const REQUEST_BODY: Self = Self(1 << 1);
    /// The request's trailers.
    pub const REQUEST_TRAILERS: Self = Self(1 << 2);
    /// All of the request: what `continue_stream` takes away, whichever direction goes on. Source: Envoy.
    pub const REQUEST: Self = Self(0b111);
    /// The response's headers.
    pub const RESPONSE_HEADERS: Self = Self(1 << 3);
    /// The response's body.
    pub const RESPONSE_BODY: Self = Self(1 << 4);
    /// The response's trailers.
    pub const RESPONSE_TRAILERS: Self = Self(1 << 5);
    /// The last headers or body seen were the end of their direction.
    pub const END: Self = Self(1 << 6);
    /// `proxy_on_log` runs: all that is left of the exchange can be read.
    pub const LOG: Self = Self(1 << 7);

    /// Whether all of `other` is reached.
    #[must_use]
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is reached.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// With `other` besides.
    #[must_use]
    #[inline]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without any of `other`.
    #[must_use]
    #[inline]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}
