//! A small generator of random numbers for lots and cookies; nothing secret depends on it.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed, which should differ from VM to VM.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to below `bound` (0 for 0). The bias is below 2^-32.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        let product = (self.bits() >> 32) * u64::from(bound);
        u32::try_from(product >> 32).unwrap_or(0)
    }

    /// Draws an index by weights; `None` if all are zero.
    #[inline]
    pub fn draw(&mut self, weights: &[u32]) -> Option<usize> {
        let total = weights
            .iter()
            .fold(0_u32, |sum, weight| sum.saturating_add(*weight));
        let mut lot = self.below(total);
        for (index, weight) in weights.iter().enumerate() {
            if lot < *weight {
                return Some(index);
            }
            lot -= weight;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_by_weight() {
        let mut random = Random::new(7);
        let mut counts = [0_u32; 3];
        for _ in 0..100_000 {
            counts[random.draw(&[90, 0, 10]).unwrap()] += 1;
        }
        // Nine standard deviations of a binomial with p = 0.1.
        assert!(
            counts[1] == 0 && counts[2].abs_diff(10_000) < 860,
            "{counts:?}"
        );
        assert_eq!(random.draw(&[0, 0]), None);
        assert_eq!(random.draw(&[]), None);
    }
}
