//! Status numbers of the ABI.

use strum::{AsRefStr, EnumMessage, VariantArray};

/// What a hostcall answers. Source: Proxy-Wasm ABI 0.2.1, `proxy_status_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsRefStr, EnumMessage, VariantArray)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Done.
    Ok,
    /// The key, header map, metric or queue is not there.
    NotFound,
    /// An argument makes no sense here.
    BadArgument,
    /// A value could not be written as bytes.
    SerializationFailure,
    /// A value could not be read from bytes.
    ParseFailure,
    /// A pointer leaves the guest's memory.
    InvalidMemoryAccess,
    /// A compare-and-swap found another version.
    CasMismatch,
    /// A queue has nothing in it.
    Empty,
    /// The host could not do it.
    InternalFailure,
    /// Nobody does it.
    Unimplemented,
}

impl Status {
    /// The number that guests see.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Ok => 0,
            Self::NotFound => 1,
            Self::BadArgument => 2,
            Self::SerializationFailure => 3,
            Self::ParseFailure => 4,
            Self::InvalidMemoryAccess => 6,
            Self::Empty => 7,
            Self::CasMismatch => 8,
            Self::InternalFailure => 10,
            Self::Unimplemented => 12,
        }
    }
}
