//! Rows in Postgres' binary COPY format.
//!
//! Format ("Binary Format" of COPY in the Postgres manual): a header, then per row the number of
//! fields and each field as length and bytes, big-endian; length -1 is NULL; at the end -1.

use invoices::fingerprint::POSTGRES_EPOCH_US;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const INT8_OID: i32 = 20;
/// Days from 1970-01-01 to 2000-01-01.
const POSTGRES_EPOCH_DAY: i64 = POSTGRES_EPOCH_US / DAY_US;
const DAY_US: i64 = 86_400_000_000;

/// A one-dimensional `int8[]`: dimensions, no NULLs, element type, length, lower bound, elements.
fn push_int8_array(bytes: &mut Vec<u8>, values: &[i64]) {
    for number in [1, 0, INT8_OID, values.len() as i32, 1] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    for value in values {
        bytes.extend_from_slice(&8_i32.to_be_bytes());
        bytes.extend_from_slice(&value.to_be_bytes());
    }
}

/// The bytes of an `int8[]`, for tests of those who read them.
#[cfg(test)]
pub fn int8_array_bytes(values: &[i64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_int8_array(&mut bytes, values);
    bytes
}

/// Rows being encoded.
#[derive(Debug)]
pub struct CopyRows {
    bytes: Vec<u8>,
    fields: i16,
}

impl CopyRows {
    pub fn new(fields: i16) -> Self {
        Self { bytes: HEADER.to_vec(), fields }
    }

    pub fn row(&mut self) {
        self.bytes.extend_from_slice(&self.fields.to_be_bytes());
    }

    pub fn int8(&mut self, value: i64) {
        self.field(&value.to_be_bytes());
    }

    pub fn int4(&mut self, value: i32) {
        self.field(&value.to_be_bytes());
    }

    pub fn int2(&mut self, value: i16) {
        self.field(&value.to_be_bytes());
    }

    pub fn text(&mut self, value: &str) {
        self.field(value.as_bytes());
    }

    /// Microseconds since 1970, for timestamps with and without a time zone.
    pub fn timestamp(&mut self, us: i64) {
        self.int8(us - POSTGRES_EPOCH_US);
    }

    /// The day of a time in microseconds since 1970.
    pub fn date(&mut self, us: i64) {
        self.int4((us.div_euclid(DAY_US) - POSTGRES_EPOCH_DAY) as i32);
    }

    pub fn jsonb(&mut self, text: &str) {
        self.length(text.len() + 1);
        self.bytes.push(1);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub fn int8_array(&mut self, values: &[i64]) {
        self.length(20 + values.len() * 12);
        push_int8_array(&mut self.bytes, values);
    }

    pub fn null(&mut self) {
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    pub fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.null(),
        }
    }

    /// The bytes with their trailer.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        self.bytes
    }

    fn field(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    fn length(&mut self, bytes: usize) {
        self.bytes.extend_from_slice(&(bytes as i32).to_be_bytes());
    }
}
