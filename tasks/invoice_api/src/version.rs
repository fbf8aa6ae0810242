//! Which of two states of an invoice is the newer one. Pure.
//!
//! A change event names the log position (LSN) of its change and the transaction that made it. What a
//! read found has no position: a transaction may have written below the log's end of that moment and
//! committed after it. A read does know its snapshot, and whether a snapshot sees a transaction is a
//! fact. So changes are ordered among each other by LSN, and against reads by visibility:
//! docs/decisions/0031.

use serde::{Deserialize, Serialize};

/// Changes that an entry waits for at most; the later ones of a row imply the earlier ones.
const WAITING_MAX: usize = 4;

/// A committed change of one invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Position in the write-ahead log; 0 when unknown.
    pub lsn: u64,
    /// The transaction, as 32 bits at least; 0 when unknown.
    pub xid: u64,
}

/// What a read in Postgres could see: `pg_current_snapshot()`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every transaction below has ended.
    pub xmin: u64,
    /// No transaction from here on had ended.
    pub xmax: u64,
    /// In between, the ones still running.
    pub running: Vec<u64>,
}

impl Snapshot {
    /// Parses `xmin:xmax:xip,xip,…`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let running = parts.next()?.split(',').filter(|id| !id.is_empty());
        Some(Self { xmin, xmax, running: running.map(str::parse).collect::<Result<_, _>>().ok()? })
    }

    /// A source without transaction ids (SQLite): nothing is known to be seen.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Whether the snapshot shows what the change did. An unknown transaction is never sure to be seen.
    pub fn sees(&self, change: Change) -> bool {
        if change.xid == 0 {
            return false;
        }
        let xid = widened(change.xid, self.xmax);
        xid < self.xmin || (xid < self.xmax && !self.running.contains(&xid))
    }
}

/// Connectors send transaction ids of 32 bits; the nearest number of 64 bits is meant.
fn widened(xid: u64, near: u64) -> u64 {
    const EPOCH: u64 = 1 << 32;
    if xid >= EPOCH || near < EPOCH {
        return xid;
    }
    let same_epoch = near / EPOCH * EPOCH + xid;
    if same_epoch > near + EPOCH / 2 {
        same_epoch - EPOCH
    } else if same_epoch + EPOCH / 2 < near {
        same_epoch + EPOCH
    } else {
        same_epoch
    }
}

/// How new a cached state is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The latest change that is known to be in it.
    pub lsn: u64,
    /// Every transaction below is in it: `xmin` of the read.
    pub seen_below: u64,
    /// Changes that are known and not in it; such a state is served only when nothing newer can be had.
    pub waits_for: Vec<Change>,
}

impl Version {
    /// The version of what a read found, knowing nothing of the past.
    pub fn of_read(snapshot: &Snapshot) -> Self {
        Self { lsn: 0, seen_below: snapshot.xmin, waits_for: Vec::new() }
    }

    pub fn is_current(&self) -> bool {
        self.waits_for.is_empty()
    }

    /// Whether the change is surely in this state already.
    pub fn includes(&self, change: Change) -> bool {
        (change.lsn != 0 && change.lsn <= self.lsn)
            || (change.xid != 0 && widened(change.xid, self.seen_below) < self.seen_below)
    }

    /// The version after a change was announced; none when that says nothing new.
    pub fn announced(&self, change: Change) -> Option<Self> {
        if self.includes(change) || self.waits_for.contains(&change) {
            return None;
        }
        let mut waits_for = self.waits_for.clone();
        waits_for.push(change);
        waits_for.sort_by_key(|change| change.lsn);
        let surplus = waits_for.len().saturating_sub(WAITING_MAX);
        waits_for.drain(..surplus);
        Some(Self { lsn: self.lsn, seen_below: self.seen_below, waits_for })
    }

    /// The version of a fresh read beside what is cached; none when the read is older, because it
    /// misses a change that was announced or began before the read whose result is cached.
    pub fn after_read(&self, snapshot: &Snapshot) -> Option<Self> {
        let misses = self.waits_for.iter().any(|change| !snapshot.sees(*change));
        if misses || snapshot.xmin < self.seen_below {
            return None;
        }
        let announced = self.waits_for.iter().map(|change| change.lsn).max().unwrap_or(0);
        Some(Self { lsn: self.lsn.max(announced), seen_below: snapshot.xmin, waits_for: Vec::new() })
    }

    /// Whether a state that another process has cached may take this one's place.
    pub fn yields_to(&self, other: &Self) -> bool {
        let caught_up = self.waits_for.iter().all(|change| other.includes(*change));
        if other.is_current() {
            return caught_up && other.seen_below >= self.seen_below;
        }
        // The other knows of a change that this one lacks.
        other.waits_for.iter().any(|change| !self.includes(*change) && !self.waits_for.contains(change))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change(lsn: u64, xid: u64) -> Change {
        Change { lsn, xid }
    }

    #[test]
    fn a_snapshot_sees_what_had_ended() {
        let snapshot = Snapshot::parse("10:20:12,15").unwrap();
        let seen: Vec<u64> = (8..22).filter(|xid| snapshot.sees(change(1, *xid))).collect();
        assert_eq!(seen, [8, 9, 10, 11, 13, 14, 16, 17, 18, 19]);
        assert_eq!(Snapshot::parse("10:20:").unwrap().running, Vec::<u64>::new());
        assert_eq!(Snapshot::parse("garbage"), None);
    }

    #[test]
    fn transaction_ids_of_32_bits_belong_to_the_nearest_epoch() {
        const EPOCH: u64 = 1 << 32;
        assert_eq!(widened(7, 3 * EPOCH + 100), 3 * EPOCH + 7);
        assert_eq!(widened(EPOCH - 5, 3 * EPOCH + 100), 3 * EPOCH - 5);
        assert_eq!(widened(3, 3 * EPOCH - 100), 3 * EPOCH + 3);
        assert_eq!(widened(9, 100), 9);
    }

    /// The case that comparing positions gets wrong: the change was written before the read, at a
    /// lower position than the log's end, and committed after it.
    #[test]
    fn a_read_before_the_commit_is_older_than_a_change_at_a_lower_position() {
        let read = Snapshot::parse("50:60:50").unwrap();
        let cached = Version::of_read(&read);
        let waiting = cached.announced(change(100, 50)).unwrap();
        assert!(!waiting.is_current());
        assert_eq!(waiting.after_read(&read), None);
        let later = Snapshot::parse("61:61:").unwrap();
        let fresh = waiting.after_read(&later).unwrap();
        assert_eq!((fresh.lsn, fresh.is_current()), (100, true));
        assert_eq!(fresh.announced(change(100, 50)), None);
    }

    proptest! {
        /// Versions of one row written by transactions that commit in any order of ids, reads and
        /// announcements that arrive in any order: a state that counts as current never lacks an
        /// announced change.
        #[test]
        fn an_older_state_never_takes_the_place_of_a_newer_one(
            steps in prop::collection::vec((0_u8..3, 0_usize..8, 0_usize..8), 1..60)
        ) {
            // Transaction 100 + n makes change n; the order of commits is the order of changes, the
            // ids are shuffled as if the transactions had begun in another order.
            let ids: Vec<u64> = [3, 0, 5, 1, 7, 2, 6, 4].iter().map(|n| 100 + n).collect();
            let snapshot_after = |commits: usize| {
                let running: Vec<u64> = ids[commits..].to_vec();
                let xmin = running.iter().copied().min().unwrap_or(108);
                Snapshot { xmin, xmax: 108, running }
            };
            let mut cached: Option<(usize, Version)> = None;
            let mut announced_max = 0;
            for (kind, a, _) in steps {
                match kind {
                    // A read that saw the first `a` changes comes back.
                    0 => {
                        let snapshot = snapshot_after(a);
                        let version = match &cached {
                            None => Some(Version::of_read(&snapshot)),
                            Some((_, version)) => version.after_read(&snapshot),
                        };
                        if let Some(version) = version {
                            if let Some((had, old)) = &cached && old.is_current() {
                                // Equal floors may hide that the old read saw more of what is not
                                // announced; an announced change is never lost.
                                prop_assert!(a >= *had || version.seen_below == old.seen_below);
                            }
                            cached = Some((a, version));
                        }
                    }
                    // Change number a is announced.
                    _ => {
                        announced_max = announced_max.max(a + 1);
                        let new = change(10 * (a as u64 + 1), ids[a]);
                        let (had, version) = cached.clone().unwrap_or_default();
                        if let Some(version) = version.announced(new) {
                            cached = Some((had, version));
                        }
                    }
                }
                if let Some((had, version)) = &cached && version.is_current() && kind != 0 {
                    prop_assert!(*had >= announced_max || version.lsn >= 10 * announced_max as u64);
                }
            }
        }
    }
}
