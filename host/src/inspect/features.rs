//! Which proposals beyond the first version of WebAssembly a module needs.

use wasmparser::{Validator, WasmFeatures};

/// Proposals by the names that their documents and compilers' switches give them.
const FEATURES: [(WasmFeatures, &str); 20] = [
    (WasmFeatures::MUTABLE_GLOBAL, "mutable-globals"),
    (
        WasmFeatures::SATURATING_FLOAT_TO_INT,
        "nontrapping-float-to-int",
    ),
    (WasmFeatures::SIGN_EXTENSION, "sign-extension"),
    (WasmFeatures::MULTI_VALUE, "multi-value"),
    (WasmFeatures::BULK_MEMORY, "bulk-memory"),
    (WasmFeatures::REFERENCE_TYPES, "reference-types"),
    (WasmFeatures::SIMD, "simd"),
    (WasmFeatures::RELAXED_SIMD, "relaxed-simd"),
    (WasmFeatures::TAIL_CALL, "tail-call"),
    (WasmFeatures::EXTENDED_CONST, "extended-const"),
    (WasmFeatures::MULTI_MEMORY, "multi-memory"),
    (WasmFeatures::MEMORY64, "memory64"),
    (WasmFeatures::THREADS, "threads"),
    (WasmFeatures::EXCEPTIONS, "exceptions"),
    (WasmFeatures::LEGACY_EXCEPTIONS, "legacy-exceptions"),
    (WasmFeatures::FUNCTION_REFERENCES, "function-references"),
    (WasmFeatures::GC, "gc"),
    (WasmFeatures::STACK_SWITCHING, "stack-switching"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide-arithmetic"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom-page-sizes"),
];

/// Why no engine takes the module, with the offset; `None` where it is valid with all proposals there are.
pub(super) fn invalid(bytes: &[u8]) -> Option<String> {
    let error = validate(bytes, WasmFeatures::all()).err()?;
    Some(format!(
        "not a valid module: {} (at offset {:#x})",
        error.message(),
        error.offset()
    ))
}

/// What a valid module needs: it is not valid without.
pub(super) fn used(bytes: &[u8]) -> Vec<&'static str> {
    let without = |feature| WasmFeatures::all().difference(feature);
    let is_needed = |feature| validate(bytes, without(feature)).is_err();
    // Most modules need few: two looks are cheaper than twenty.
    let first = WasmFeatures::FLOATS | WasmFeatures::GC_TYPES;
    if validate(bytes, first).is_ok() {
        return Vec::new();
    }
    let each = FEATURES.iter();
    each.filter(|(feature, _)| is_needed(*feature))
        .map(|(_, name)| *name)
        .collect()
}

fn validate(bytes: &[u8], features: WasmFeatures) -> Result<(), wasmparser::Error> {
    Validator::new_with_features(features)
        .validate_all(bytes)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<&'static str> {
        used(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn each_proposal_is_found_where_it_is_used() {
        assert_eq!(of("(module)"), [""; 0]);
        let function = |body: &str| of(&format!("(module (memory 1) (func {body}))"));
        assert_eq!(
            function("(drop (i32.extend8_s (i32.const 1)))"),
            ["sign-extension"]
        );
        assert_eq!(
            function("(drop (i32.trunc_sat_f32_s (f32.const 1)))"),
            ["nontrapping-float-to-int"]
        );
        let fill = "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))";
        assert_eq!(function(fill), ["bulk-memory"]);
        assert_eq!(function("(drop (v128.const i64x2 0 0))"), ["simd"]);
        assert_eq!(function("(return_call 0)"), ["tail-call"]);
        assert_eq!(
            of("(module (func (result i32 i32) unreachable))"),
            ["multi-value"]
        );
        assert_eq!(of("(module (memory 1) (memory 1))"), ["multi-memory"]);
        assert_eq!(of("(module (memory i64 1))"), ["memory64"]);
        let global = "(module (global (export \"g\") (mut i32) (i32.const 0)))";
        assert_eq!(of(global), ["mutable-globals"]);
    }

    #[test]
    fn what_is_not_valid_is_told_with_its_place() {
        let mut bytes = wat::parse_str("(module (func (result i32) (i32.const 1)))").unwrap();
        *bytes.last_mut().unwrap() = 0x1a;
        let error = invalid(&bytes).unwrap();
        assert!(
            error.contains("not a valid module") && error.contains("0x"),
            "{error}"
        );
    }
}
