//! Who groups a month's invoices: Polars here, or a Spark cluster that reads the lake itself. What comes
//! before and after is the same for both, so what they stage is interchangeable.

use crate::group::{self, AtOnce};
use crate::spark::Spark;
use crate::staging;
use bytes::Bytes;
use invoices::lake::{Lake, Object};
use invoices::parquet::{Proof, read_proof};
use invoices::{Error, Fingerprint, Result};
use polars::prelude::DataFrame;

/// A million invoices are some 40 MB of columns, four million pairs 32 MB of keys.
const AT_ONCE: AtOnce = AtOnce { rows: 1 << 20, pairs: 1 << 22 };

pub enum Engine {
    Polars,
    Spark(Spark),
}

/// A month's object of the table `invoices`: what it proves, and its bytes where Polars needs them.
pub struct Invoices {
    pub object: Object,
    pub proof: Proof,
    pub expected: Fingerprint,
    /// Where a person finds the object.
    pub place: String,
    bytes: Bytes,
}

impl Engine {
    /// Name in the result line.
    pub fn name(&self) -> &'static str {
        match self {
            Engine::Polars => "polars",
            Engine::Spark(_) => "spark",
        }
    }

    /// The month's object; none when there is none. For Spark only its footer is read, so memory does
    /// not follow the number of invoices.
    ///
    /// # Errors
    /// Refused when it has no proof.
    pub async fn read(&self, lake: &Lake, path: &str) -> Result<Option<Invoices>> {
        let found = match self {
            Engine::Polars => match lake.get(path).await? {
                Some((object, bytes)) => Some((object, read_proof(&bytes)?, bytes)),
                None => None,
            },
            Engine::Spark(_) => lake.footer(path).await?.map(|(object, proof)| (object, proof, Bytes::new())),
        };
        found.map(|(object, proof, bytes)| Invoices::new(lake, object, proof, bytes)).transpose()
    }

    /// Statistics per business, in the order and with the types of the table, not yet compared with the proof.
    /// Bytes are used up, so that Polars need not copy them.
    ///
    /// # Errors
    /// Refused when the object cannot be read as invoices; what [`Spark::month`] says.
    pub async fn group(&self, invoices: &mut Invoices) -> Result<DataFrame> {
        let (rows, money, business) =
            (invoices.expected.rows, invoices.proof.money, invoices.proof.keys.business);
        match self {
            Engine::Polars => {
                let bytes = std::mem::take(&mut invoices.bytes);
                staging::off_the_runtime(move || group::month(bytes, rows, AT_ONCE, money, business)).await
            }
            Engine::Spark(spark) => spark.month(&invoices.object.path, money, business).await,
        }
    }

    /// Leaves nothing behind on a cluster, whatever way the run has ended.
    pub async fn close(self) {
        if let Engine::Spark(spark) = self {
            spark.close().await;
        }
    }
}

impl Invoices {
    fn new(lake: &Lake, object: Object, proof: Option<Proof>, bytes: Bytes) -> Result<Self> {
        let place = lake.locate(&object.path);
        let proof = proof.ok_or_else(|| {
            let advice = "it was not written by query_source; run query_source for its month";
            Error::refused(format!("{place} has no proof of its invoices in its footer: {advice}"))
        })?;
        let expected = proof
            .invoices
            .parse(proof.money.scale)
            .ok_or_else(|| Error::refused(format!("{place} has a proof with unreadable totals")))?;
        Ok(Self { object, proof, expected, place, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixture, fingerprint};
    use invoices::Invoice;
    use invoices::lake::names::{self, Table};

    #[tokio::test]
    async fn a_footer_of_any_length_is_read_from_the_end() {
        let fixture = Fixture::new();
        let path = names::object(Table::Invoices, &names::month_partition(Fixture::newest()));
        assert!(fixture.lake.footer(&path).await.unwrap().is_none());
        // Row groups of 100 invoices: some footers are longer than what is read first.
        for count in [1, 50_000] {
            let invoices: Vec<Invoice> = (0..count)
                .map(|invoice_id| Invoice {
                    invoice_id,
                    issue_date_us: invoice_id,
                    issuer_id: Some(1),
                    receiver_id: None,
                    amount: 1,
                })
                .collect();
            fixture.extract(Fixture::newest(), &invoices).await;
            let (object, proof) = fixture.lake.footer(&path).await.unwrap().unwrap();
            assert_eq!(object, fixture.lake.head(&path).await.unwrap().unwrap());
            let proven = proof.unwrap().invoices.parse(crate::testing::MONEY.scale).unwrap();
            assert_eq!(proven, fingerprint(&invoices));
        }
        fixture.lake.put(&path, Bytes::from_static(b"not Parquet, and long enough to say so")).await.unwrap();
        let error = fixture.lake.footer(&path).await.unwrap_err();
        assert_eq!(error.kind(), invoices::Kind::Refused, "{error}");
    }
}
