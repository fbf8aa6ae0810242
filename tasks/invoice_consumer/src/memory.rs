//! What is known of invoices while changes are decided one after the other. Pure.

use crate::decision::{Known, Status};
use rustc_hash::FxHashMap;
use std::hash::Hash;

/// The latest decision of each invoice, and the ones before it where there are any.
#[derive(Debug)]
pub struct Memory<K> {
    latest: FxHashMap<K, Known>,
    earlier: FxHashMap<K, Vec<Known>>,
}

impl<K> Default for Memory<K> {
    fn default() -> Self {
        Self { latest: FxHashMap::default(), earlier: FxHashMap::default() }
    }
}

impl<K: Copy + Eq + Hash> Memory<K> {
    pub fn latest(&self, key: K) -> Option<&Known> {
        self.latest.get(&key)
    }

    pub fn remember(&mut self, key: K, known: Known) {
        if let Some(before) = self.latest.insert(key, known) {
            self.earlier.entry(key).or_default().push(before);
        }
    }

    /// Adds a decision from before the latest one.
    pub fn remember_earlier(&mut self, key: K, known: Known) {
        self.earlier.entry(key).or_default().push(known);
    }

    /// The latest decision at this position or below.
    pub fn as_of(&self, key: K, lsn: u64) -> Option<&Known> {
        let all = self.earlier.get(&key).into_iter().flatten().chain(self.latest.get(&key));
        // Of one position the withdrawal comes first.
        all.filter(|known| known.lsn <= lsn)
            .max_by_key(|known| (known.lsn, known.status != Status::Withdrawn))
    }

    /// Keys of the invoices that are not withdrawn.
    pub fn live(&self) -> impl Iterator<Item = K> {
        self.latest.iter().filter(|(_, known)| known.status != Status::Withdrawn).map(|(key, _)| *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use invoices::Invoice;

    fn known(lsn: u64, status: Status) -> Known {
        let filed =
            Invoice { invoice_id: 7, issue_date_us: 0, issuer_id: None, receiver_id: None, amount: 1 };
        Known { filed, issue_date_us: 0, lsn, status, is_loose: false }
    }

    #[test]
    fn what_was_known_at_a_position_is_told_in_any_order_of_arrival() {
        let mut memory = Memory::default();
        memory.remember(7, known(20, Status::Approve));
        memory.remember(7, known(30, Status::Withdrawn));
        memory.remember(7, known(30, Status::Review));
        memory.remember_earlier(7, known(10, Status::Block));
        let as_of = |lsn| memory.as_of(7, lsn).map(|known| (known.lsn, known.status));
        assert_eq!(as_of(9), None);
        assert_eq!(as_of(19), Some((10, Status::Block)));
        assert_eq!(as_of(29), Some((20, Status::Approve)));
        assert_eq!(as_of(99), Some((30, Status::Review)));
        assert_eq!(memory.live().collect::<Vec<_>>(), [7]);
    }
}
