//! Foreign functions: those of Envoy, with Envoy's arguments, which are protobuf where there are several.
//!
//! Left out: `expr_create`, `expr_evaluate`, `expr_delete`, which are CEL and in some builds of Envoy only.

mod arguments;
mod crypto;
mod zlib;

use bytes::Bytes;
use prost::Message as _;
use wasmtime::Caller;

use super::import::family;
use super::lint::{Rule, lint};
use super::memory::{Span, give_bytes, split};
use super::{Failure, Outcome, Status};
use crate::vm::state::State;
use arguments::{DeclareProperty, SetFilterState, Sign, VerifySignature};

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_call_foreign_function(name: Bytes, arguments: Bytes, results: OutBytes) => call,
    }
}

/// The functions there are.
pub const FUNCTIONS: [&str; 7] = [
    "clear_route_cache",
    "compress",
    "declare_property",
    "set_envoy_filter_state",
    "sign",
    "uncompress",
    "verify_signature",
];

/// No longer message is read, in bytes: what is signed is no more than a body that a listener holds by default.
const MAX_MESSAGE: usize = 1024 * 1024;

/// Objects that Envoy's own filters leave in the filter state and that may be set from outside, by name.
const STATE_OBJECTS: [&str; 6] = [
    "envoy.network.application_protocols",
    "envoy.network.upstream_server_name",
    "envoy.network.upstream_subject_alt_names",
    "envoy.tcp_proxy.cluster",
    "envoy.upstream.dynamic_host",
    "envoy.upstream.dynamic_port",
];

/// Out-pointers that are 0 are not written: the guest wants no results.
fn call(caller: &mut Caller<'_, State>, name: Span, arguments: Span, out: Span) -> Outcome {
    let result = {
        let (view, state) = split(caller)?;
        let name = view.span(name)?;
        let arguments = view.span(arguments)?;
        match name {
            b"compress" => zlib::compress(arguments, || state.in_time()),
            b"uncompress" => {
                let limit = state.process.limits.memory;
                zlib::uncompress(arguments, limit, || state.in_time())
            }
            // Routes are chosen when all filters have seen the request.
            b"clear_route_cache" => Ok(Bytes::new()),
            b"verify_signature" => decoded(arguments).and_then(|call| verify_signature(&call)),
            b"sign" => decoded(arguments).and_then(|call| sign(&call)),
            b"declare_property" => {
                decoded(arguments).and_then(|declared| declare_property(state, declared))
            }
            b"set_envoy_filter_state" => {
                decoded(arguments).and_then(|set| set_filter_state(state, &set))
            }
            _ => {
                lint(state, Rule::MissingForeign);
                return Err(Status::NotFound.into());
            }
        }
    };
    match result {
        Ok(results) => give_results(caller, &results, out),
        Err(Failure::Status(status)) => {
            give_results(caller, &[], out)?;
            Err(status.into())
        }
        Err(trap) => Err(trap),
    }
}

fn give_results(caller: &mut Caller<'_, State>, results: &[u8], (at, len): Span) -> Outcome {
    match (at, len) {
        (0, 0) => Ok(()),
        (0, len) => {
            let size = u32::try_from(results.len()).map_err(|_| Status::InternalFailure)?;
            split(caller)?.0.write_u32(len, size)
        }
        _ => give_bytes(caller, results, (at, len)),
    }
}

fn decoded<M: prost::Message + Default>(arguments: &[u8]) -> Result<M, Failure> {
    if arguments.len() > MAX_MESSAGE {
        return Err(Status::BadArgument.into());
    }
    M::decode(arguments).map_err(|_| Status::BadArgument.into())
}

fn verify_signature(call: &VerifySignature) -> Result<Bytes, Failure> {
    let key = crypto::key(&call.public_key, &call.public_key_pem)?;
    let key = crypto::PublicKey::read(&key).ok_or(Status::BadArgument)?;
    let verified = key.verify(&call.hash_function, &call.signature, &call.text);
    let result = arguments::Verified {
        result: verified.is_ok(),
        error: verified.err().unwrap_or_default(),
    };
    Ok(Bytes::from(result.encode_to_vec()))
}

fn sign(call: &Sign) -> Result<Bytes, Failure> {
    let key = crypto::key(&call.private_key, &call.private_key_pem)?;
    let key = crypto::PrivateKey::read(&key).ok_or(Status::BadArgument)?;
    let result = match key.sign(&call.hash_function, &call.text) {
        Ok(signature) => arguments::Signed {
            result: true,
            signature,
            error: String::new(),
        },
        Err(error) => arguments::Signed {
            error,
            ..Default::default()
        },
    };
    Ok(Bytes::from(result.encode_to_vec()))
}

/// A second declaration of a name is refused, as in Envoy.
fn declare_property(state: &mut State, declared: DeclareProperty) -> Result<Bytes, Failure> {
    match state.declare(declared.name.as_bytes(), declared.readonly)? {
        true => Ok(Bytes::new()),
        false => Err(Status::BadArgument.into()),
    }
}

fn set_filter_state(state: &State, set: &SetFilterState) -> Result<Bytes, Failure> {
    if !STATE_OBJECTS.contains(&set.path.as_str()) {
        return Err(Status::NotFound.into());
    }
    let stream = state.effective_stream().ok_or(Status::NotFound)?;
    let name = super::properties::object(set.path.as_bytes());
    let left = stream
        .borrow_mut()
        .set_filter_state(&name, set.value.as_bytes());
    match left {
        true => Ok(Bytes::new()),
        false => Err(Status::InternalFailure.into()),
    }
}
