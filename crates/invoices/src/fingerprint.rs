//! What a set of invoices adds up to: rows, exact sum and a sum of row hashes.
//!
//! Two sets with the same fingerprint are taken to be the same set, whatever the order. The row hash
//! is the one that Postgres computes with its own hash functions (`hashint8extended` and relatives:
//! Bob Jenkins' lookup3, stable across versions because hash partitions on disk hang on it), so one
//! parallel aggregate in the source says what every month must add up to, and the rows that were
//! streamed prove themselves against it here.

use crate::invoice::{ColumnsOf, InvoiceOf};
use crate::key::{Key, Keys};
use crate::money::{self, MoneyType};
use serde::{Deserialize, Serialize};

/// Stands for NULL where businesses travel as plain numbers. One that really had this id would arrive as
/// NULL, and its row's hash, in which NULL is no number, would differ from the source's.
pub const NULL_BUSINESS: i64 = i64::MIN;

/// Microseconds from 1970-01-01 to 2000-01-01, Postgres' epoch.
pub const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// Rows, exact sum and order-independent hash of a set of invoices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fingerprint {
    pub rows: u64,
    /// Unscaled sum of the amounts.
    pub amount: i128,
    /// Sum of [`row_hash`] over the rows, as signed 64-bit numbers.
    pub hash: i128,
}

impl Fingerprint {
    /// Counts an invoice with its values of further columns, as they are sent.
    pub fn add<'m>(
        &mut self,
        invoice: InvoiceOf<impl Key>,
        more: impl IntoIterator<Item = &'m str>,
        money: MoneyType,
    ) {
        self.rows += 1;
        self.amount += i128::from(invoice.amount);
        self.hash += i128::from(row_hash(invoice, more, money));
    }

    pub fn of(columns: &ColumnsOf<impl Keys>, money: MoneyType) -> Self {
        let mut fingerprint = Self::default();
        for (row, invoice) in columns.iter().enumerate() {
            fingerprint.add(invoice, columns.more.iter().map(|column| column.get(row)), money);
        }
        fingerprint
    }

    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.amount += other.amount;
        self.hash += other.hash;
    }

    /// One line for people: what differs from `expected`.
    pub fn difference(&self, expected: &Self, scale: u8) -> String {
        format!(
            "{} rows and {} in all where the source says {} rows and {}{}",
            self.rows,
            money::format(self.amount, scale),
            expected.rows,
            money::format(expected.amount, scale),
            if self.hash == expected.hash { "" } else { " (row hashes differ)" },
        )
    }
}

/// A fingerprint as it stands in commit records: sums as text, because JSON numbers are floats to
/// many readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FingerprintRecord {
    pub rows: u64,
    pub amount: String,
    pub row_hash: String,
}

impl FingerprintRecord {
    pub fn new(fingerprint: &Fingerprint, scale: u8) -> Self {
        Self {
            rows: fingerprint.rows,
            amount: money::format(fingerprint.amount, scale),
            row_hash: fingerprint.hash.to_string(),
        }
    }

    /// The fingerprint again; none when the texts are not numbers of that scale.
    pub fn parse(&self, scale: u8) -> Option<Fingerprint> {
        Some(Fingerprint {
            rows: self.rows,
            amount: money::parse(&self.amount, scale).ok()?,
            hash: self.row_hash.parse().ok()?,
        })
    }
}

/// Hash of one invoice with its values of further columns, equal to [`row_hash_sql`] in Postgres.
pub fn row_hash<'m>(
    invoice: InvoiceOf<impl Key>,
    more: impl IntoIterator<Item = &'m str>,
    money: MoneyType,
) -> i64 {
    let mut hash = invoice.invoice_id.hash(0);
    hash = hash_int8(invoice.issue_date_us.wrapping_sub(POSTGRES_EPOCH_US), hash);
    for business in [invoice.issuer_id, invoice.receiver_id] {
        hash = business.map_or(!hash, |id| id.hash(hash));
    }
    // Postgres' numeric hash ignores the sign, so the sign goes into the seed.
    let seed = if invoice.amount < 0 { !hash } else { hash };
    let hash = hash_numeric(invoice.amount.unsigned_abs(), money.scale, seed);
    more.into_iter().fold(hash, |seed, value| hash_text(value, seed)) as i64
}

/// The SQL expression of [`row_hash`], given SQL for the five columns: ids as bigint or, when they travel as text, as
/// text; a timestamp; a numeric; and for the further columns as they are sent.
pub fn row_hash_sql(are_integers: bool, columns: &[String; 5], more: &[String]) -> String {
    let [id, date, issuer, receiver, amount] = columns;
    let business =
        |column: &str, seed: &str| format!("coalesce({}, ~{seed})", key_hash_sql(are_integers, column, seed));
    let seed = format!("timestamp_hash_extended({date}, {})", key_hash_sql(are_integers, id, "0"));
    let parties = business(receiver, &business(issuer, &seed));
    let hash =
        format!("hash_numeric_extended({amount}, case when {amount} < 0 then ~{parties} else {parties} end)");
    more.iter().fold(hash, |seed, value| key_hash_sql(false, value, &seed))
}

/// The SQL expression of [`Key::hash`], given SQL for the id. Bytes are hashed, not what a collation makes of them.
pub fn key_hash_sql(are_integers: bool, id: &str, seed: &str) -> String {
    if are_integers {
        format!("hashint8extended({id}, {seed})")
    } else {
        format!("hashtextextended({id} collate \"C\", {seed})")
    }
}

/// `hashint8extended`.
pub(crate) fn hash_int8(value: i64, seed: u64) -> u64 {
    let low = value as u32;
    let high = (value >> 32) as u32;
    let word = low ^ if value >= 0 { high } else { !high };
    let mut state = Lookup3::new(4, seed);
    state.a = state.a.wrapping_add(word);
    state.finish()
}

/// `hashtextextended` with a collation that compares bytes.
pub(crate) fn hash_text(text: &str, seed: u64) -> u64 {
    let bytes = text.as_bytes();
    let mut state = Lookup3::new(bytes.len() as u32, seed);
    let word = |bytes: &[u8], from: usize| {
        let byte = |index: usize| u32::from(bytes.get(from + index).copied().unwrap_or(0));
        byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
    };
    let (blocks, tail) = bytes.as_chunks::<12>();
    for block in blocks {
        state.a = state.a.wrapping_add(word(block, 0));
        state.b = state.b.wrapping_add(word(block, 4));
        state.c = state.c.wrapping_add(word(block, 8));
        state.mix();
    }
    state.a = state.a.wrapping_add(word(tail, 0));
    state.b = state.b.wrapping_add(word(tail, 4));
    // The lowest byte of c is reserved for the length.
    state.c = state.c.wrapping_add(word(tail, 8) << 8);
    state.finish()
}

const BASE: u64 = 10_000;
/// Digits before the point (2^64 has 20 decimal digits: 6 groups) and after it (18: 5 groups).
const MAX_GROUPS: usize = 11;

/// `hash_numeric_extended`: lookup3 over the base-10000 digits without leading and trailing zeros,
/// mixed with the weight of the first digit.
fn hash_numeric(unscaled: u64, scale: u8, seed: u64) -> u64 {
    if unscaled == 0 {
        return seed.wrapping_sub(1);
    }
    let fraction_groups = usize::from(scale).div_ceil(4);
    let padding = 10_u128.pow((fraction_groups * 4 - usize::from(scale)) as u32);
    let mut groups = [0_u16; MAX_GROUPS];
    let mut first = MAX_GROUPS;
    let mut rest = u128::from(unscaled) * padding;
    while rest > 0 {
        first -= 1;
        // Most amounts fit 64 bits, whose division is many times faster than that of 128.
        if let Ok(small) = u64::try_from(rest) {
            groups[first] = (small % BASE) as u16;
            rest = u128::from(small / BASE);
        } else {
            groups[first] = (rest % u128::from(BASE)) as u16;
            rest /= u128::from(BASE);
        }
    }
    let weight = (MAX_GROUPS - first) as i64 - 1 - fraction_groups as i64;
    let last = groups.iter().rposition(|&group| group != 0).unwrap_or(first);
    hash_words(&groups[first..=last], seed) ^ weight as u64
}

/// `hash_any_extended` over 16-bit words in little-endian order (what x86-64 and ARM servers hold).
fn hash_words(words: &[u16], seed: u64) -> u64 {
    let mut state = Lookup3::new(words.len() as u32 * 2, seed);
    let pair = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
    let mut blocks = words.chunks_exact(6);
    for block in &mut blocks {
        state.a = state.a.wrapping_add(pair(block[0], block[1]));
        state.b = state.b.wrapping_add(pair(block[2], block[3]));
        state.c = state.c.wrapping_add(pair(block[4], block[5]));
        state.mix();
    }
    let tail = blocks.remainder();
    let word = |index: usize| tail.get(index).copied().unwrap_or(0);
    state.a = state.a.wrapping_add(pair(word(0), word(1)));
    state.b = state.b.wrapping_add(pair(word(2), word(3)));
    // The lowest byte of c is reserved for the length.
    state.c = state.c.wrapping_add(u32::from(word(4)) << 8);
    state.finish()
}

/// Bob Jenkins' lookup3 (public domain), as Postgres seeds it.
struct Lookup3 {
    a: u32,
    b: u32,
    c: u32,
}

impl Lookup3 {
    fn new(length_bytes: u32, seed: u64) -> Self {
        let start = 0x9e37_79b9_u32.wrapping_add(length_bytes).wrapping_add(3_923_095);
        let mut state = Self { a: start, b: start, c: start };
        if seed != 0 {
            state.a = state.a.wrapping_add((seed >> 32) as u32);
            state.b = state.b.wrapping_add(seed as u32);
            state.mix();
        }
        state
    }

    #[inline]
    fn mix(&mut self) {
        let Self { mut a, mut b, mut c } = *self;
        let step = |x: u32, y: u32, rotation: u32| x.wrapping_sub(y) ^ y.rotate_left(rotation);
        a = step(a, c, 4);
        c = c.wrapping_add(b);
        b = step(b, a, 6);
        a = a.wrapping_add(c);
        c = step(c, b, 8);
        b = b.wrapping_add(a);
        a = step(a, c, 16);
        c = c.wrapping_add(b);
        b = step(b, a, 19);
        a = a.wrapping_add(c);
        c = step(c, b, 4);
        b = b.wrapping_add(a);
        *self = Self { a, b, c };
    }

    #[inline]
    fn finish(self) -> u64 {
        let Self { mut a, mut b, mut c } = self;
        let step = |x: u32, y: u32, rotation: u32| (x ^ y).wrapping_sub(y.rotate_left(rotation));
        c = step(c, b, 14);
        a = step(a, c, 11);
        b = step(b, a, 25);
        c = step(c, b, 16);
        a = step(a, c, 4);
        b = step(b, a, 14);
        c = step(c, b, 24);
        u64::from(b) << 32 | u64::from(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoice::Invoice;
    use proptest::prelude::*;

    const CENTS: MoneyType = MoneyType { precision: 18, scale: 2 };

    fn invoice(id: i64, amount: i64) -> Invoice {
        Invoice { invoice_id: id, issue_date_us: 0, issuer_id: Some(1), receiver_id: None, amount }
    }

    #[test]
    fn swapped_amounts_and_signs_change_the_fingerprint() {
        let of = |rows: &[Invoice]| {
            let mut fingerprint = Fingerprint::default();
            rows.iter().for_each(|row| fingerprint.add(*row, [], CENTS));
            fingerprint
        };
        let before = of(&[invoice(1, 500), invoice(2, 700)]);
        assert_ne!(before, of(&[invoice(1, 700), invoice(2, 500)]));
        assert_eq!(before, of(&[invoice(2, 700), invoice(1, 500)]));
        assert_ne!(of(&[invoice(1, 5), invoice(2, -5)]), of(&[invoice(1, -5), invoice(2, 5)]));
        let to = |receiver_id: Option<i64>| of(&[Invoice { receiver_id, ..invoice(1, 5) }]);
        assert_ne!(to(None), to(Some(NULL_BUSINESS)));
    }

    /// Values printed by `select hashint8extended(42, 0)` and so on in Postgres 15.
    #[test]
    fn hashes_are_those_of_postgres() {
        let signed = |hash: u64| hash as i64;
        assert_eq!(signed(hash_int8(42, 0)), 8010225493015854792);
        assert_eq!(signed(hash_int8(-7, 12345)), -1622450248343992320);
        assert_eq!(signed(hash_numeric(1234, 2, 99)), -7049691046579055607);
        assert_eq!(signed(hash_numeric(10_000_000_000, 2, 0)), -7507508252608306358);
        assert_eq!(signed(hash_numeric(0, 2, 5)), 4);
        assert_eq!(signed(hash_numeric(123_456_789_012_345_678, 4, 7)), 8926119810741291766);
        assert_eq!(signed(hash_numeric(1, 2, 77)), -8395912382981542614);
    }

    #[test]
    fn records_keep_every_digit() {
        let fingerprint = Fingerprint { rows: 3, amount: -(1 << 100), hash: i128::MAX / 3 };
        let record = FingerprintRecord::new(&fingerprint, 2);
        assert_eq!(record.parse(2), Some(fingerprint));
    }

    proptest! {
        #[test]
        fn any_invoice_hashes_without_panic(id: i64, us: i64, issuer: Option<i64>, receiver: Option<i64>, amount: i64, scale in 0_u8..=18) {
            let money = MoneyType { precision: 18, scale };
            row_hash(Invoice { invoice_id: id, issue_date_us: us, issuer_id: issuer, receiver_id: receiver, amount }, [], money);
        }

        #[test]
        fn the_numeric_hash_does_not_depend_on_the_scale(amount in 0_u64..1_000_000_000_000, seed: u64) {
            prop_assert_eq!(hash_numeric(amount, 2, seed), hash_numeric(amount * 100, 4, seed));
            prop_assert_eq!(hash_numeric(amount, 0, seed), hash_numeric(amount * 1000, 3, seed));
        }
    }
}
