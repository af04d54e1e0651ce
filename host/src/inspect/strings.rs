//! Text in a module's data.

/// Runs of printable characters, at least so long, as `strings` finds them.
pub(super) fn printable(data: &[u8], least: usize) -> impl Iterator<Item = &str> {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    data.split(move |byte| !is_text(byte))
        .filter(move |run| run.len() >= least)
        .filter_map(|run| std::str::from_utf8(run).ok())
}

/// Whether text is in the data, as UTF-8.
pub(super) fn has(data: &[u8], text: &str) -> bool {
    memchr::memmem::find(data, text.as_bytes()).is_some()
}

/// Whether ASCII text is in the data as UTF-16, as AssemblyScript keeps its strings.
pub(super) fn has_wide(data: &[u8], text: &str) -> bool {
    let wide: Vec<u8> = text.bytes().flat_map(|byte| [byte, 0]).collect();
    memchr::memmem::find(data, &wide).is_some()
}

/// The first ASCII text of ten letters or more that is kept as UTF-16.
pub(super) fn wide_text(data: &[u8]) -> Option<String> {
    let is_wide =
        |pair: &[u8]| matches!(pair, [byte, 0] if byte.is_ascii_graphic() || *byte == b' ');
    [0, 1].into_iter().find_map(|odd| {
        let pairs: Vec<&[u8]> = data.get(odd..)?.chunks_exact(2).collect();
        let mut runs = pairs.split(|pair| !is_wide(pair));
        let run = runs.find(|run| run.len() >= 10)?;
        let letters = run.iter().filter_map(|pair| pair.first());
        Some(letters.take(40).map(|byte| char::from(*byte)).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_between_bytes() {
        let data = b"\0\x01short\0a longer text\xff\0tail of it";
        let found: Vec<_> = printable(data, 8).collect();
        assert_eq!(found, ["a longer text", "tail of it"]);
        assert!(has(data, "longer") && !has(data, "none"));
        let wide: Vec<u8> = b"x"
            .iter()
            .copied()
            .chain(b"hello there".iter().flat_map(|b| [*b, 0]))
            .collect();
        assert_eq!(wide_text(&wide).as_deref(), Some("hello there"));
        assert_eq!(wide_text(data), None);
        assert!(has_wide(b"xa\0b\0c\0", "abc") && !has_wide(b"abc", "abc"));
    }
}
