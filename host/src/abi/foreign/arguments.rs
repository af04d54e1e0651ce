//! Messages of Envoy's foreign functions. Source: Envoy, `source/extensions/common/wasm/ext`.

/// Of `verify_signature`; one of the keys is given.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct VerifySignature {
    #[prost(string, tag = "1")]
    pub(super) hash_function: String,
    /// DER.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) text: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) public_key_pem: String,
}

/// What `verify_signature` answers.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Verified {
    #[prost(bool, tag = "1")]
    pub(super) result: bool,
    #[prost(string, tag = "2")]
    pub(super) error: String,
}

/// Of `sign`; one of the keys is given.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Sign {
    #[prost(string, tag = "1")]
    pub(super) hash_function: String,
    /// DER.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) private_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) text: Vec<u8>,
    #[prost(string, tag = "4")]
    pub(super) private_key_pem: String,
}

/// What `sign` answers.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Signed {
    #[prost(bool, tag = "1")]
    pub(super) result: bool,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) signature: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(super) error: String,
}

/// Of `set_envoy_filter_state`. Its life span (3) is not kept: the state lives with the stream.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SetFilterState {
    #[prost(string, tag = "1")]
    pub(super) path: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// Of `declare_property`. Type (3) and schema (4) only matter to CEL; the span (5) is the stream's.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DeclareProperty {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(bool, tag = "2")]
    pub(super) readonly: bool,
}
