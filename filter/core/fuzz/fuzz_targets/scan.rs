//! The scanner beside `serde_json`: any bytes, cut anywhere. The first byte says where.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use switchover_core::scan::{Fault, Found, Model, Scan};

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, text)) = bytes.split_first() else {
        return;
    };
    let whole = scan(&[text]);
    let pieces: Vec<_> = text.chunks(usize::from(*cut).max(1)).collect();
    assert_eq!(whole, scan(&pieces));
    // A mark at the start is passed over here; `serde_json` refuses it.
    let plain = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    assert_eq!(
        whole.is_ok(),
        serde_json::from_slice::<IgnoredAny>(plain).is_ok()
    );
    if let (Ok(found), Ok(value)) = (whole, serde_json::from_slice::<serde_json::Value>(plain)) {
        let model = match &found.model {
            Some(Model::Text(model, _)) => Some(model.as_str()),
            Some(Model::TooLong) => return,
            Some(Model::NotText) | None => None,
        };
        assert_eq!(model, value.get("model").and_then(|model| model.as_str()));
    }
});

fn scan(pieces: &[&[u8]]) -> Result<Found, Fault> {
    let mut scan = Scan::new();
    pieces.iter().for_each(|piece| scan.feed(piece));
    scan.finish().cloned()
}
