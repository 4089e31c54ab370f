//! Frames of a few positions, for the tests of what reads them.

use crate::fixed::State;
use crate::frame::{Days, Decimals, Texts};
use crate::ids::Uuid;
use crate::pnl::inputs::{Events, Opening, Positions};
use crate::pnl::marks::Marks;
use crate::store::PriceStore;
use crate::text::{Intern, Table};

/// One position: prices of two decimals, quantities whole, market values in cents.
#[derive(Clone, Copy)]
pub(super) struct Held {
    /// First byte of the id; positions of one portfolio are ordered by it.
    pub(super) id: u8,
    /// First byte of the portfolio's id.
    pub(super) portfolio: u8,
    pub(super) symbol: &'static str,
    pub(super) kind: &'static str,
    pub(super) quantity: i64,
    pub(super) entry_price: i64,
    pub(super) entry_day: i32,
    pub(super) exit_day: Option<i32>,
    pub(super) private: bool,
    pub(super) market_value: Option<i64>,
}

/// 3 AAA bought at 10.00 on day 5 by portfolio 1.
pub(super) const LONG: Held = Held {
    id: 1,
    portfolio: 1,
    symbol: "AAA",
    kind: "LONG",
    quantity: 3,
    entry_price: 1000,
    entry_day: 5,
    exit_day: None,
    private: false,
    market_value: None,
};

/// A partial close: id of the position, trade date, quantity.
pub(super) type Closed = (u8, i32, i64);

pub(super) fn uuid(first: u8) -> Uuid {
    let mut id = [0; 16];
    id[0] = first;
    id
}

/// Closes of AAA on days 5, 6 and 8; sessions 5 to 8.
pub(super) fn marks(closes: [i64; 3]) -> Marks {
    let mut symbols = Intern::default();
    let code = symbols.code(b"AAA").unwrap();
    let prices = PriceStore::from_columns(
        &Texts::new("prices.symbol", &[code; 3], symbols.table(), &[0; 3]).unwrap(),
        &Days::new("prices.day", &[5, 6, 8], &[0; 3]).unwrap(),
        &Decimals::new("prices.close", &closes, &[0; 3], 2).unwrap(),
    )
    .unwrap();
    Marks::from_prices(&prices, &[5, 6, 7, 8], 10).unwrap()
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
pub(super) fn with_frames<T>(
    held: &[Held],
    closed: &[Closed],
    portfolios: &[(u8, i32, i32)],
    work: impl FnOnce(Positions<'_>, Events<'_>, &Opening<'_>) -> T,
) -> T {
    let rows = || held.iter();
    let ids: Vec<Uuid> = rows().map(|row| uuid(row.id)).collect();
    let owners: Vec<Uuid> = rows().map(|row| uuid(row.portfolio)).collect();
    let (symbols, symbol_table) = Column::coded(rows().map(|row| Some(row.symbol)));
    let (kinds, kind_table) = Column::coded(rows().map(|row| Some(row.kind)));
    let classes = rows().map(|row| row.private.then_some("PRIVATE"));
    let (classes, class_table) = Column::coded(classes);
    let quantity = Column::of(rows().map(|row| Some(row.quantity)));
    let entry_price = Column::of(rows().map(|row| Some(row.entry_price)));
    let entry_day = Column::of(rows().map(|row| Some(row.entry_day)));
    let exit_day = Column::of(rows().map(|row| row.exit_day));
    let market_value = Column::of(rows().map(|row| row.market_value));
    let no_amount = Column::of(rows().map(|_| None));
    let no_day = Column::of(rows().map(|_| None));
    let deleted = vec![false; held.len()];

    let event_ids: Vec<Uuid> = closed.iter().map(|&(id, ..)| uuid(id)).collect();
    let owner = |id| {
        rows()
            .find(|row| row.id == id)
            .map_or(0, |row| row.portfolio)
    };
    let event_owners: Vec<Uuid> = closed.iter().map(|&(id, ..)| uuid(owner(id))).collect();
    let event_day = Column::of(closed.iter().map(|&(_, day, _)| Some(day)));
    let event_quantity = Column::of(closed.iter().map(|&(.., quantity)| Some(quantity)));
    let realized = Column::of(closed.iter().map(|_| Some(0)));

    let asked: Vec<Uuid> = portfolios.iter().map(|&(id, ..)| uuid(id)).collect();
    let first_day: Vec<i32> = portfolios.iter().map(|&(_, first, _)| first).collect();
    let last_day: Vec<i32> = portfolios.iter().map(|&(.., last)| last).collect();
    let no_equity = Column::of(portfolios.iter().map(|_| None));
    let no_earliest = Column::of(portfolios.iter().map(|_| None));
    work(
        Positions {
            id: &ids,
            portfolio_id: &owners,
            symbol: symbols.texts(&symbol_table),
            position_type: kinds.texts(&kind_table),
            quantity: quantity.decimals(0),
            entry_price: entry_price.decimals(2),
            entry_day: entry_day.days(),
            exit_price: no_amount.decimals(2),
            exit_day: exit_day.days(),
            expiration_day: no_day.days(),
            investment_class: classes.texts(&class_table),
            last_price: no_amount.decimals(2),
            market_value: market_value.decimals(2),
            deleted: &deleted,
        },
        Events {
            position_id: &event_ids,
            portfolio_id: &event_owners,
            day: event_day.days(),
            quantity: event_quantity.decimals(0),
            realized: realized.decimals(2),
        },
        &Opening {
            portfolio_id: &asked,
            equity: no_equity.decimals(2),
            earliest_day: no_earliest.days(),
            earliest_equity: no_equity.decimals(2),
            earliest_pnl: no_equity.decimals(2),
            earliest_flow: no_equity.decimals(2),
            first_day: &first_day,
            last_day: &last_day,
        },
    )
}
