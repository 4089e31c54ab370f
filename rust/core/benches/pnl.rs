//! The roll-forward beside a bare gather and multiply-add over the same closes and quantities.
//!
//! The bare loop adds up close times quantity of each lot of a portfolio on each session, into one
//! column of 64-bit sums: no rules, no rounding, no other column. The roll-forward fills all
//! columns. Both run over the same portfolios, in chunks or all at once, each chunk into the memory
//! of the one before; they take turns in one process, and what is printed are medians. The columns
//! are the same on one thread and on two.
#![expect(clippy::unwrap_used, reason = "benches stop at what is wrong")]
#![expect(clippy::print_stdout, reason = "benches say what they have measured")]
#![expect(clippy::float_arithmetic, reason = "seconds are floats")]

mod data;

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use batchcore_core::frame::{Days, Decimals, Texts};
use batchcore_core::ids::Uuid;
use batchcore_core::pnl::columns::Columns;
use batchcore_core::pnl::inputs::{BookFrames, Events, Flows, Inputs, Opening, Positions};
use batchcore_core::pnl::marks::Marks;
use batchcore_core::pnl::policy::run;
use batchcore_core::pnl::rollforward::Rollforward;
use batchcore_core::store::{SnapshotColumns, SnapshotStore};
use batchcore_core::text::{Intern, Table};
use data::{Closes, FIRST_DAY, Numbers, SCALE};

const SYMBOLS: u32 = 3000;
const DAYS: i32 = 130;
const SESSIONS: usize = 120;
const LOTS: usize = 15;
/// Rows of a chunk whose columns fit the cache, of one of a run, and of all at once.
const CHUNKS: [usize; 3] = [25_000, 100_000, 1_200_000];
const ROUNDS: usize = 15;

fn main() {
    // `cargo test` and `cargo bench -- --test` run benches once, on little
    let timed = std::env::args().any(|argument| argument == "--bench")
        && !std::env::args().any(|argument| argument == "--test");
    let portfolios = if timed { 10_000 } else { 100 };
    let market = Market::generated();
    for rows in CHUNKS {
        let chunk = (rows / SESSIONS).min(portfolios);
        let mut numbers = Numbers::default();
        let chunks: Vec<Held> = (0..portfolios / chunk)
            .map(|_| Held::of(market.closes.table.clone(), chunk, &mut numbers))
            .collect();
        for held in &chunks {
            assert_threads_agree(&market, held);
        }
        for threads in [1, 2] {
            let rounds = if timed { ROUNDS } else { 1 };
            let measured = Measured::of(&market, &chunks, threads, rounds);
            measured.tell(rows, chunks.len() * chunk * LOTS * SESSIONS, threads);
        }
    }
}

/// Median seconds of each side.
struct Measured {
    rolled: f64,
    bare: f64,
}

impl Measured {
    fn of(market: &Market, chunks: &[Held], threads: usize, rounds: usize) -> Self {
        let rows = chunks.first().unwrap().portfolio_id.len() * SESSIONS;
        let mut sums = vec![0; rows];
        let inputs = |held| Held::inputs(held, &market.marks);
        let inputs: Vec<Inputs<'_>> = chunks.iter().map(inputs).collect();
        for (held, inputs) in chunks.iter().zip(&inputs) {
            let mut columns = roll(market, inputs, threads);
            gather(&market.by_symbol, held, threads, &mut sums);
            assert_same(&mut columns, &sums);
        }
        let (mut rolled, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            rolled.push(seconds(|| {
                for inputs in &inputs {
                    black_box(roll(market, inputs, threads));
                }
            }));
            bare.push(seconds(|| {
                for held in chunks {
                    gather(&market.by_symbol, held, threads, &mut sums);
                }
            }));
        }
        Self {
            rolled: median(&rolled),
            bare: median(&bare),
        }
    }

    fn tell(&self, rows: usize, lot_sessions: usize, threads: usize) {
        let millions = f64::from(u32::try_from(lot_sessions).unwrap()) / 1e6;
        let rate = |seconds: f64| millions / seconds;
        println!(
            "chunks of {rows} rows, {threads} threads: {:.0} M lot-sessions/s, {:.1} ms for {millions:.0} M",
            rate(self.rolled),
            self.rolled * 1e3,
        );
        let (bare, ratio) = (rate(self.bare), self.bare / self.rolled);
        println!("    bare: {bare:.0} M/s, ratio {ratio:.2}");
    }
}

fn seconds(action: impl FnOnce()) -> f64 {
    let start = Instant::now();
    action();
    start.elapsed().as_secs_f64()
}

fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    *sorted.get(sorted.len() / 2).unwrap()
}

fn roll(market: &Market, inputs: &Inputs<'_>, threads: usize) -> Columns {
    let threads = NonZeroUsize::new(threads).unwrap();
    let never = AtomicBool::new(false);
    let policy = Rollforward::of(inputs, &market.previous, None).unwrap();
    let (columns, report) = run(&policy, inputs, threads, &never).unwrap();
    black_box(report);
    columns
}

/// Adds up close times quantity.
fn gather(by_symbol: &[i64], held: &Held, threads: usize, sums: &mut [i64]) {
    let portfolios = held.portfolio_id.len().div_ceil(threads);
    let codes = held.codes.chunks(portfolios * LOTS);
    let quantities = held.quantity.chunks(portfolios * LOTS);
    let parts = sums.chunks_mut(portfolios * SESSIONS);
    std::thread::scope(|scope| {
        for ((sums, codes), quantities) in parts.zip(codes).zip(quantities) {
            let mut work = move || by_lot(by_symbol, codes, quantities, sums);
            if threads == 1 {
                work();
            } else {
                scope.spawn(work);
            }
        }
    });
    black_box(sums);
}

/// Lot by lot, over all sessions, which is as the roll-forward does it.
fn by_lot(by_symbol: &[i64], codes: &[u32], quantities: &[i64], sums: &mut [i64]) {
    let lots = codes.chunks_exact(LOTS).zip(quantities.chunks_exact(LOTS));
    for (sums, (codes, quantities)) in sums.chunks_exact_mut(SESSIONS).zip(lots) {
        sums.fill(0);
        for (&code, &quantity) in codes.iter().zip(quantities) {
            let from = usize::try_from(code).unwrap() * SESSIONS;
            let closes = by_symbol.get(from..from + SESSIONS).unwrap();
            for (sum, close) in sums.iter_mut().zip(closes) {
                *sum = sum.wrapping_add(close.wrapping_mul(quantity));
            }
        }
    }
}

/// Compares what one thread and two make of the portfolios.
fn assert_threads_agree(market: &Market, held: &Held) {
    let inputs = held.inputs(&market.marks);
    let [one, two] = [1, 2].map(|threads| roll(market, &inputs, threads));
    assert!(one == two, "columns differ between one thread and two");
}

/// Compares the long values with the bare sums, of closes and quantities of four decimals.
fn assert_same(columns: &mut Columns, sums: &[i64]) {
    let long = columns.slices().long_value;
    assert_eq!(long.len(), sums.len());
    let same = |(&cents, &sum): (&i64, &i64)| cents == (sum + 500_000) / 1_000_000;
    assert!(long.iter().zip(sums).all(same));
}

/// Closes, marked on the sessions and laid out by symbol and session.
struct Market {
    closes: Closes,
    marks: Marks,
    by_symbol: Vec<i64>,
    previous: SnapshotStore,
}

impl Market {
    fn generated() -> Self {
        let closes = Closes::of(SYMBOLS, DAYS);
        let prices = Closes::store(&closes.columns());
        let sessions: Vec<i32> = (FIRST_DAY + 10..FIRST_DAY + DAYS).collect();
        let marks = Marks::from_prices(&prices, &sessions, 10).unwrap();
        let symbols = closes.table.iter();
        let of = |symbol| {
            marks
                .find(symbol)
                .unwrap()
                .marks()
                .iter()
                .map(|&(close, _)| close)
        };
        let rows = symbols.flat_map(of);
        let by_symbol = rows.collect();
        let previous = SnapshotStore::from_columns(&SnapshotColumns {
            portfolio_id: &[],
            day: &[],
            equity: none(2),
            cumulative_pnl: none(2),
            cumulative_realized_pnl: none(2),
            cumulative_capital_flow: none(2),
            is_complete: &[],
        });
        Self {
            marks,
            by_symbol,
            previous: previous.unwrap(),
            closes,
        }
    }
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
    fn of(symbols: Table, portfolios: usize, numbers: &mut Numbers) -> Self {
        let rows = portfolios * LOTS;
        let mut draw =
            |limit: u32| -> Vec<u32> { (0..rows).map(|_| numbers.below(limit)).collect() };
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
            entry_day: vec![FIRST_DAY; rows],
            id: (0..rows).map(uuid).collect(),
            owner: (0..rows).map(|row| uuid(row / LOTS)).collect(),
            portfolio_id: (0..portfolios).map(uuid).collect(),
            opening: vec![10_000_000; portfolios],
            nothing: vec![0; rows],
            no_day: vec![0; rows],
            no_code: vec![0; rows],
            long: long.into_table(),
            valued: vec![0; rows],
            null: vec![1; rows],
            deleted: vec![false; rows],
            first_day: vec![i32::MIN; portfolios],
            last_day: vec![i32::MAX; portfolios],
        }
    }

    fn inputs<'a>(&'a self, marks: &'a Marks) -> Inputs<'a> {
        let exact =
            |values: &'a [i64]| Decimals::new("exact", values, &self.valued, SCALE).unwrap();
        let state = |rows: usize| self.null.get(..rows).unwrap();
        let null = |rows: usize, scale| {
            let values = self.nothing.get(..rows).unwrap();
            Decimals::new("null", values, state(rows), scale).unwrap()
        };
        let no_day = |rows: usize| {
            let values = self.no_day.get(..rows).unwrap();
            Days::new("null", values, state(rows)).unwrap()
        };
        let no_text = |rows: usize| {
            let codes = self.no_code.get(..rows).unwrap();
            Texts::new("null", codes, &self.long, state(rows)).unwrap()
        };
        let (rows, portfolios) = (self.codes.len(), self.portfolio_id.len());
        let valued = self.valued.get(..portfolios).unwrap();
        Inputs {
            book: BookFrames {
                positions: Positions {
                    id: &self.id,
                    portfolio_id: &self.owner,
                    symbol: Texts::new("symbol", &self.codes, &self.symbols, &self.valued).unwrap(),
                    position_type: Texts::new("type", &self.no_code, &self.long, &self.valued)
                        .unwrap(),
                    quantity: exact(&self.quantity),
                    entry_price: exact(&self.entry_price),
                    entry_day: Days::new("entry_day", &self.entry_day, &self.valued).unwrap(),
                    exit_price: null(rows, SCALE),
                    exit_day: no_day(rows),
                    expiration_day: no_day(rows),
                    investment_class: Texts::new("class", &self.no_code, &self.long, &self.null)
                        .unwrap(),
                    last_price: null(rows, SCALE),
                    market_value: null(rows, 2),
                    currency: no_text(rows),
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
            },
            opening: Opening {
                portfolio_id: &self.portfolio_id,
                equity: Decimals::new("equity", &self.opening, valued, 2).unwrap(),
                earliest_day: no_day(portfolios),
                earliest_equity: null(portfolios, 2),
                earliest_pnl: null(portfolios, 2),
                earliest_flow: null(portfolios, 2),
                currency: no_text(portfolios),
                first_day: &self.first_day,
                last_day: &self.last_day,
            },
            marks,
            rates: None,
        }
    }
}
