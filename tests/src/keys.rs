//! Keys of consumers and environments that cases use.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The digest of a consumer's key, as documents hold it.
pub fn digest(key: &str) -> String {
    Sha256::digest(key)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A consumer with one key that is always good.
pub fn consumer(name: &str, key: &str) -> Value {
    json!({"name": name, "keys": [{"sha256": digest(key)}]})
}
