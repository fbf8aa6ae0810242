//! A state as bytes and back, for checkpoints. Ids are in order, and what no window can see any more is left out,
//! so equal states are equal bytes, in whatever way they were reached.

use super::State;
use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::hash::Hash;
use std::io::{Error, Read, Result, Write};

/// Businesses or pairs that are turned into bytes at once: bounds the memory beside the state.
const CHUNK: usize = 4096;
/// No chunk is larger; a larger length is not ours.
const CHUNK_BYTES_MAX: u32 = 1 << 30;

/// Writes a state.
///
/// # Errors
/// Those of `out`.
pub fn pack(state: &State, out: &mut impl Write) -> Result<()> {
    pack_map(&state.businesses, out)?;
    pack_map(&state.pairs, out)
}

/// Reads what [`pack`] has written.
///
/// # Errors
/// Those of `input`, and bytes that are no state.
pub fn unpack(input: &mut impl Read) -> Result<State> {
    Ok(State { businesses: unpack_map(input)?, pairs: unpack_map(input)? })
}

fn pack_map<K, V>(map: &FxHashMap<K, V>, out: &mut impl Write) -> Result<()>
where
    K: Copy + Ord + Hash + Serialize,
    V: Serialize,
{
    let mut keys: Vec<K> = map.keys().copied().collect();
    keys.sort_unstable();
    out.write_all(&(keys.len() as u64).to_le_bytes())?;
    for keys in keys.chunks(CHUNK) {
        let entries: Vec<(K, &V)> = keys.iter().filter_map(|key| Some((*key, map.get(key)?))).collect();
        let bytes = postcard::to_stdvec(&entries).map_err(Error::other)?;
        out.write_all(&(bytes.len() as u32).to_le_bytes())?;
        out.write_all(&bytes)?;
    }
    Ok(())
}

fn unpack_map<K, V>(input: &mut impl Read) -> Result<FxHashMap<K, V>>
where
    K: Eq + Hash + DeserializeOwned,
    V: DeserializeOwned,
{
    let count = u64::from_le_bytes(read_array(input)?) as usize;
    let mut map = FxHashMap::default();
    map.reserve(count);
    while map.len() < count {
        let length = u32::from_le_bytes(read_array(input)?);
        if length > CHUNK_BYTES_MAX {
            return Err(Error::other("a chunk is too long"));
        }
        let mut bytes = vec![0; length as usize];
        input.read_exact(&mut bytes)?;
        let entries: Vec<(K, V)> = postcard::from_bytes(&bytes).map_err(Error::other)?;
        let before = map.len();
        map.extend(entries);
        if map.len() == before {
            return Err(Error::other("a chunk adds nothing"));
        }
    }
    Ok(map)
}

fn read_array<const N: usize>(input: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::clock::{DAY_US, HOUR_US};
    use super::*;
    use invoices::Invoice;
    use proptest::prelude::*;

    fn packed(state: &State) -> Vec<u8> {
        let mut bytes = Vec::new();
        pack(state, &mut bytes).unwrap();
        bytes
    }

    /// An invoice or a withdrawal of one that was added before.
    #[derive(Debug, Clone)]
    enum Step {
        Add(Invoice),
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let party = prop_oneof![9 => (0_i64..6).prop_map(Some), 1 => Just(None)];
        let hours = prop_oneof![20 => 0_i64..24 * 120, 1 => Just(1 << 40), 1 => Just(-(1 << 40))];
        let added = (hours, party.clone(), party, -500_i64..5_000).prop_map(
            |(hours, issuer_id, receiver_id, amount)| {
                Step::Add(Invoice {
                    invoice_id: 0,
                    issue_date_us: hours.saturating_mul(HOUR_US),
                    issuer_id,
                    receiver_id,
                    amount,
                })
            },
        );
        prop_oneof![4 => added, 1 => (0_usize..1000).prop_map(Step::Remove)]
    }

    fn follow(state: &mut State, steps: &[Step], live: &mut Vec<Invoice>) {
        for step in steps {
            match step {
                Step::Add(invoice) => {
                    state.add(invoice);
                    live.push(*invoice);
                }
                Step::Remove(at) if !live.is_empty() => state.remove(&live.swap_remove(at % live.len())),
                Step::Remove(_) => {}
            }
        }
    }

    proptest! {
        /// A state that went through bytes at any moment is, field for field, the one that did not, whatever
        /// comes after, and sees the same in every invoice.
        #[test]
        fn a_state_from_a_checkpoint_is_the_one_from_all_decisions(
            before in prop::collection::vec(step(), 0..150),
            after in prop::collection::vec(step(), 0..150),
            probes in prop::collection::vec((0_i64..130, 0_i64..6, 0_i64..6, 1_i64..5_000), 8),
        ) {
            let (mut whole, mut live) = (State::default(), Vec::new());
            follow(&mut whole, &before, &mut live);
            let mut resumed = unpack(&mut packed(&whole).as_slice()).unwrap();
            prop_assert_eq!(packed(&resumed), packed(&whole));
            let mut live_too = live.clone();
            follow(&mut whole, &after, &mut live);
            follow(&mut resumed, &after, &mut live_too);
            prop_assert_eq!(packed(&resumed), packed(&whole));
            for (day, issuer, receiver, amount) in probes {
                let probe = Invoice {
                    invoice_id: 1, issue_date_us: day * DAY_US, issuer_id: Some(issuer), receiver_id: Some(receiver), amount,
                };
                prop_assert_eq!(resumed.features(&probe, None), whole.features(&probe, None));
            }
        }
    }

    #[test]
    fn more_than_a_chunk_comes_back_and_what_is_cut_does_not() {
        let mut state = State::default();
        for id in 0..3 * CHUNK as i64 / 2 {
            let (issuer_id, receiver_id) = (Some(id), Some(id + 1));
            state.add(&Invoice { invoice_id: id, issue_date_us: id, issuer_id, receiver_id, amount: id });
        }
        let bytes = packed(&state);
        let read = unpack(&mut bytes.as_slice()).unwrap();
        assert_eq!((read.businesses(), packed(&read) == bytes), (state.businesses(), true));
        for length in [0, 7, 8, 11, bytes.len() / 2, bytes.len() - 1] {
            assert!(unpack(&mut &bytes[..length]).is_err(), "{length}");
        }
    }
}
