//! The bytes of a checkpoint: a line of JSON, ids and state compressed, and the SHA-256 of all that. Pure.

use super::{Checkpoint, FORMAT, Head};
use crate::engine::Engine;
use crate::model::features::EXACT_MODEL;
use crate::model::{pack, unpack};
use openssl::sha::sha256;
use roaring::RoaringTreemap;
use std::io::{BufReader, Read, Result, Write};

const HASH_BYTES: usize = 32;
/// Speed is what counts; a second more at a start costs more than the bytes.
const LEVEL: i32 = 1;

/// # Errors
/// Those of the compressor.
pub fn encode(head: &Head, engine: &Engine, ids: &RoaringTreemap) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(head)?;
    bytes.push(b'\n');
    let mut body = zstd::Encoder::new(bytes, LEVEL)?;
    body.write_all(&(ids.serialized_size() as u64).to_le_bytes())?;
    ids.serialize_into(&mut body)?;
    pack(&engine.state, &mut body)?;
    let mut bytes = body.finish()?;
    bytes.extend(sha256(&bytes));
    Ok(bytes)
}

/// Reads a checkpoint of this partition; the end of a sentence when it is none that this version can use.
pub fn decode(bytes: &[u8], topic: &str, partition: i32) -> std::result::Result<Checkpoint, String> {
    let damaged = || "it was cut or changed, its hash is not that of its content".to_owned();
    let content = bytes.len().checked_sub(HASH_BYTES).ok_or_else(damaged)?;
    let (content, hash) = bytes.split_at(content);
    if sha256(content) != hash {
        return Err(damaged());
    }
    let line = content.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let head: Head = serde_json::from_slice(&content[..line])
        .map_err(|error| format!("its first line is not the one of this version ({error})"))?;
    if head.format != FORMAT {
        return Err(format!("it has format {}, and this version reads {FORMAT}", head.format));
    }
    if head.model != EXACT_MODEL {
        return Err(format!(
            "it remembers what {} needs, and this version decides by {EXACT_MODEL}",
            head.model
        ));
    }
    if (head.topic.as_str(), head.partition) != (topic, partition) {
        return Err(format!("it is of partition {} of {}", head.partition, head.topic));
    }
    read_body(&content[line + 1..], head).map_err(|error| format!("it can't be read ({error})"))
}

fn read_body(compressed: &[u8], head: Head) -> Result<Checkpoint> {
    let mut body = BufReader::with_capacity(1 << 20, zstd::Decoder::with_buffer(compressed)?);
    let mut length = [0; 8];
    body.read_exact(&mut length)?;
    let ids = RoaringTreemap::deserialize_from((&mut body).take(u64::from_le_bytes(length)))?;
    let state = unpack(&mut body)?;
    Ok(Checkpoint { head, engine: Engine { state }, ids })
}

#[cfg(test)]
mod tests {
    use super::super::LastDecision;
    use super::*;
    use invoices::Invoice;

    fn head() -> Head {
        let last = LastDecision { log_offset: 9, step: 0, invoice_id: 7, lsn: 5, decided_us: 3 };
        Head {
            format: FORMAT,
            model: EXACT_MODEL.to_owned(),
            topic: "t".to_owned(),
            partition: 2,
            place: 10,
            decisions: 4,
            last,
        }
    }

    fn content() -> (Engine, RoaringTreemap) {
        let mut engine = Engine::default();
        for id in 1..5 {
            let (issuer_id, receiver_id) = (Some(id % 2), (id != 3).then_some(8));
            let filed = Invoice {
                invoice_id: id,
                issue_date_us: id * 1000,
                issuer_id,
                receiver_id,
                amount: -id << 33,
            };
            engine.remember(&filed, crate::decision::Status::Approve, None);
        }
        (engine, [1, 2, 3, u64::MAX].into_iter().collect())
    }

    fn encoded(head: &Head) -> Vec<u8> {
        let (engine, ids) = content();
        encode(head, &engine, &ids).unwrap()
    }

    #[test]
    fn what_is_written_comes_back() {
        let bytes = encoded(&head());
        let read = decode(&bytes, "t", 2).unwrap();
        assert_eq!((&read.head, &read.ids), (&head(), &content().1));
        assert_eq!(encode(&read.head, &read.engine, &read.ids).unwrap(), bytes);
    }

    /// Checkpoints that are in the world are read by what they say, so other bytes want another [`FORMAT`].
    #[test]
    fn the_bytes_of_a_format_never_change() {
        let mut bytes = Vec::new();
        pack(&content().0.state, &mut bytes).unwrap();
        let hash: String = sha256(&bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((FORMAT, hash.as_str()), (1, "cc16e3efb5e367a3"));
    }

    #[test]
    fn whatever_is_cut_or_flipped_is_seen() {
        let bytes = encoded(&head());
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], "t", 2).unwrap_err().contains("cut or changed"), "{length}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(decode(&flipped, "t", 2).unwrap_err().contains("cut or changed"), "{at}");
        }
    }

    #[test]
    fn another_format_model_topic_or_partition_is_refused_by_name() {
        let why = |head: Head| decode(&encoded(&head), "t", 2).unwrap_err();
        assert!(why(Head { format: 2, ..head() }).contains("format 2"));
        assert!(why(Head { model: "features-0".to_owned(), ..head() }).contains("features-0"));
        assert!(why(Head { topic: "other".to_owned(), ..head() }).contains("partition 2 of other"));
        assert!(why(Head { partition: 0, ..head() }).contains("partition 0 of t"));
    }
}
