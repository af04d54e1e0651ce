//! Versions of the ABI, and whether a module keeps to its own: marker, imports, signatures of callbacks, allocator.

use wasmtime::{ExternType, FuncType, Module, ValType};

use super::callbacks::{CALLBACKS, CallbackInfo};
use crate::vm::VmError;

/// A version of the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Version {
    /// 0.1.0: headers come without `end_of_stream`, and an absent header is an empty one.
    V0_1_0,
    /// 0.2.0.
    V0_2_0,
    /// 0.2.1: adds `proxy_get_log_level`.
    #[default]
    V0_2_1,
}

impl Version {
    /// All of them, with the export that marks them.
    pub const MARKERS: [(&'static str, Self); 3] = [
        ("proxy_abi_version_0_1_0", Self::V0_1_0),
        ("proxy_abi_version_0_2_0", Self::V0_2_0),
        ("proxy_abi_version_0_2_1", Self::V0_2_1),
    ];

    /// Whether a module of this version may import the function.
    #[must_use]
    pub fn offers(self, import: &str) -> bool {
        match import {
            "proxy_get_configuration"
            | "proxy_continue_request"
            | "proxy_continue_response"
            | "proxy_clear_route_cache" => self == Self::V0_1_0,
            "proxy_continue_stream" | "proxy_close_stream" => self >= Self::V0_2_0,
            "proxy_get_log_level" => self == Self::V0_2_1,
            _ => true,
        }
    }

    /// Whether the host calls the callback in a module of this version.
    #[must_use]
    pub fn calls(self, callback: &CallbackInfo) -> bool {
        self >= callback.since && callback.until.is_none_or(|until| self <= until)
    }

    /// As in the marker: `0.2.1`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_2_1 => "0.2.1",
        }
    }
}

/// The version a module was built for, where it keeps to it as Envoy demands.
///
/// # Errors
/// No marker or an unknown one, an import that this version has not, a callback of another signature, no allocator.
pub fn check(module: &Module) -> Result<Version, VmError> {
    let version = marker(module)?;
    let foreign = module
        .imports()
        .find(|import| import.module() == "env" && !version.offers(import.name()));
    if let Some(import) = foreign {
        return Err(VmError::Imports(format!(
            "env.{}, which ABI {} has not",
            import.name(),
            version.as_str()
        )));
    }
    for callback in CALLBACKS.iter().filter(|callback| version.calls(callback)) {
        signature(module, callback)?;
    }
    let allocates = |name: &str| matches!(module.get_export(name), Some(ExternType::Func(_)));
    if !allocates("malloc") && !allocates("proxy_on_memory_allocate") {
        return Err(VmError::Exports(
            "neither malloc nor proxy_on_memory_allocate, one of which the host needs to hand values over".to_owned(),
        ));
    }
    Ok(version)
}

fn marker(module: &Module) -> Result<Version, VmError> {
    let mut found = None;
    for export in module.exports() {
        let name = export.name();
        if let Some((_, version)) = Version::MARKERS.iter().find(|(marker, _)| *marker == name) {
            return Ok(*version);
        }
        if name.starts_with("proxy_abi_version_") {
            found = Some(name.to_owned());
        }
    }
    Err(VmError::Abi(found.unwrap_or_else(|| "none".to_owned())))
}

fn signature(module: &Module, callback: &CallbackInfo) -> Result<(), VmError> {
    let Some(ExternType::Func(kind)) = module.get_export(callback.name) else {
        return Ok(());
    };
    let fits = all_i32(kind.params(), callback.parameters.len())
        && all_i32(kind.results(), usize::from(callback.returns.is_some()));
    if fits {
        return Ok(());
    }
    Err(VmError::Exports(format!(
        "{} as {}, where ABI callbacks of that name take {} i32 and return {}",
        callback.name,
        shown(&kind),
        callback.parameters.len(),
        if callback.returns.is_some() {
            "one"
        } else {
            "nothing"
        },
    )))
}

fn all_i32(types: impl ExactSizeIterator<Item = ValType>, n: usize) -> bool {
    types.len() == n && types.into_iter().all(|kind| matches!(kind, ValType::I32))
}

fn shown(kind: &FuncType) -> String {
    let list = |types: &mut dyn Iterator<Item = ValType>| {
        let types: Vec<_> = types.map(|kind| kind.to_string()).collect();
        types.join(", ")
    };
    format!(
        "({}) -> ({})",
        list(&mut kind.params()),
        list(&mut kind.results())
    )
}
