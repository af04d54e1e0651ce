//! Which members matter, and where.

/// A member that matters, where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Other,
    /// The text itself, which is no member.
    Root,
    Model,
    Stream,
    StreamOptions,
    IncludeUsage,
    Choices,
    Response,
    Usage,
    Input,
    Output,
    Details,
    Cached,
}

// === impl Field ===

impl Field {
    /// The member `key` of what `parent` holds.
    #[inline]
    pub(super) fn of(parent: Self, key: &[u8]) -> Self {
        match (parent, key) {
            (Self::Root, b"model") => Self::Model,
            (Self::Root, b"stream") => Self::Stream,
            (Self::Root, b"stream_options") => Self::StreamOptions,
            (Self::Root, b"choices") => Self::Choices,
            (Self::Root, b"response") => Self::Response,
            (Self::Root | Self::Response, b"usage") => Self::Usage,
            (Self::StreamOptions, b"include_usage") => Self::IncludeUsage,
            (Self::Usage, b"prompt_tokens" | b"input_tokens") => Self::Input,
            (Self::Usage, b"completion_tokens" | b"output_tokens") => Self::Output,
            (Self::Usage, b"prompt_tokens_details" | b"input_tokens_details") => Self::Details,
            (Self::Details, b"cached_tokens") => Self::Cached,
            _ => Self::Other,
        }
    }
}
