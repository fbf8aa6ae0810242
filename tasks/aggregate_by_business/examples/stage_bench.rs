#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unused_imports)]
#[path = "../src/engine.rs"] mod engine;
#[path = "../src/merge.rs"] mod merge;
#[path = "../src/pairs.rs"] mod pairs;
use engine::*;
use polars::prelude::*;
use std::time::Instant;
use invoices::statistics::{self as names, Scope};
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn t<R>(name: &str, n: usize, f: impl Fn(usize) -> R) -> Vec<R> {
    let (mut best, mut bc) = (f64::MAX, f64::MAX);
    let mut out = vec![];
    for _ in 0..3 {
        out.clear();
        let (s, c) = (Instant::now(), cpu());
        for b in 0..n { out.push(f(b)); }
        best = best.min(s.elapsed().as_secs_f64());
        bc = bc.min(cpu() - c);
    }
    println!("{name:40} wall {best:.3} cpu {bc:.3}");
    out
}
fn side(lf: LazyFrame, k: &str, s: &str) -> LazyFrame {
    lf.group_by([col(k).alias("business_id")]).agg([
        col("amount_usd").sum().alias(format!("total_amount_{s}")), len().cast(DataType::Int64).alias(format!("{s}_count")),
        col("amount_usd").min().alias(format!("min_amount_{s}")), col("amount_usd").max().alias(format!("max_amount_{s}")),
        col("issue_date").min().alias("first_issue_date"), col("issue_date").max().alias("last_issue_date")])
}
fn main() {
    let money = invoices::money::MoneyType { precision: 12, scale: 2 };
    let root = std::env::args().nth(1).unwrap();
    let mut files = vec![];
    let mut dirs: Vec<_> = std::fs::read_dir(format!("{root}/invoices")).unwrap().map(|e| e.unwrap().path()).collect();
    dirs.sort();
    for d in dirs { files.push(bytes::Bytes::from(std::fs::read(d.join("part-0.parquet")).unwrap())); }
    let n = files.len();
    let frames = t("decode", n, |i| collect(scan(vec![files[i].clone()]).unwrap().select([col("issue_date"), col("issuer_id"), col("receiver_id"), col("amount_usd")])).unwrap());
    let a = t("issued", n, |i| collect(side(frames[i].clone().lazy(), "issuer_id", "issued")).unwrap());
    let b = t("received", n, |i| collect(side(frames[i].clone().lazy(), "receiver_id", "received")).unwrap());
    let p = t("pairs", n, |i| pairs::counterparties(&frames[i]).unwrap().collect().unwrap());
    println!("rows {} {} {}", a[0].height(), b[0].height(), p[0].height());
    let m = t("merge 3", n, |i| merge::merge([a[i].clone().lazy(), b[i].clone().lazy(), p[i].clone().lazy()], money, Scope::Month).unwrap());
    let ps = t("counterparties group", n, |i| collect(p[i].clone().lazy().group_by([col("business_id")]).agg([col("counterparties").sum()])).unwrap());
    t("merge 3, one cp", n, |i| merge::merge([a[i].clone().lazy(), b[i].clone().lazy(), ps[i].clone().lazy()], money, Scope::Month).unwrap());
    let nulls_last = || SortMultipleOptions::default().with_nulls_last(true);
    let join = |i: usize| {
        let args = || { let mut x = JoinArgs::new(JoinType::Full).with_coalesce(JoinCoalesce::CoalesceColumns); x.nulls_equal = true; x };
        let ab = a[i].clone().lazy().join(b[i].clone().lazy(), [col("business_id")], [col("business_id")], args());
        ab.join(ps[i].clone().lazy(), [col("business_id")], [col("business_id")], args())
    };
    t("full joins", n, |i| collect(join(i)).unwrap());
    t("full joins + sort", n, |i| collect(join(i).sort(["business_id"], nulls_last())).unwrap());
    t("full joins inmem", n, |i| join(i).collect().unwrap());
    t("full joins + sort inmem", n, |i| join(i).sort(["business_id"], nulls_last()).collect().unwrap());
    t("sort merged", n, |i| collect(m[i].clone().lazy().sort(["business_id"], nulls_last())).unwrap());
    t("sort side", n, |i| collect(a[i].clone().lazy().sort(["business_id"], nulls_last())).unwrap());
    t("parquet 3", n, |i| to_parquet(&mut m[i].clone()).unwrap());
    let z = |i: usize, l: i32| { let mut v = vec![]; ParquetWriter::new(&mut v).with_compression(ParquetCompression::Zstd(Some(polars::polars_utils::compression::ZstdLevel::try_new(l).unwrap()))).with_statistics(StatisticsOptions::default()).finish(&mut m[i].clone()).unwrap(); v };
    let o = t("parquet zstd1", n, |i| z(i, 1));
    println!("bytes {} vs {}", o[0].len(), to_parquet(&mut m[0].clone()).unwrap().len());
    let o: Vec<bytes::Bytes> = o.into_iter().map(Into::into).collect();
    let w = t("window merge", 1, |_| merge::merge([scan(o.clone()).unwrap()], money, Scope::Window).unwrap());
    println!("{}", w[0].height());
    t("window decode", 1, |_| collect(scan(o.clone()).unwrap()).unwrap());
}
