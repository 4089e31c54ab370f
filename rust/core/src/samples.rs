//! Frames of a few positions, for tests.

use core::sync::atomic::AtomicBool;

use crate::fixed::State;
use crate::frame::{Days, Decimals, Texts};
use crate::ids::Uuid;
use crate::pnl::inputs::{BookFrames, Events, Flows, Inputs, Opening, Positions};
use crate::pnl::marks::Marks;
use crate::store::{PriceColumns, PriceStore};
use crate::text::{Intern, Table};

/// One position: prices of two decimals, quantities whole, market values in cents.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    /// First byte of the id; positions of one portfolio are ordered by it.
    pub(crate) id: u8,
    /// First byte of the portfolio's id.
    pub(crate) portfolio: u8,
    pub(crate) symbol: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) class: Option<&'static str>,
    pub(crate) quantity: Option<i64>,
    pub(crate) entry_price: Option<i64>,
    pub(crate) entry_day: i32,
    pub(crate) market_value: Option<i64>,
}

/// 3 AAA bought at 10.00 on day 5 by portfolio 1.
pub(crate) const LONG: Held = Held {
    id: 1,
    portfolio: 1,
    symbol: "AAA",
    kind: "LONG",
    class: None,
    quantity: Some(3),
    entry_price: Some(1000),
    entry_day: 5,
    market_value: None,
};

pub(crate) fn uuid(first: u8) -> Uuid {
    let mut id = [0; 16];
    id[0] = first;
    id
}

/// Closes of a scale: symbol as stored, day, mantissa.
pub(crate) fn prices(closes: &[(&str, i32, i64)], scale: u32) -> PriceStore {
    let mut symbols = Intern::default();
    let code = |&(symbol, ..): &(&str, i32, i64)| symbols.code(symbol.as_bytes()).unwrap();
    let codes: Vec<u32> = closes.iter().map(code).collect();
    let days: Vec<i32> = closes.iter().map(|&(_, day, _)| day).collect();
    let values: Vec<i64> = closes.iter().map(|&(.., close)| close).collect();
    let state = vec![0; closes.len()];
    let columns = PriceColumns {
        symbol: Texts::new("prices.symbol", &codes, symbols.table(), &state).unwrap(),
        day: Days::new("prices.day", &days, &state).unwrap(),
        close: Decimals::new("prices.close", &values, &state, scale).unwrap(),
    };
    PriceStore::from_columns(&columns, &AtomicBool::new(false)).unwrap()
}

/// Closes of AAA on days 5, 6 and 8; sessions 5 to 8.
pub(crate) fn marks([first, second, last]: [i64; 3]) -> Marks {
    let closes = [("AAA", 5, first), ("AAA", 6, second), ("AAA", 8, last)];
    Marks::from_prices(&prices(&closes, 2), &[5, 6, 7, 8], 10).unwrap()
}

#[derive(Default)]
struct Column<T> {
    values: Vec<T>,
    state: Vec<u8>,
}

impl<T: Default> Column<T> {
    fn of(values: impl Iterator<Item = Option<T>>) -> Self {
        let (mut column, mut states) = (Vec::new(), Vec::new());
        for value in values {
            let state = value.as_ref().map_or(State::Null, |_| State::Value);
            states.push(state.byte());
            column.push(value.unwrap_or_default());
        }
        Self {
            values: column,
            state: states,
        }
    }
}

impl Column<i64> {
    fn decimals(&self, scale: u32) -> Decimals<'_> {
        Decimals::new("sample", &self.values, &self.state, scale).unwrap()
    }
}

impl Column<i32> {
    fn days(&self) -> Days<'_> {
        Days::new("sample", &self.values, &self.state).unwrap()
    }
}

impl Column<u32> {
    fn coded(texts: impl Iterator<Item = Option<&'static str>>) -> (Self, Table) {
        let mut table = Intern::default();
        let codes = texts.map(|text| text.and_then(|text| table.code(text.as_bytes())));
        let column = Self::of(codes);
        (column, table.into_table())
    }

    fn texts<'a>(&'a self, table: &'a Table) -> Texts<'a> {
        Texts::new("sample", &self.values, table, &self.state).unwrap()
    }
}

/// Calls `work` with the frames of these rows; each portfolio runs over `[first, last]`.
pub(crate) fn with_lots<T>(
    held: &[Held],
    portfolios: &[(u8, i32, i32)],
    marks: &Marks,
    work: impl FnOnce(&Inputs<'_>) -> T,
) -> T {
    let rows = || held.iter();
    let ids: Vec<Uuid> = rows().map(|row| uuid(row.id)).collect();
    let owners: Vec<Uuid> = rows().map(|row| uuid(row.portfolio)).collect();
    let (symbols, symbol_table) = Column::coded(rows().map(|row| Some(row.symbol)));
    let (kinds, kind_table) = Column::coded(rows().map(|row| Some(row.kind)));
    let (classes, class_table) = Column::coded(rows().map(|row| row.class));
    let quantity = Column::of(rows().map(|row| row.quantity));
    let entry_price = Column::of(rows().map(|row| row.entry_price));
    let entry_day = Column::of(rows().map(|row| Some(row.entry_day)));
    let no_day = Column::of(rows().map(|_| None));
    let market_value = Column::of(rows().map(|row| row.market_value));
    let no_amount = Column::of(rows().map(|_| None));
    let deleted = vec![false; held.len()];
    let (no_text, no_table) = Column::coded(rows().map(|_| None));
    let (no_home, _) = Column::coded(portfolios.iter().map(|_| None));

    let (no_event, no_event_day) = (Column::of([].into_iter()), Column::of([].into_iter()));
    let (no_type, type_table) = Column::coded([].into_iter());
    let asked: Vec<Uuid> = portfolios.iter().map(|&(id, ..)| uuid(id)).collect();
    let first_day: Vec<i32> = portfolios.iter().map(|&(_, first, _)| first).collect();
    let last_day: Vec<i32> = portfolios.iter().map(|&(.., last)| last).collect();
    let no_equity = Column::of(portfolios.iter().map(|_| None));
    let no_earliest = Column::of(portfolios.iter().map(|_| None));
    work(&Inputs {
        book: BookFrames {
            positions: Positions {
                id: &ids,
                portfolio_id: &owners,
                symbol: symbols.texts(&symbol_table),
                position_type: kinds.texts(&kind_table),
                quantity: quantity.decimals(0),
                entry_price: entry_price.decimals(2),
                entry_day: entry_day.days(),
                exit_price: no_amount.decimals(2),
                exit_day: no_day.days(),
                expiration_day: no_day.days(),
                investment_class: classes.texts(&class_table),
                last_price: no_amount.decimals(2),
                market_value: market_value.decimals(2),
                currency: no_text.texts(&no_table),
                deleted: &deleted,
            },
            events: Events {
                position_id: &[],
                portfolio_id: &[],
                day: no_event_day.days(),
                quantity: no_event.decimals(0),
                realized: no_event.decimals(2),
            },
            flows: Flows {
                portfolio_id: &[],
                day: no_event_day.days(),
                amount: no_event.decimals(2),
                change_type: no_type.texts(&type_table),
            },
        },
        opening: Opening {
            portfolio_id: &asked,
            equity: no_equity.decimals(2),
            earliest_day: no_earliest.days(),
            earliest_equity: no_equity.decimals(2),
            earliest_pnl: no_equity.decimals(2),
            earliest_flow: no_equity.decimals(2),
            currency: no_home.texts(&no_table),
            first_day: &first_day,
            last_day: &last_day,
        },
        marks,
        rates: None,
    })
}
