//! Small guests, written as WebAssembly text in `tests/guests/` and compiled here.

use std::path::{Path, PathBuf};

use crate::programs;

/// Compiles one into a directory.
///
/// # Panics
/// Where the text is no WebAssembly.
pub fn compile(name: &str, text: &str, into: &Path) -> PathBuf {
    let bytes = wat::parse_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
    let file = into.join(format!("{name}.wasm"));
    std::fs::write(&file, bytes).unwrap();
    file
}

/// Compiles one of `tests/guests/hostile/` into a directory.
///
/// # Panics
/// As [`compile`], or where there is none of that name.
pub fn hostile(name: &str, into: &Path) -> PathBuf {
    let file = programs::root().join(format!("tests/guests/hostile/{name}.wat"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    compile(name, &text, into)
}

/// Copies a guest with an empty custom section added: the same behaviour under another digest.
pub fn variant(of: &Path, into: &Path) -> PathBuf {
    let mut bytes = std::fs::read(of).unwrap();
    bytes.extend_from_slice(b"\x00\x08\x07variant");
    let file = into.join("variant.wasm");
    std::fs::write(&file, bytes).unwrap();
    file
}
