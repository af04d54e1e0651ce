//! Which host an attempt goes to: priorities, and the retry priority `previous_priorities`.

use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Cluster, Hosts, Leaf, Level, SharedCluster};
use crate::config::route::RetryPolicy;
use crate::stream::UpstreamHost;

/// Where the attempts of one request have been.
#[derive(Debug, Default)]
pub struct History {
    /// Priorities of the attempts so far, in order.
    priorities: Vec<usize>,
    /// Hosts of the attempts so far, for `previous_hosts`.
    hosts: Vec<Arc<UpstreamHost>>,
}

/// An attempt's destination.
pub struct Choice {
    /// The leaf that has the connections.
    pub leaf: Rc<Leaf>,
    /// The host.
    pub host: Arc<UpstreamHost>,
}

impl Cluster {
    /// The host of the next attempt: `None` where no leaf has any.
    ///
    /// Levels of priority are the leaves' own, one after the other. The first that has a healthy host is taken; a
    /// retry under `previous_priorities` leaves out those tried before, until all have been, then begins anew.
    ///
    /// Where no level has a healthy host, all hosts of the first count. This is what is left of Envoy's panic mode,
    /// which begins when half of a level's hosts are unhealthy, and shares out to all levels where all are in it.
    pub fn next(&self, history: &mut History, retry: Option<&RetryPolicy>) -> Option<Choice> {
        let tried = excluded(
            &history.priorities,
            retry.and_then(|policy| policy.previous_priorities),
        );
        let (level, leaf, hosts) = match self.first_level(healthy, |level| !tried.contains(&level))
        {
            Some(found) => found,
            None => {
                history.priorities.clear();
                self.first_level(healthy, |_| true)
                    .or_else(|| self.first_level(all, |_| true))?
            }
        };
        let host = pick(&leaf, &hosts, history, retry)?;
        // Without retries nobody asks where it has been.
        if retry.is_some() {
            history.priorities.push(level);
            history.hosts.push(host.clone());
        }
        Some(Choice { leaf, host })
    }

    /// The first level with hosts among these that `wanted` lets pass.
    fn first_level(
        &self,
        among: impl Fn(&SharedCluster) -> &ArcSwap<Hosts>,
        wanted: impl Fn(usize) -> bool,
    ) -> Option<(usize, Rc<Leaf>, Level)> {
        let mut level = 0;
        for leaf in &self.leaves {
            let priorities = among(&leaf.shared).load();
            for hosts in priorities.iter() {
                if !hosts.is_empty() && wanted(level) {
                    return Some((level, leaf.clone(), hosts.clone()));
                }
                level += 1;
            }
        }
        None
    }
}

/// A leaf's healthy hosts.
fn healthy(cluster: &SharedCluster) -> &ArcSwap<Hosts> {
    &cluster.healthy
}

/// All of a leaf's hosts.
fn all(cluster: &SharedCluster) -> &ArcSwap<Hosts> {
    &cluster.hosts
}

/// Priorities to leave out: those of all attempts but the latest that `update_frequency` has not yet counted.
fn excluded(priorities: &[usize], update_frequency: Option<u32>) -> &[usize] {
    let Some(frequency) = update_frequency
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n > 0)
    else {
        return &[];
    };
    let counted = priorities.len() - priorities.len() % frequency;
    priorities.get(..counted).unwrap_or_default()
}

fn pick(
    leaf: &Leaf,
    hosts: &[Arc<UpstreamHost>],
    history: &History,
    retry: Option<&RetryPolicy>,
) -> Option<Arc<UpstreamHost>> {
    let mut host = leaf.choose(hosts)?;
    if let Some(policy) = retry.filter(|policy| policy.previous_hosts) {
        for _ in 0..policy.host_selection_attempts {
            if !history
                .hosts
                .iter()
                .any(|seen| seen.address == host.address)
            {
                break;
            }
            host = leaf.choose(hosts)?;
        }
    }
    Some(host.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_left_out_as_often_as_the_file_says() {
        assert_eq!(excluded(&[0], None), &[] as &[usize]);
        assert_eq!(excluded(&[0], Some(1)), &[0]);
        assert_eq!(
            excluded(&[0], Some(2)),
            &[] as &[usize],
            "the same level twice first"
        );
        assert_eq!(excluded(&[0, 0, 1], Some(2)), &[0, 0]);
    }
}
