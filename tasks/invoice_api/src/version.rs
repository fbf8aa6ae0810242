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
    /// Rank of the decision that the change consists of; 0 when the row itself has changed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub decided: u64,
}

impl Change {
    pub fn of_row(lsn: u64, xid: u64) -> Self {
        Self { lsn, xid, decided: 0 }
    }

    /// A decision's change has a transaction and a rank; its position belongs to what it decided on.
    pub fn of_decision(xid: u64, rank: u64) -> Self {
        Self { lsn: 0, xid, decided: rank }
    }
}

/// The order of an invoice's decisions: by position, and of one position the withdrawal comes first.
pub fn decision_rank(lsn: u64, status: &str) -> u64 {
    lsn * 2 + u64::from(status != "withdrawn")
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What a read could see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Every transaction below has ended.
    pub xmin: u64,
    /// No transaction from here on had ended.
    pub xmax: u64,
    /// In between, the ones still running.
    pub running: Vec<u64>,
    /// Where the store itself keeps, with each invoice, which change was applied last (DynamoDB).
    pub applied: Option<Applied>,
}

/// What has been applied to one invoice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    pub lsn: u64,
    pub decided: u64,
}

impl Snapshot {
    /// Parses `xmin:xmax:xip,xip,…`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let running = parts.next()?.split(',').filter(|id| !id.is_empty());
        let running = running.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { xmin, xmax, running, applied: None })
    }

    pub fn of_applied(applied: Applied) -> Self {
        Self { applied: Some(applied), ..Self::default() }
    }

    /// A source without transaction ids (SQLite): nothing is known to be seen.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Whether the snapshot shows what the change did. A change without a transaction is a row of the
    /// connector's own snapshot, which was committed long before its event arrived.
    pub fn sees(&self, change: Change) -> bool {
        if let Some(applied) = self.applied {
            return change.lsn <= applied.lsn && change.decided <= applied.decided;
        }
        if change.xid == 0 {
            return true;
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
    /// Rank of the latest decision that is known to be in it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub decided: u64,
    /// Changes that are known and not in it; such a state is served only when nothing newer can be had.
    pub waits_for: Vec<Change>,
}

impl Version {
    /// The version of what a read found, knowing nothing of the past.
    pub fn of_read(snapshot: &Snapshot) -> Self {
        let applied = snapshot.applied.unwrap_or_default();
        let (lsn, decided) = (applied.lsn, applied.decided);
        Self { lsn, decided, seen_below: snapshot.xmin, waits_for: Vec::new() }
    }

    pub fn is_current(&self) -> bool {
        self.waits_for.is_empty()
    }

    /// Whether the change is surely in this state already.
    pub fn includes(&self, change: Change) -> bool {
        (change.lsn != 0 && change.lsn <= self.lsn)
            || (change.decided != 0 && change.decided <= self.decided)
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
        Some(Self { waits_for, ..self.clone() })
    }

    /// The version of a fresh read beside what is cached; none when the read is older, because it
    /// misses a change that was announced or began before the read whose result is cached.
    pub fn after_read(&self, snapshot: &Snapshot) -> Option<Self> {
        let misses = self.waits_for.iter().any(|change| !snapshot.sees(*change));
        if misses || snapshot.xmin < self.seen_below {
            return None;
        }
        if snapshot.applied.is_some_and(|applied| applied.lsn < self.lsn || applied.decided < self.decided) {
            return None;
        }
        let read = Self::of_read(snapshot);
        let announced = |of: fn(&Change) -> u64| self.waits_for.iter().map(of).max().unwrap_or(0);
        // A row of the connector's snapshot has the snapshot's position, and transactions that were open then
        // lie below it: what is known of it says nothing of them. An item's position says all.
        let is_by_position = snapshot.applied.is_some();
        let placed = self.waits_for.iter().filter(|change| change.xid != 0 || is_by_position);
        Some(Self {
            lsn: self.lsn.max(read.lsn).max(placed.map(|change| change.lsn).max().unwrap_or(0)),
            decided: self.decided.max(read.decided).max(announced(|change| change.decided)),
            ..read
        })
    }

    /// Whether a state that another process has cached may take this one's place.
    pub fn yields_to(&self, other: &Self) -> bool {
        let caught_up = self.waits_for.iter().all(|change| other.includes(*change));
        if other.is_current() {
            // Without transactions (DynamoDB) positions are all there is.
            let is_by_position = self.seen_below == 0 && other.seen_below == 0;
            let is_older = is_by_position && (other.lsn < self.lsn || other.decided < self.decided);
            return caught_up && other.seen_below >= self.seen_below && !is_older;
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
        Change::of_row(lsn, xid)
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

    #[test]
    fn a_row_of_the_connectors_snapshot_is_seen_by_the_next_read() {
        let cached = Version::of_read(&Snapshot::parse("50:60:").unwrap());
        let waiting = cached.announced(change(100, 0)).unwrap();
        assert!(!waiting.is_current());
        let fresh = waiting.after_read(&Snapshot::parse("61:61:").unwrap()).unwrap();
        assert!(fresh.is_current());
    }

    #[test]
    fn a_row_of_the_connectors_snapshot_hides_no_transaction_that_was_open_then() {
        let read = Snapshot::parse("50:60:50").unwrap();
        let waiting = Version::of_read(&read).announced(change(100, 0)).unwrap();
        let fresh = waiting.after_read(&read).unwrap();
        // Transaction 50 wrote at 90 and commits only now.
        let announced = fresh.announced(change(90, 50)).unwrap();
        assert!(fresh.is_current() && !announced.is_current());
        assert_eq!(announced.after_read(&read), None);
    }

    #[test]
    fn an_item_that_lacks_an_announced_change_is_not_taken_for_the_newer_one() {
        let item = |lsn, decided| Snapshot::of_applied(Applied { lsn, decided });
        let cached = Version::of_read(&item(100, 200));
        assert_eq!(cached.after_read(&item(90, 200)), None);
        assert_eq!(cached.announced(change(100, 7)), None);
        assert_eq!(cached.announced(Change::of_decision(9, 200)), None);
        let waiting = cached.announced(Change::of_decision(9, 201)).unwrap();
        assert_eq!(waiting.after_read(&item(100, 200)), None);
        assert!(waiting.after_read(&item(100, 201)).unwrap().is_current());
        let later = Version::of_read(&item(110, 200));
        assert!(cached.yields_to(&later) && !later.yields_to(&cached));
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
                Snapshot { xmin, xmax: 108, running, applied: None }
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
