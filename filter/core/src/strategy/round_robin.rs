//! Smooth weighted round robin.
//!
//! Each turn every environment earns its weight as credit, the one with the most credit is chosen and pays the sum of all
//! weights. From a fresh start any sum(weights) turns in a row give each environment exactly its weight.

/// The credit of each environment.
#[derive(Debug, Clone, Default)]
pub struct RoundRobin {
    weights: Vec<u32>,
    credits: Vec<i64>,
    total: i64,
}

impl RoundRobin {
    /// A fresh start with these weights.
    #[must_use]
    pub fn new(weights: Vec<u32>) -> Self {
        let total = weights.iter().copied().map(i64::from).sum();
        Self {
            credits: vec![0; weights.len()],
            weights,
            total,
        }
    }

    /// The weights in force.
    #[must_use]
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// Goes on with other weights. Credit is carried, scaled to the new sum, so that a small share keeps what it has
    /// earned; equal weights change nothing. `carried` maps an index of the new weights to one of the old.
    #[must_use]
    pub fn succeed(&self, weights: Vec<u32>, carried: impl Fn(usize) -> Option<usize>) -> Self {
        let mut next = Self::new(weights);
        if self.total == 0 || next.total == 0 {
            return next;
        }
        let mut left_over = 0;
        for (index, (credit, weight)) in next.credits.iter_mut().zip(&next.weights).enumerate() {
            let earned = carried(index)
                .and_then(|old| self.credits.get(old))
                .copied()
                .unwrap_or(0);
            if *weight > 0 {
                *credit = earned.saturating_mul(next.total) / self.total;
                left_over -= *credit;
            }
        }
        // Credits add up to zero; what rounding and departures leave goes to the heaviest, which feels it least.
        let heaviest = next
            .weights
            .iter()
            .enumerate()
            .max_by_key(|(_, weight)| **weight);
        if let Some(credit) = heaviest.and_then(|(index, _)| next.credits.get_mut(index)) {
            *credit = credit.saturating_add(left_over);
        }
        next
    }

    /// Takes turns without using them, so that workers do not all start with the same environment.
    pub fn skip(&mut self, turns: u32) {
        for _ in 0..turns {
            self.choose();
        }
    }

    /// The environment whose turn it is; `None` if all weights are zero.
    #[inline]
    pub fn choose(&mut self) -> Option<usize> {
        let mut best: Option<(usize, i64)> = None;
        for (index, (credit, weight)) in self.credits.iter_mut().zip(&self.weights).enumerate() {
            if *weight == 0 {
                continue;
            }
            *credit = credit.saturating_add(i64::from(*weight));
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((index, *credit));
            }
        }
        let (index, _) = best?;
        let credit = self.credits.get_mut(index)?;
        *credit = credit.saturating_sub(self.total);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn counts(balancer: &mut RoundRobin, turns: u32) -> Vec<u32> {
        let mut counts = vec![0; balancer.weights().len()];
        for _ in 0..turns {
            counts[balancer.choose().unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn is_smooth() {
        let mut balancer = RoundRobin::new(vec![5, 1, 1]);
        let order: Vec<_> = (0..7).map(|_| balancer.choose().unwrap()).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(RoundRobin::new(vec![0, 0]).choose(), None);
        assert_eq!(RoundRobin::default().choose(), None);
    }

    #[test]
    fn one_percent_is_served_at_low_traffic_while_weights_are_recomputed() {
        let mut balancer = RoundRobin::new(vec![99, 1]);
        let mut green = 0;
        for turn in 0..10_000_u32 {
            // A new total each ten requests, the share stays at a hundredth.
            let scale = 1 + turn / 10 % 7;
            balancer = balancer.succeed(vec![99 * scale, scale], Some);
            green += balancer.choose().unwrap();
        }
        assert!((99..=101).contains(&green), "{green}");
    }

    proptest! {
        #[test]
        fn exact_over_every_window(weights in vec(0_u32..60, 1..6), offset in 0_u32..500, windows in 1_usize..4) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let mut balancer = RoundRobin::new(weights.clone());
            balancer.skip(offset);
            for _ in 0..windows {
                prop_assert_eq!(&counts(&mut balancer, total), &weights);
                prop_assert!(balancer.credits.iter().sum::<i64>() == 0);
            }
        }

        #[test]
        fn two_environments_stay_exact_after_a_change(before in (1_u32..100, 1_u32..100), green in 0_u32..=100, offset in 0_u32..300) {
            let mut balancer = RoundRobin::new(vec![before.0, before.1]);
            balancer.skip(offset);
            let mut balancer = balancer.succeed(vec![100 - green, green], Some);
            prop_assert_eq!(counts(&mut balancer, 100), vec![100 - green, green]);
        }

        #[test]
        fn many_environments_stay_within_one_per_environment_after_a_change(before in vec(0_u32..40, 2..5), seed in vec(0_u32..40, 5), offset in 0_u32..300) {
            let after = &seed[..before.len()];
            prop_assume!(before.iter().sum::<u32>() > 0 && after.iter().sum::<u32>() > 0);
            let mut balancer = RoundRobin::new(before.clone());
            balancer.skip(offset);
            let mut balancer = balancer.succeed(after.to_vec(), Some);
            let total = after.iter().sum::<u32>();
            let slack = u32::try_from(before.len()).unwrap();
            for (count, weight) in counts(&mut balancer, total * 3).into_iter().zip(after) {
                prop_assert!(count.abs_diff(weight * 3) <= slack, "{count} for {weight}");
                prop_assert!(*weight > 0 || count == 0);
            }
        }

        #[test]
        fn unchanged_weights_keep_the_state(weights in vec(1_u32..60, 1..6), offset in 0_u32..500) {
            let mut balancer = RoundRobin::new(weights.clone());
            balancer.skip(offset);
            let mut next = balancer.succeed(weights, Some);
            for _ in 0..50 {
                prop_assert_eq!(balancer.choose(), next.choose());
            }
        }
    }
}
