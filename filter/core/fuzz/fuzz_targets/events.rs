//! A stream of events, cut anywhere: what is told, counted and passed on does not depend on where. The first byte says
//! where, and whether the usage is hidden.
#![no_main]

use libfuzzer_sys::fuzz_target;
use switchover_core::models::events::Events;
use switchover_core::scan::Usage;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, stream)) = bytes.split_first() else {
        return;
    };
    let (hides, size) = (first & 1 == 1, usize::from(first >> 1).max(1));
    let pieces: Vec<_> = stream.chunks(size).collect();
    let whole = read(&[stream], hides);
    assert_eq!(whole, read(&pieces, hides));
    if !hides {
        assert!(whole.2.is_empty(), "what nobody hides passes as it is");
    }
});

fn read(pieces: &[&[u8]], hides: bool) -> (Option<Usage>, u64, Vec<u8>) {
    let mut events = Events::new(hides);
    let mut passed = Vec::new();
    pieces
        .iter()
        .for_each(|piece| events.feed(piece, &mut passed));
    events.finish(&mut passed);
    (events.usage(), events.count(), passed)
}
