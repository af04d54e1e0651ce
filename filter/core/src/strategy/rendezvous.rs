//! Sticky shares: weighted rendezvous hashing.
//!
//! Each environment gets a score for the key, `-ln(u) / weight` with u uniform in (0, 1) from SipHash-2-4 keyed by the
//! rollout's salt; the lowest score wins. Raising a weight only lowers that environment's scores, so keys only move to it;
//! lowering one only moves keys away from it. A new salt picks new first users.
//!
//! The arithmetic is deterministic (only + - * / on f64), so that a key has the same environment natively and in a guest.

use std::hash::Hasher;

use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;

use crate::document::Environment;

/// The hash key of a rollout: a digest of its id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Salt(u64, u64);

impl Salt {
    /// The salt of a rollout.
    #[must_use]
    pub(crate) fn new(rollout: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(rollout.as_bytes()).into();
        let [k0, k1, ..] = digest.as_chunks::<8>().0 else {
            return Self(0, 0);
        };
        Self(u64::from_le_bytes(*k0), u64::from_le_bytes(*k1))
    }

    /// The hasher for an environment, to which the key is still to be written: name, a zero byte, key.
    pub(crate) fn hasher(self, environment: &str) -> SipHasher24 {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        hasher.write(environment.as_bytes());
        hasher.write(&[0]);
        hasher
    }
}

/// The environment that a key belongs to; `None` if all weights are zero. Weights are in the environments' order.
#[inline]
pub(crate) fn choose(environments: &[Environment], weights: &[u32], key: &[u8]) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, (environment, weight)) in environments.iter().zip(weights).enumerate() {
        if *weight == 0 {
            continue;
        }
        let mut hasher = environment.hasher();
        hasher.write(key);
        let score = minus_ln(uniform(hasher.finish())) / f64::from(*weight);
        if best.is_none_or(|(_, lowest)| score < lowest) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

/// A number strictly between 0 and 1 from the upper 52 bits.
#[expect(clippy::cast_precision_loss, reason = "52 bits fit an f64")]
#[inline]
fn uniform(bits: u64) -> f64 {
    const SCALE: f64 = 1.0 / (1_u64 << 52) as f64;
    ((bits >> 12) as f64 + 0.5) * SCALE
}

/// -ln(x) for a normal x in (0, 1), to within 1e-14 or so. x = m * 2^-e with m in [0.75, 1.5), and
/// ln m = 2 atanh((m - 1) / (m + 1)), by its series.
#[inline]
fn minus_ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    const ONE: u64 = 1023 << 52;
    // 1/23, 1/21, ... 1/3: with |s| <= 0.2 the next term is below 1e-18.
    const COEFFICIENTS: [f64; 11] = [
        1.0 / 23.0,
        1.0 / 21.0,
        1.0 / 19.0,
        1.0 / 17.0,
        1.0 / 15.0,
        1.0 / 13.0,
        1.0 / 11.0,
        1.0 / 9.0,
        1.0 / 7.0,
        1.0 / 5.0,
        1.0 / 3.0,
    ];
    let bits = x.to_bits();
    let mut mantissa = f64::from_bits(bits & MANTISSA | ONE);
    let exponent = u32::try_from(bits >> 52 & 0x7ff).unwrap_or(0);
    let mut halvings = 1023.0 - f64::from(exponent);
    if mantissa >= 1.5 {
        mantissa *= 0.5;
        halvings -= 1.0;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = COEFFICIENTS
        .iter()
        .fold(0.0, |sum, coefficient| (sum + coefficient) * square);
    halvings * std::f64::consts::LN_2 - 2.0 * s * (1.0 + series)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn logarithm_is_accurate() {
        for bits in (0..=u64::MAX).step_by(usize::try_from(u64::MAX / 100_000).unwrap()) {
            let x = uniform(bits);
            assert!(x > 0.0 && x < 1.0);
            let (ours, theirs) = (minus_ln(x), -x.ln());
            assert!(
                (ours - theirs).abs() <= 1e-14 * theirs.max(1.0),
                "{x}: {ours} {theirs}"
            );
        }
        assert!(minus_ln(uniform(u64::MAX)) > 0.0);
    }

    /// Committed values: they must never change, natively or in a guest, or every sticky user would move.
    #[test]
    fn test_vectors() {
        let salt = Salt::new("chat-api-2.1.0");
        assert_eq!(
            (salt.0, salt.1),
            (9_813_990_648_238_489_299, 14_975_829_196_983_285_999)
        );
        let mut hasher = salt.hasher("green");
        hasher.write(b"team-a");
        assert_eq!(hasher.finish(), 0xcf72_8f6c_4443_6218);
        assert_eq!(minus_ln(uniform(0)).to_bits(), 0x4042_5e4f_7b27_37fa);
        assert_eq!(
            minus_ln(uniform(0x0123_4567_89ab_cdef)).to_bits(),
            0x4015_aa16_394d_4834
        );
        assert_eq!(
            minus_ln(uniform(0xfedc_ba98_7654_3210)).to_bits(),
            0x3f72_3eb9_9135_4e4c
        );
    }

    fn environments(count: usize, rollout: &str) -> Vec<Environment> {
        (0..count)
            .map(|index| Environment::for_tests(&format!("e{index}"), rollout))
            .collect()
    }

    proptest! {
        #[test]
        fn keys_move_only_towards_a_raised_share(weights in proptest::collection::vec(0_u32..50, 2..5), raised in 0_usize..5, by in 1_u32..50, keys in 0_u32..1000) {
            let environments = environments(weights.len(), "r");
            let raised = raised % weights.len();
            let mut after = weights.clone();
            after[raised] += by;
            for key in keys..keys + 200 {
                let key = key.to_string();
                let (old, new) = (choose(&environments, &weights, key.as_bytes()), choose(&environments, &after, key.as_bytes()));
                prop_assert!(new == old || new == Some(raised));
            }
        }
    }

    #[test]
    fn shares_follow_weights_and_salts_differ() {
        let (first, second) = (environments(3, "first"), environments(3, "second"));
        let weights = [70, 5, 25];
        let mut counts = [0_u32; 3];
        let mut same = 0;
        for key in 0..100_000_u32 {
            let key = format!("user-{key}");
            let chosen = choose(&first, &weights, key.as_bytes()).unwrap();
            counts[chosen] += 1;
            same += u32::from(chosen == 1 && choose(&second, &weights, key.as_bytes()) == Some(1));
        }
        for (count, weight) in counts.iter().zip(weights) {
            assert!(count.abs_diff(weight * 1000) < 700, "{counts:?}");
        }
        // Were the salts ignored, all 5,000 would be the same; by chance it is 250.
        assert!(same < 400, "{same}");
        assert_eq!(choose(&first, &[0, 0, 0], b"k"), None);
    }
}
