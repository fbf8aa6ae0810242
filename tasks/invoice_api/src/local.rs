//! The process's own cache: entries by invoice id, each changed under its shard's lock.

use crate::entry::{Entry, InvoiceView, Name, Party, Seconds};
use crate::version::{Change, Snapshot, Version};
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Names are shared between entries; so many businesses are remembered.
const NAMES_MAX: usize = 200_000;
/// Guards are put back at once; none is held across an await.
const NO_WAIT: Option<Duration> = None;

pub fn now() -> Seconds {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as Seconds)
}

pub struct Local {
    entries: Cache<i64, Entry>,
    names: Cache<i64, Name>,
    /// The latest truncation of the table: what was read before it is not kept.
    emptied: RwLock<Option<Change>>,
}

impl Local {
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries: Cache::new(entries_max.max(1)),
            names: Cache::new(NAMES_MAX),
            emptied: RwLock::default(),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets every entry; with the truncation that was the reason, if there was one.
    pub fn clear(&self, emptied: Option<Change>) {
        if emptied.is_some() {
            *self.emptied.write().unwrap_or_else(PoisonError::into_inner) = emptied;
        }
        self.entries.clear();
    }

    fn is_before_emptying(&self, snapshot: &Snapshot, is_found: bool) -> bool {
        let emptied = *self.emptied.read().unwrap_or_else(PoisonError::into_inner);
        // In DynamoDB an invoice that was never there has no position.
        let has_position = snapshot.applied.is_none() || is_found;
        has_position && emptied.is_some_and(|change| !snapshot.sees(change))
    }

    pub fn get(&self, id: i64) -> Option<Entry> {
        self.entries.get(&id)
    }

    /// Keeps what a read in the source found and returns it as an entry; none when the cache knows of
    /// a newer state, which the read has missed.
    pub fn keep_read(
        &self,
        id: i64,
        snapshot: &Snapshot,
        found: Option<InvoiceView>,
        expires: Seconds,
    ) -> Option<Entry> {
        if self.is_before_emptying(snapshot, found.is_some()) {
            return None;
        }
        let found = found.map(|view| self.with_shared_names(view));
        let read = Entry { found, version: Version::of_read(snapshot), expires, is_known: true };
        let offered = read.clone();
        let result = self.entries.entry(&id, NO_WAIT, move |_, cached| {
            EntryAction::Retain(cached.version.after_read(snapshot).map(|version| {
                *cached = Entry { version, ..offered };
                cached.clone()
            }))
        });
        match result {
            EntryResult::Retained(kept) => kept,
            EntryResult::Vacant(guard) => {
                let _ = guard.insert(read.clone());
                Some(read)
            }
            _ => Some(read),
        }
    }

    /// Notes a change that the cached state lacks.
    pub fn announce(&self, id: i64, change: Change) {
        let result = self.entries.entry(&id, NO_WAIT, |_, cached| {
            if let Some(version) = cached.version.announced(change) {
                cached.version = version;
            }
            EntryAction::Retain(())
        });
        if let EntryResult::Vacant(guard) = result
            && let Some(version) = Version::default().announced(change)
        {
            let _ = guard.insert(Entry::of_announcement(version));
        }
    }

    /// Takes over what another process has read, unless this one knows better.
    pub fn adopt(&self, id: i64, other: Entry) -> Entry {
        let other = Entry { found: other.found.map(|view| self.with_shared_names(view)), ..other };
        let offered = other.clone();
        let result = self.entries.entry(&id, NO_WAIT, move |_, cached| {
            if cached.version.yields_to(&offered.version) {
                *cached = offered;
            }
            EntryAction::Retain(cached.clone())
        });
        match result {
            EntryResult::Retained(kept) => kept,
            EntryResult::Vacant(guard) => {
                let _ = guard.insert(other.clone());
                other
            }
            _ => other,
        }
    }

    fn with_shared_names(&self, view: InvoiceView) -> InvoiceView {
        let share =
            |party: Party| Party { name: party.name.map(|name| self.shared(party.id, name)), ..party };
        InvoiceView { issuer: share(view.issuer), receiver: share(view.receiver), ..view }
    }

    fn shared(&self, business_id: i64, name: Name) -> Name {
        match self.names.get(&business_id) {
            Some(known) if known == name => known,
            _ => {
                self.names.insert(business_id, name.clone());
                name
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn view(amount: i64) -> InvoiceView {
        InvoiceView {
            issue_date_us: Some(0),
            amount,
            issuer: Party::new(Some(1), Some("A")),
            receiver: Party::new(Some(2), Some("B")),
            decision: None,
        }
    }

    #[test]
    fn a_read_that_began_before_an_announced_change_is_not_kept() {
        let local = Local::new(10);
        let before = Snapshot { xmin: 50, xmax: 60, running: vec![50], applied: None };
        local.announce(7, Change::of_row(100, 50));
        assert!(local.keep_read(7, &before, Some(view(1)), u32::MAX).is_none());
        let after = Snapshot { xmin: 60, xmax: 60, running: vec![], applied: None };
        assert!(local.keep_read(7, &after, Some(view(2)), u32::MAX).is_some());
        assert!(local.get(7).unwrap().is_fresh(now()));
    }

    #[test]
    fn a_truncation_empties_the_cache_and_keeps_reads_from_before_out() {
        let local = Local::new(10);
        let before = Snapshot { xmin: 50, xmax: 60, running: vec![55], applied: None };
        assert!(local.keep_read(7, &before, Some(view(1)), u32::MAX).is_some());
        local.clear(Some(Change::of_row(100, 55)));
        assert!(local.get(7).is_none());
        assert!(local.keep_read(7, &before, Some(view(1)), u32::MAX).is_none());
        let after = Snapshot { xmin: 60, xmax: 60, running: vec![], applied: None };
        assert!(local.keep_read(7, &after, None, u32::MAX).is_some());
    }

    /// Writers, readers and announcers in threads: what is served as fresh never lacks an announced
    /// change, however late its reads come back.
    #[test]
    fn races_never_leave_an_older_state_in_place_of_a_newer_one() {
        use std::sync::atomic::{AtomicU64, Ordering};
        let local = Arc::new(Local::new(10));
        let committed = Arc::new(AtomicU64::new(0));
        let announced = Arc::new(AtomicU64::new(0));
        const CHANGES: u64 = 20_000;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=CHANGES {
                    committed.store(n, Ordering::SeqCst);
                    local.announce(1, Change::of_row(n * 8, n));
                    announced.store(n, Ordering::SeqCst);
                }
            });
            for _ in 0..3 {
                scope.spawn(|| {
                    while announced.load(Ordering::SeqCst) < CHANGES {
                        let seen = committed.load(Ordering::SeqCst);
                        std::thread::yield_now();
                        let snapshot =
                            Snapshot { xmin: seen + 1, xmax: seen + 1, running: vec![], applied: None };
                        local.keep_read(1, &snapshot, Some(view(seen as i64)), u32::MAX);
                    }
                });
            }
            scope.spawn(|| {
                while announced.load(Ordering::SeqCst) < CHANGES {
                    let known = announced.load(Ordering::SeqCst);
                    if let Some(entry) = local.get(1)
                        && entry.is_fresh(now())
                    {
                        assert!(entry.found.unwrap().amount >= known as i64);
                    }
                }
            });
        });
    }
}
