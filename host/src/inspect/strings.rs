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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_between_bytes() {
        let data = b"\0\x01short\0a longer text\xff\0tail of it";
        let found: Vec<_> = printable(data, 8).collect();
        assert_eq!(found, ["a longer text", "tail of it"]);
        assert!(has(data, "longer") && !has(data, "none"));
        assert!(has_wide(b"xa\0b\0c\0", "abc") && !has_wide(b"abc", "abc"));
    }
}
