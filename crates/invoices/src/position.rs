//! Positions that say which log they belong to. Pure.
//!
//! A position in a source's log or an offset in a topic means something only beside the log that it was
//! counted in: a restored database and a topic that was made again count from the beginning. Each log has
//! an epoch, and a stored position carries the epoch first, so that whatever the new log says is newer
//! than whatever the old one said: docs/decisions/0065.

use crate::{Error, Result};

/// Bits of the position below the epoch: 16 PiB of write-ahead log, or as many messages.
const BITS: u32 = 54;
/// Positions from here on belong to no log that can be.
pub const POSITION_LIMIT: u64 = 1 << BITS;
/// Highest epoch: twice a stored position must still fit 63 bits.
pub const EPOCH_MAX: u32 = 127;

/// The position as it is stored and compared.
pub fn stored(epoch: u32, position: u64) -> u64 {
    u64::from(epoch) << BITS | (position & (POSITION_LIMIT - 1))
}

/// The epoch of a log that takes the place of another one.
///
/// # Errors
/// Configuration when there is none left.
pub fn next_epoch(epoch: u32) -> Result<u32> {
    if epoch < EPOCH_MAX {
        return Ok(epoch + 1);
    }
    Err(Error::config(format!(
        "topic or source were replaced {EPOCH_MAX} times, more than positions can tell apart; begin with empty \
         decision tables, and with new tables in DynamoDB"
    )))
}

/// The position in its own log.
pub fn in_log(stored: u64) -> u64 {
    stored & (POSITION_LIMIT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_epoch_decides_and_then_the_position(
            a in 0..=EPOCH_MAX, b in 0..=EPOCH_MAX, p in 0..POSITION_LIMIT, q in 0..POSITION_LIMIT,
        ) {
            prop_assert_eq!(stored(a, p).cmp(&stored(b, q)), (a, p).cmp(&(b, q)));
            prop_assert_eq!(in_log(stored(a, p)), p);
            prop_assert!(i64::try_from(stored(a, p) * 2 + 1).is_ok());
        }
    }

    #[test]
    fn positions_of_the_first_log_are_stored_as_they_are() {
        assert_eq!(stored(0, 4711), 4711);
    }

    #[test]
    fn epochs_end_with_a_sentence() {
        assert_eq!(next_epoch(0).ok(), Some(1));
        assert_eq!(next_epoch(EPOCH_MAX - 1).ok(), Some(EPOCH_MAX));
        assert!(next_epoch(EPOCH_MAX).is_err_and(|error| error.to_string().contains("127 times")));
    }
}
