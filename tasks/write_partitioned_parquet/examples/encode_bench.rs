#![allow(clippy::unwrap_used, dead_code)]
#[path = "../src/encode.rs"]
mod encode;
use arrow::array::*;
use invoices::statistics::{Scope, schema};
use std::sync::Arc;
fn main() {
    let money = invoices::money::MoneyType { precision: 12, scale: 2 };
    let n = 1000usize;
    let amounts = |p: u8| -> ArrayRef { Arc::new((0..n as i128).map(|r| Some(r * 101 - 50)).collect::<Decimal128Array>().with_precision_and_scale(p, 2).unwrap()) };
    let ones = || -> ArrayRef { Arc::new(Int64Array::from(vec![1; n])) };
    let dates = || -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![7; n])) };
    let a = || amounts(12);
    let rows = arrow::record_batch::RecordBatch::try_new(schema(money, Scope::Month), vec![ones(), amounts(38), amounts(38), ones(), ones(), a(), a(), a(), a(), dates(), dates(), ones()]).unwrap();
    let rows = rows.project(&[1,2,3,4,5,6,7,8,9,10,11]).unwrap();
    let s = std::time::Instant::now();
    let mut bytes = 0;
    for _ in 0..12 { for i in 0..n { bytes += encode::encode(&rows.slice(i, 1)).unwrap().len(); } }
    println!("12000 objects {:?} {} bytes", s.elapsed(), bytes);
}
