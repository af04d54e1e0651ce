//! Shares of all traffic: in percent with two decimals, as weights, as text.

use serde_json::Value;
use switchover_core::{Duration, Share};

/// Units of a duration, the largest first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Each environment's part of all traffic under these weights; together exactly everything. What rounding leaves goes
/// to those that lost most by it.
#[must_use]
pub fn of_weights(weights: &[u32]) -> Vec<Share> {
    let whole = u64::from(Share::ALL.hundredths());
    let sum = weights.iter().copied().map(u64::from).sum::<u64>().max(1);
    let exact = |weight: &u32| u64::from(*weight) * whole;
    let mut hundredths: Vec<u64> = weights.iter().map(|w| exact(w) / sum).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(weights.get(*index).map(|w| exact(w) % sum)));
    let left = whole.saturating_sub(hundredths.iter().sum());
    for index in order.into_iter().take(usize::try_from(left).unwrap_or(0)) {
        if let Some(part) = hundredths.get_mut(index) {
            *part += 1;
        }
    }
    let share = |part| Share::from_hundredths(u32::try_from(part).unwrap_or(u32::MAX));
    hundredths.into_iter().map(share).collect()
}

/// The smallest of percent, tenths and hundredths of a percent in which all shares are whole numbers.
#[must_use]
pub fn to_weights(shares: &[Share]) -> Vec<u32> {
    let whole = |unit: &u32| shares.iter().all(|s| s.hundredths() % unit == 0);
    let unit = [100, 10].into_iter().find(whole).unwrap_or(1);
    shares.iter().map(|s| s.hundredths() / unit).collect()
}

/// A share as a number of percent.
#[must_use]
pub fn number(share: Share) -> Value {
    let hundredths = share.hundredths();
    if hundredths.is_multiple_of(100) {
        Value::from(hundredths / 100)
    } else {
        Value::from(f64::from(hundredths) / 100.0)
    }
}

/// A share as text, such as `12.5 %`.
#[must_use]
pub fn percent(share: Share) -> String {
    format!("{} %", number(share))
}

/// Reads percent with at most two decimals; a `%` may follow.
///
/// # Errors
/// What is allowed.
pub fn parse(text: &str) -> Result<Share, String> {
    let expected =
        || format!("{text:?} is no percentage: expected 0 to 100 with at most two decimals");
    let (whole, decimals) = match text
        .strip_suffix('%')
        .unwrap_or(text)
        .trim_end()
        .split_once('.')
    {
        Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
        Some(_) => return Err(expected()),
        None => (text.strip_suffix('%').unwrap_or(text).trim_end(), ""),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 3
        || decimals.len() > 2
        || !digits(whole)
        || !digits(decimals)
    {
        return Err(expected());
    }
    let hundredths: u32 = format!("{whole}{decimals:0<2}")
        .parse()
        .map_err(|_| expected())?;
    if hundredths > Share::ALL.hundredths() {
        return Err(expected());
    }
    Ok(Share::from_hundredths(hundredths))
}

/// A duration as the document writes it, such as `1h30m`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let mut left = duration.as_millis();
    let mut text = String::new();
    for (unit, millis) in UNITS {
        if left >= millis {
            text.push_str(&format!("{}{unit}", left / millis));
            left %= millis;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentages() {
        for (text, hundredths) in [
            ("25", 2500),
            ("0", 0),
            ("100", 10_000),
            ("0.05", 5),
            ("12.5%", 1250),
            ("12.5 %", 1250),
            ("099.90", 9990),
        ] {
            assert_eq!(
                parse(text),
                Ok(Share::from_hundredths(hundredths)),
                "{text}"
            );
        }
        for text in [
            "", "%", "-1", "+1", "100.01", "101", "1.234", "1.", ".5", "1e1", "ten", "25 %%",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(percent(Share::from_hundredths(1250)), "12.5 %");
        assert_eq!(percent(Share::from_hundredths(2500)), "25 %");
    }

    #[test]
    fn weights_are_as_small_as_can_be_read() {
        let weights = |hundredths: &[u32]| {
            let shares: Vec<_> = hundredths
                .iter()
                .map(|h| Share::from_hundredths(*h))
                .collect();
            to_weights(&shares)
        };
        assert_eq!(weights(&[7500, 2500]), [75, 25]);
        assert_eq!(weights(&[8750, 1250]), [875, 125]);
        assert_eq!(weights(&[9999, 1]), [9999, 1]);
    }

    proptest! {
        #[test]
        fn shares_add_up(weights in proptest::collection::vec(0_u32..1_000_000, 1..6)) {
            prop_assume!(weights.iter().any(|w| *w > 0));
            let shares = of_weights(&weights);
            prop_assert_eq!(shares.iter().map(|s| s.hundredths()).sum::<u32>(), 10_000);
            let sum: u64 = weights.iter().copied().map(u64::from).sum();
            for (weight, share) in weights.iter().zip(&shares) {
                let exact = u64::from(*weight) * 10_000 / sum;
                prop_assert!(u64::from(share.hundredths()).abs_diff(exact) <= 1);
            }
            prop_assert_eq!(of_weights(&to_weights(&shares)), shares);
        }

        #[test]
        fn durations_read_back(millis in 0_u64..100_000_000_000) {
            let written = duration(Duration::from_millis(millis));
            prop_assert_eq!(Duration::parse(&written).map(Duration::as_millis), Some(millis), "{}", written);
        }

        #[test]
        fn percentages_read_back(hundredths in 0_u32..=10_000) {
            let share = Share::from_hundredths(hundredths);
            prop_assert_eq!(parse(&percent(share)), Ok(share));
        }
    }
}
