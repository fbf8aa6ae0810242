#![allow(clippy::unwrap_used, clippy::expect_used)]
use invoices::fingerprint::FingerprintRecord;
use invoices::lake::commit::{CommitRecord, SourceSnapshot, now_text};
use invoices::lake::{Lake, names, names::Table};
use invoices::money::MoneyType;
use invoices::parquet::*;
use invoices::{Fingerprint, Invoice, InvoiceColumns, Month};
use parquet::arrow::ArrowWriter;
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::Distribution;

// make_lake URL last-month months invoices-per-month businesses zipf-exponent
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let lake = Lake::open(&a[1]).unwrap();
    let last: Month = a[2].parse().unwrap();
    let months: i32 = a[3].parse().unwrap();
    let per: usize = a[4].parse().unwrap();
    let businesses: u64 = a[5].parse().unwrap();
    let exp: f64 = a[6].parse().unwrap();
    let money = MoneyType { precision: 12, scale: 2 };
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut rng = rand::rngs::StdRng::seed_from_u64(7);
    let zipf = rand_distr::Zipf::new(businesses as f64, exp.max(0.0001)).unwrap();
    let mut id = 0;
    for m in (0..months).rev() {
        let month = last.plus(-m);
        let mut c = InvoiceColumns::default();
        let span = (month.end_us() - month.start_us()) / per as i64;
        for i in 0..per {
            id += 1;
            let mut who = |p: f64| -> Option<i64> {
                if rng.random_bool(p) { return None; }
                Some(if exp == 0.0 { rng.random_range(1..=businesses as i64) } else { zipf.sample(&mut rng) as i64 })
            };
            let issuer = who(0.001);
            let receiver = who(0.001);
            c.push(Invoice { invoice_id: id, issue_date_us: month.start_us() + i as i64 * span + rng.next_u32() as i64 % span, issuer_id: issuer, receiver_id: receiver, amount: rng.random_range(-1000..1_000_000) });
        }
        let f = Fingerprint::of(&c, money);
        let proof = Proof { invoices: FingerprintRecord::new(&f, 2), money, snapshot: SourceSnapshot::default() };
        let mut bytes = Vec::new();
        let mut w = ArrowWriter::try_new(&mut bytes, invoice_schema(money), Some(invoice_properties(131072))).unwrap();
        w.write(&invoice_batch(c, money).unwrap()).unwrap();
        w.append_key_value_metadata(proof.to_key_value().unwrap());
        w.close().unwrap();
        let partition = names::month_partition(month);
        rt.block_on(async {
            let o = lake.put(&names::object(Table::Invoices, &partition), bytes.into()).await.unwrap();
            println!("{month} {} bytes", o.size);
            let r = CommitRecord { table: "invoices".into(), partition, rows: per as u64, invoices: proof.invoices.clone(), money, snapshot: proof.snapshot.clone(), inputs: Default::default(), options: "layout=1".into(), objects: vec![(&o).into()], committed_at: now_text(), program: "x".into() };
            lake.write_commit(Table::Invoices, &r).await.unwrap();
        });
    }
}
