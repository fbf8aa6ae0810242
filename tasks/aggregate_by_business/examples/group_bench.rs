#![allow(clippy::unwrap_used, clippy::expect_used)]
use polars::prelude::*;
use std::sync::Arc;
use std::time::Instant;

fn collect(lf: LazyFrame) -> DataFrame {
    lf.collect_with_engine(Engine::Streaming).unwrap().unwrap_single()
}
fn scan(bytes: &[u8]) -> LazyFrame {
    let b: Arc<[_]> = Arc::new([bytes.to_vec().into()]);
    LazyFrame::scan_parquet_sources(ScanSources::Buffers(b), ScanArgsParquet { hive_options: polars::io::HiveOptions::new_disabled(), ..Default::default() }).unwrap()
        .select([col("issue_date"), col("issuer_id"), col("receiver_id"), col("amount_usd")])
}
fn side(lf: LazyFrame, k: &str) -> LazyFrame {
    lf.group_by([col(k).alias("business_id")]).agg([
        col("amount_usd").sum().alias("t"), len().cast(DataType::Int64).alias("n"),
        col("amount_usd").min().alias("mi"), col("amount_usd").max().alias("ma"),
        col("issue_date").min().alias("d0"), col("issue_date").max().alias("d1")])
}
fn pairs_two(lf: LazyFrame) -> LazyFrame {
    let a = || col("issuer_id"); let b = || col("receiver_id");
    let swap = || a().gt(b()).or(b().is_null());
    lf.select([when(swap()).then(b()).otherwise(a()).alias("lo"), when(swap()).then(a()).otherwise(b()).alias("hi")])
      .group_by([col("lo"), col("hi")]).agg([len()])
}
fn pairs_packed(lf: LazyFrame) -> LazyFrame {
    let a = || col("issuer_id").fill_null(lit(0i64)); let b = || col("receiver_id").fill_null(lit(0i64));
    let swap = || a().gt(b());
    let s = 1i64 << 31;
    lf.select([(when(swap()).then(b()).otherwise(a()) * lit(s) + when(swap()).then(a()).otherwise(b())).alias("k")])
      .group_by([col("k")]).agg([len()])
}
fn pairs_packed2(lf: LazyFrame) -> LazyFrame {
    let s = 1i64 << 31;
    lf.select([(col("issuer_id").fill_null(lit(0i64)) * lit(s) + col("receiver_id").fill_null(lit(0i64))).alias("k")])
      .group_by([col("k")]).agg([len()])
}
fn pair_agg(lf: LazyFrame) -> LazyFrame {
    lf.group_by([col("issuer_id"), col("receiver_id")]).agg([
        col("amount_usd").sum().alias("t"), len().cast(DataType::Int64).alias("n"),
        col("amount_usd").min().alias("mi"), col("amount_usd").max().alias("ma"),
        col("issue_date").min().alias("d0"), col("issue_date").max().alias("d1")])
}

const S: i64 = 1 << 31;
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn t<R>(name: &str, n: usize, f: impl Fn(usize) -> R) {
    let (mut best, mut bc) = (f64::MAX, f64::MAX);
    for _ in 0..5 {
        let (s, c) = (Instant::now(), cpu());
        for b in 0..n { std::hint::black_box(f(b)); }
        best = best.min(s.elapsed().as_secs_f64());
        bc = bc.min(cpu() - c);
    }
    println!("{name:40} wall {best:.3} cpu {bc:.3}");
}
fn directed(d: DataFrame) -> LazyFrame {
    let k = |a: &str, b: &str| (col(a).fill_null(lit(0i64)) * lit(S) + col(b).fill_null(lit(0i64))).alias("k");
    let l = d.lazy();
    concat([l.clone().select([k("issuer_id", "receiver_id")]), l.select([k("receiver_id", "issuer_id")])], UnionArgs { rechunk: true, ..Default::default() }).unwrap()
}
fn sorted_keys(d: DataFrame, engine: Engine) -> Column {
    let k = directed(d).collect_with_engine(engine).unwrap().unwrap_single();
    k.column("k").unwrap().sort(SortOptions::default()).unwrap()
}
fn rust_sorted(d: DataFrame) -> Vec<i64> {
    let a = d.column("issuer_id").unwrap().i64().unwrap();
    let b = d.column("receiver_id").unwrap().i64().unwrap();
    let mut v = Vec::with_capacity(2 * d.height());
    for (a, b) in a.iter().zip(b.iter()) { let (a, b) = (a.unwrap_or(0), b.unwrap_or(0)); v.push(a << 31 | b); v.push(b << 31 | a); }
    v.sort_unstable();
    v.dedup();
    v
}
fn rust_unordered(d: DataFrame) -> (Vec<u64>, Vec<u64>) {
    let a = d.column("issuer_id").unwrap().i64().unwrap();
    let b = d.column("receiver_id").unwrap().i64().unwrap();
    let mut v = Vec::with_capacity(d.height());
    for (a, b) in a.iter().zip(b.iter()) { let (a, b) = (a.unwrap_or(0) as u64, b.unwrap_or(0) as u64); v.push(a.min(b) << 32 | a.max(b)); }
    v.sort_unstable();
    v.dedup();
    let mut w: Vec<u64> = v.iter().map(|k| k.rotate_left(32)).collect();
    w.sort_unstable();
    (v, w)
}
fn radix(mut v: Vec<u64>, bits: u32) -> Vec<u64> {
    const D: u32 = 11;
    let mut w = vec![0u64; v.len()];
    let mut shift = 0;
    while shift < bits {
        let mut at = [0usize; 1 << D];
        for &k in &v { at[(k >> shift) as usize & ((1 << D) - 1)] += 1; }
        let mut sum = 0;
        for a in &mut at { let c = *a; *a = sum; sum += c; }
        for &k in &v { let d = (k >> shift) as usize & ((1 << D) - 1); w[at[d]] = k; at[d] += 1; }
        std::mem::swap(&mut v, &mut w);
        shift += D;
    }
    v
}
fn rust_radix(d: DataFrame) -> Vec<u64> {
    let a = d.column("issuer_id").unwrap().i64().unwrap();
    let b = d.column("receiver_id").unwrap().i64().unwrap();
    let max = a.max().unwrap().max(b.max().unwrap()) as u64;
    let bits = 64 - max.leading_zeros();
    let mut v = Vec::with_capacity(2 * d.height());
    for (a, b) in a.iter().zip(b.iter()) { let (a, b) = (a.unwrap_or(0) as u64, b.unwrap_or(0) as u64); v.push(a << bits | b); v.push(b << bits | a); }
    let mut v = radix(v, 2 * bits);
    v.dedup();
    v
}
fn main() {
    let root = std::env::args().nth(1).unwrap();
    let mut files = vec![];
    let mut dirs: Vec<_> = std::fs::read_dir(format!("{root}/invoices")).unwrap().map(|e| e.unwrap().path()).collect();
    dirs.sort();
    for d in dirs { files.push(std::fs::read(d.join("part-0.parquet")).unwrap()); }
    let n = files.len();
    t("decode", n, |i| collect(scan(&files[i])));
    let frames: Vec<DataFrame> = files.iter().map(|b| collect(scan(b))).collect();
    let f = |i: usize| frames[i].clone();
    t("M trivial", n, |i| collect(f(i).lazy().select([len()])));
    t("M len by issuer", n, |i| collect(f(i).lazy().group_by([col("issuer_id")]).agg([len()])));
    t("M sum by issuer", n, |i| collect(f(i).lazy().group_by([col("issuer_id")]).agg([col("amount_usd").sum()])));
    t("M min,max amount by issuer", n, |i| collect(f(i).lazy().group_by([col("issuer_id")]).agg([col("amount_usd").min(), col("amount_usd").max().alias("m")])));
    t("M min,max date by issuer", n, |i| collect(f(i).lazy().group_by([col("issuer_id")]).agg([col("issue_date").min(), col("issue_date").max().alias("m")])));
    t("M side issuer", n, |i| collect(side(f(i).lazy(), "issuer_id")));
    t("M side receiver", n, |i| collect(side(f(i).lazy(), "receiver_id")));
    t("M two sides one query", n, |i| collect(concat([side(f(i).lazy(), "issuer_id"), side(f(i).lazy(), "receiver_id")], UnionArgs::default()).unwrap()));
    t("M pairs packed unordered", n, |i| collect(pairs_packed(f(i).lazy())));
    t("M pairs packed ordered", n, |i| collect(pairs_packed2(f(i).lazy())));
    t("M directed keys", n, |i| collect(directed(f(i))));
    t("M directed keys inmem", n, |i| directed(f(i)).collect().unwrap());
    t("M directed sort", n, |i| sorted_keys(f(i), Engine::InMemory));
    t("M directed sort unique", n, |i| sorted_keys(f(i), Engine::InMemory).unique().unwrap());
    t("M directed sort unique/div/group", n, |i| {
        let k = sorted_keys(f(i), Engine::InMemory).unique().unwrap();
        let mut b = k.as_materialized_series().i64().unwrap().apply_values(|v| v >> 31);
        b.set_sorted_flag(polars::series::IsSorted::Ascending);
        let df = DataFrame::new_infer_height(vec![b.into_series().into()]).unwrap();
        df.lazy().group_by([col("k")]).agg([len()]).collect().unwrap()
    });
    t("M directed stream sort uniq group", n, |i| {
        collect(directed(f(i)).sort(["k"], SortMultipleOptions::default()).unique(None, UniqueKeepStrategy::Any).select([col("k") / lit(S)]).group_by([col("k")]).agg([len()]))
    });
    t("M packed unordered + counts", n, |i| {
        let p = collect(pairs_packed(f(i).lazy()).select([(col("k") / lit(S)).alias("lo"), (col("k") % lit(S)).alias("hi")]));
        collect(concat([p.clone().lazy().group_by([col("lo")]).agg([len()]), p.lazy().group_by([col("hi").alias("lo")]).agg([len()])], UnionArgs::default()).unwrap())
    });
    t("rust radix", n, |i| rust_radix(f(i)));
    t("rust unordered sort", n, |i| rust_unordered(f(i)));
    t("rust sort dedup", n, |i| rust_sorted(f(i)));
    for threads in [1, 2, 3] {
        t(&format!("threads {threads}: two sides"), 1, |_| {
            let next = std::sync::atomic::AtomicUsize::new(0);
            std::thread::scope(|s| { for _ in 0..threads { s.spawn(|| loop {
                let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if i >= n { break; }
                std::hint::black_box(collect(concat([side(f(i).lazy(), "issuer_id"), side(f(i).lazy(), "receiver_id")], UnionArgs::default()).unwrap()));
            }); } });
        });
    }
}
