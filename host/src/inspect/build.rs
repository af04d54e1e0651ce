//! What a module's maker wrote into it about its build.

use serde::{Deserialize, Serialize};

/// The custom section that holds it, as a JSON object.
pub const SECTION: &str = "switchover.build";

/// What a module was built from and with; `None` for what it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Build {
    /// The filter's name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The commit of its sources; it ends with `-dirty` where they were changed.
    pub commit: Option<String>,
    /// The version of Proxy-Wasm that it speaks.
    pub abi: Option<String>,
    /// The Proxy-Wasm SDK; `none` where it declares the ABI by hand.
    pub sdk: Option<String>,
    /// The compiler.
    pub compiler: Option<String>,
    /// What made it smaller afterwards.
    pub optimizer: Option<String>,
}

// === impl Build ===

impl Build {
    /// Reads the section; `None` where it is of another shape, which concerns nobody who runs the module.
    pub(super) fn read(section: &[u8]) -> Option<Self> {
        serde_json::from_slice(section).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_or_missing_does_no_harm() {
        let build = Build::read(br#"{"version":"1.0","more":[1]}"#).expect("read");
        assert_eq!(build.version.as_deref(), Some("1.0"));
        assert_eq!(build.commit, None);
        assert_eq!(Build::read(b"version 1.0"), None);
        assert_eq!(Build::read(br#"{"version":1}"#), None);
    }
}
