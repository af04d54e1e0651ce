//! A key, string or number that matters, with its escapes undone.

/// Longer than every key that matters and every model's name.
pub(super) const LONGEST: usize = 256;

/// What has been read of it.
#[derive(Debug, Default)]
pub(super) struct Token {
    bytes: Vec<u8>,
    /// It has more bytes than [`LONGEST`].
    is_cut: bool,
    /// It holds half a surrogate pair.
    is_broken: bool,
    /// The first half of a surrogate pair whose second is due; zero where none is.
    high: u32,
    /// The digits behind `\u` so far, and how many.
    hex: (u32, u8),
    /// It is a key.
    pub(super) is_key: bool,
}

/// What a token says, or why that is not known.
pub(super) type Read<'a> = Result<&'a [u8], Unread>;

/// Why it is not known what a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It has more bytes than [`LONGEST`].
    TooLong,
    /// It is no text.
    NotText,
}

impl Token {
    pub(super) const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            is_cut: false,
            is_broken: false,
            high: 0,
            hex: (0, 0),
            is_key: false,
        }
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.is_cut = false;
        self.is_broken = false;
        self.high = 0;
        self.is_key = false;
    }

    /// What it says.
    #[inline]
    pub(super) fn bytes(&self) -> Read<'_> {
        if self.is_cut {
            Err(Unread::TooLong)
        } else if self.is_broken || self.high != 0 {
            Err(Unread::NotText)
        } else {
            Ok(&self.bytes)
        }
    }

    #[inline]
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.is_broken |= self.high != 0;
        self.high = 0;
        if self.bytes.len().saturating_add(bytes.len()) > LONGEST {
            self.is_cut = true;
            return;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn begin_hex(&mut self) {
        self.hex = (0, 0);
    }

    /// Takes a digit behind `\u` in; whether that is the last, `None` if it is no digit.
    pub(super) fn hex(&mut self, digit: u8, is_kept: bool) -> Option<bool> {
        let value = char::from(digit).to_digit(16)?;
        self.hex = (self.hex.0 << 4 | value, self.hex.1 + 1);
        let is_last = self.hex.1 == 4;
        if is_last && is_kept {
            self.unit(self.hex.0);
        }
        Some(is_last)
    }

    /// A UTF-16 code unit.
    fn unit(&mut self, unit: u32) {
        let high = std::mem::take(&mut self.high);
        let code = match (high, unit) {
            (0, 0xd800..0xdc00) => {
                self.high = unit;
                return;
            }
            (0, _) => unit,
            (_, 0xdc00..0xe000) => 0x1_0000 + ((high - 0xd800) << 10) + (unit - 0xdc00),
            _ => 0xd800,
        };
        match char::from_u32(code) {
            Some(character) => self.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => self.is_broken = true,
        }
    }
}
