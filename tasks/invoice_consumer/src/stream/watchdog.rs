//! Notices partitions that have messages and make no progress. Pure: time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What to do about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Fetch it again from where it stands.
    Seek,
    /// Seeking did not help: end, and let the supervisor start the process again.
    GiveUp,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    position: i64,
    since: Instant,
    healed: u32,
}

/// Remedies before giving up.
const HEALED_MAX: u32 = 2;

/// Watches the positions of partitions.
#[derive(Debug)]
pub struct Watchdog {
    patience: Duration,
    partitions: HashMap<i32, Watched>,
}

impl Watchdog {
    pub fn new(patience: Duration) -> Self {
        Self { patience, partitions: HashMap::new() }
    }

    /// Forgets what it saw; after a pause that was no partition's fault.
    pub fn reset(&mut self) {
        self.partitions.clear();
    }

    /// Looks at one partition that stands at `position` of a log that ends at `end`.
    pub fn look(&mut self, now: Instant, partition: i32, position: i64, end: i64) -> Option<Remedy> {
        let fresh = Watched { position, since: now, healed: 0 };
        let watched = self.partitions.entry(partition).or_insert(fresh);
        if watched.position != position || position >= end {
            *watched = fresh;
            return None;
        }
        if now.duration_since(watched.since) < self.patience {
            return None;
        }
        watched.since = now;
        watched.healed += 1;
        Some(if watched.healed > HEALED_MAX { Remedy::GiveUp } else { Remedy::Seek })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_stands_still_is_healed_then_given_up() {
        let patience = Duration::from_secs(30);
        let mut watchdog = Watchdog::new(patience);
        let start = Instant::now();
        let mut look = |seconds: u64, position, end| {
            watchdog.look(start + Duration::from_secs(seconds), 0, position, end)
        };
        assert_eq!(look(0, 5, 9), None);
        assert_eq!(look(29, 5, 9), None);
        assert_eq!(look(30, 5, 9), Some(Remedy::Seek));
        assert_eq!(look(31, 5, 9), None);
        assert_eq!(look(60, 5, 9), Some(Remedy::Seek));
        assert_eq!(look(90, 5, 9), Some(Remedy::GiveUp));
        // Progress, or nothing to read, starts anew.
        assert_eq!(look(91, 6, 9), None);
        assert_eq!(look(200, 9, 9), None);
        assert_eq!(look(201, 9, 10), None);
        assert_eq!(look(231, 9, 10), Some(Remedy::Seek));
    }
}
