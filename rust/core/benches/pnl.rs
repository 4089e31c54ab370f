//! The roll-forward of long lots through every session: lots times sessions a second.
#![expect(clippy::unwrap_used, reason = "benches stop at what is wrong")]

mod data;

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use batchcore_core::frame::{Days, Decimals, Texts};
use batchcore_core::ids::Uuid;
use batchcore_core::pnl::inputs::{Events, Flows, Opening, Positions};
use batchcore_core::pnl::marks::Marks;
use batchcore_core::pnl::rows::Rows;
use batchcore_core::pnl::{Inputs, Policy, run};
use batchcore_core::store::{PriceStore, SnapshotColumns, SnapshotStore};
use batchcore_core::text::{Intern, Table};
use criterion::{BenchmarkId, Criterion, Throughput};
use data::{Closes, FIRST_DAY, Numbers, SCALE};

const SYMBOLS: u32 = 3000;
const DAYS: i32 = 130;
const SESSIONS: usize = 120;
const PORTFOLIOS: usize = 1000;
const LOTS: usize = 15;
const ROWS: usize = PORTFOLIOS * LOTS;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    roll_forward(&mut criterion);
    criterion.final_summary();
}

fn roll_forward(criterion: &mut Criterion) {
    let closes = Closes::of(SYMBOLS, DAYS);
    let (symbol, day, close) = closes.columns();
    let prices = PriceStore::from_columns(&symbol, &day, &close).unwrap();
    let sessions: Vec<i32> = (FIRST_DAY + 10..FIRST_DAY + DAYS).collect();
    let marks = Marks::from_prices(&prices, &sessions, 10).unwrap();
    let previous = SnapshotStore::from_columns(&SnapshotColumns {
        portfolio_id: &[],
        day: &[],
        equity: none(2),
        cumulative_pnl: none(2),
        cumulative_realized: none(2),
        cumulative_flow: none(2),
        is_complete: &[],
    })
    .unwrap();
    let held = Held::of(closes.table.clone());
    let inputs = held.inputs(&marks, &previous);
    let rows = rolled(&inputs, 1);
    assert_eq!(rows.day.len(), PORTFOLIOS * SESSIONS);
    assert_eq!(
        rows.num_positions.first().copied(),
        i32::try_from(LOTS).ok()
    );

    let mut group = criterion.benchmark_group("roll_forward");
    group.throughput(Throughput::Elements(
        u64::try_from(ROWS * SESSIONS).unwrap(),
    ));
    group.sample_size(30);
    for threads in [1, 2] {
        let id = BenchmarkId::new("threads", threads);
        group.bench_function(id, |bench| {
            bench.iter(|| rolled(black_box(&inputs), threads));
        });
    }
    group.finish();
}

fn rolled(inputs: &Inputs<'_>, threads: usize) -> Rows {
    let threads = NonZeroUsize::new(threads).unwrap();
    run(
        Policy::Rollforward,
        inputs,
        threads,
        &AtomicBool::new(false),
    )
    .unwrap()
}

fn none<'a>(scale: u32) -> Decimals<'a> {
    Decimals::new("none", &[], &[], scale).unwrap()
}

/// Columns of long positions, held from the first day on.
struct Held {
    symbols: Table,
    codes: Vec<u32>,
    quantity: Vec<i64>,
    entry_price: Vec<i64>,
    entry_day: Vec<i32>,
    id: Vec<Uuid>,
    owner: Vec<Uuid>,
    portfolio_id: Vec<Uuid>,
    opening: Vec<i64>,
    nothing: Vec<i64>,
    no_day: Vec<i32>,
    no_code: Vec<u32>,
    long: Table,
    valued: Vec<u8>,
    null: Vec<u8>,
    deleted: Vec<bool>,
    first_day: Vec<i32>,
    last_day: Vec<i32>,
}

impl Held {
    fn of(symbols: Table) -> Self {
        let mut numbers = Numbers::default();
        let mut draw =
            |limit: u32| -> Vec<u32> { (0..ROWS).map(|_| numbers.below(limit)).collect() };
        let codes = draw(SYMBOLS);
        let amounts = |drawn: Vec<u32>| drawn.into_iter().map(|n| i64::from(n) + 1).collect();
        let quantity = amounts(draw(1000_0000));
        let entry_price = amounts(draw(500_0000));
        let uuid = |number: usize| u128::try_from(number).unwrap().to_be_bytes();
        let mut long = Intern::default();
        long.code(b"LONG").unwrap();
        Self {
            symbols,
            codes,
            quantity,
            entry_price,
            entry_day: vec![FIRST_DAY; ROWS],
            id: (0..ROWS).map(uuid).collect(),
            owner: (0..ROWS).map(|row| uuid(row / LOTS)).collect(),
            portfolio_id: (0..PORTFOLIOS).map(uuid).collect(),
            opening: vec![10_000_000; PORTFOLIOS],
            nothing: vec![0; ROWS],
            no_day: vec![0; ROWS],
            no_code: vec![0; ROWS],
            long: long.into_table(),
            valued: vec![0; ROWS],
            null: vec![1; ROWS],
            deleted: vec![false; ROWS],
            first_day: vec![i32::MIN; PORTFOLIOS],
            last_day: vec![i32::MAX; PORTFOLIOS],
        }
    }

    fn inputs<'a>(&'a self, marks: &'a Marks, previous: &'a SnapshotStore) -> Inputs<'a> {
        let exact =
            |values: &'a [i64]| Decimals::new("exact", values, &self.valued, SCALE).unwrap();
        let null = |rows: usize, scale| {
            let (values, state) = (
                self.nothing.get(..rows).unwrap(),
                self.null.get(..rows).unwrap(),
            );
            Decimals::new("null", values, state, scale).unwrap()
        };
        let no_day = |rows: usize| {
            let (values, state) = (
                self.no_day.get(..rows).unwrap(),
                self.null.get(..rows).unwrap(),
            );
            Days::new("null", values, state).unwrap()
        };
        let valued = self.valued.get(..PORTFOLIOS).unwrap();
        Inputs {
            positions: Positions {
                id: &self.id,
                portfolio_id: &self.owner,
                symbol: Texts::new("symbol", &self.codes, &self.symbols, &self.valued).unwrap(),
                position_type: Texts::new("type", &self.no_code, &self.long, &self.valued).unwrap(),
                quantity: exact(&self.quantity),
                entry_price: exact(&self.entry_price),
                entry_day: Days::new("entry_day", &self.entry_day, &self.valued).unwrap(),
                exit_price: null(ROWS, SCALE),
                exit_day: no_day(ROWS),
                expiration_day: no_day(ROWS),
                investment_class: Texts::new("class", &self.no_code, &self.long, &self.null)
                    .unwrap(),
                last_price: null(ROWS, SCALE),
                market_value: null(ROWS, 2),
                deleted: &self.deleted,
            },
            events: Events {
                position_id: &[],
                portfolio_id: &[],
                day: no_day(0),
                quantity: none(SCALE),
                realized: none(2),
            },
            flows: Flows {
                portfolio_id: &[],
                day: no_day(0),
                amount: none(2),
                change_type: Texts::new("change_type", &[], &self.long, &[]).unwrap(),
            },
            marks,
            previous,
            opening: Opening {
                portfolio_id: &self.portfolio_id,
                equity: Decimals::new("equity", &self.opening, valued, 2).unwrap(),
                earliest_day: no_day(PORTFOLIOS),
                earliest_equity: null(PORTFOLIOS, 2),
                earliest_pnl: null(PORTFOLIOS, 2),
                earliest_flow: null(PORTFOLIOS, 2),
                first_day: &self.first_day,
                last_day: &self.last_day,
            },
        }
    }
}
