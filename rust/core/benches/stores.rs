//! Closes into the price store, and marks of every symbol on every session.
#![expect(clippy::unwrap_used, reason = "benches stop at what is wrong")]

mod data;

use std::hint::black_box;

use batchcore_core::pnl::marks::Marks;
use criterion::{Criterion, Throughput};
use data::{Closes, FIRST_DAY};

const SYMBOLS: u32 = 3000;
const DAYS: i32 = 130;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    stores(&mut criterion);
    criterion.final_summary();
}

fn stores(criterion: &mut Criterion) {
    let closes = Closes::of(SYMBOLS, DAYS);
    let columns = closes.columns();
    let store = Closes::store(&columns);
    assert_eq!(store.len(), closes.codes.len());
    let sessions: Vec<i32> = (FIRST_DAY + 10..FIRST_DAY + DAYS).collect();

    let mut group = criterion.benchmark_group("stores");
    group.throughput(Throughput::Elements(u64::try_from(store.len()).unwrap()));
    group.bench_function("prices", |bench| {
        bench.iter(|| Closes::store(black_box(&columns)));
    });
    group.bench_function("marks", |bench| {
        bench.iter(|| Marks::from_prices(black_box(&store), &sessions, 10).unwrap());
    });
    group.finish();
}
