//! Sixteen bytes at a time: which of them end a run. In Wasm these are vectors.

/// Bytes of a block.
pub(super) const WIDTH: usize = 16;

/// Some bytes of a text.
#[derive(Clone, Copy)]
pub(super) struct Block(vector::Bytes);

// === impl Block ===

impl Block {
    /// Those from an offset on; `None` where there are not so many.
    #[inline(always)]
    pub(super) fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let bytes = bytes.get(at..)?.first_chunk::<WIDTH>()?;
        Some(Self(vector::load(bytes)))
    }

    /// A bit for each byte that is a quote, a `\` or a control character; the first byte's is the lowest.
    #[inline(always)]
    pub(super) fn special(self) -> u32 {
        vector::special(self.0)
    }

    /// The same for line feeds and carriage returns.
    #[inline(always)]
    pub(super) fn line_ends(self) -> u32 {
        vector::line_ends(self.0)
    }
}

#[cfg(target_feature = "simd128")]
mod vector {
    use core::arch::wasm32::{
        u8x16_bitmask, u8x16_eq, u8x16_max, u8x16_splat, u64x2, v128, v128_or,
    };

    use super::WIDTH;

    pub(super) type Bytes = v128;

    #[inline(always)]
    pub(super) fn load(bytes: &[u8; WIDTH]) -> Bytes {
        let whole = u128::from_le_bytes(*bytes);
        #[expect(clippy::cast_possible_truncation, reason = "the lower half of it")]
        u64x2(whole as u64, (whole >> 64) as u64)
    }

    #[inline(always)]
    pub(super) fn special(bytes: Bytes) -> u32 {
        // One instruction less than to ask which are less than 32.
        let last = u8x16_splat(31);
        let control = u8x16_eq(u8x16_max(bytes, last), last);
        mask(v128_or(control, either(bytes, b'"', b'\\')))
    }

    #[inline(always)]
    pub(super) fn line_ends(bytes: Bytes) -> u32 {
        mask(either(bytes, b'\n', b'\r'))
    }

    #[inline(always)]
    fn either(bytes: Bytes, one: u8, other: u8) -> v128 {
        v128_or(
            u8x16_eq(bytes, u8x16_splat(one)),
            u8x16_eq(bytes, u8x16_splat(other)),
        )
    }

    #[inline(always)]
    fn mask(flags: v128) -> u32 {
        u32::from(u8x16_bitmask(flags))
    }
}

#[cfg(not(target_feature = "simd128"))]
mod vector {
    use super::WIDTH;

    pub(super) type Bytes = [u8; WIDTH];

    #[inline(always)]
    pub(super) fn load(bytes: &[u8; WIDTH]) -> Bytes {
        *bytes
    }

    #[inline(always)]
    pub(super) fn special(bytes: Bytes) -> u32 {
        mask(bytes, |byte| matches!(byte, b'"' | b'\\' | 0..32))
    }

    #[inline(always)]
    pub(super) fn line_ends(bytes: Bytes) -> u32 {
        mask(bytes, |byte| matches!(byte, b'\n' | b'\r'))
    }

    #[inline(always)]
    fn mask(bytes: Bytes, is_end: impl Fn(u8) -> bool) -> u32 {
        let bits = bytes.into_iter().enumerate();
        bits.fold(0, |mask, (at, byte)| mask | u32::from(is_end(byte)) << at)
    }
}
