//! Positions and their events become lots (S3): signed quantities of one symbol, each held from a
//! day to a day.

use core::ops::Range;

use crate::error::{Error, Result as Checked};
use crate::fixed::State;
use crate::frame::index;
use crate::ids::Day;
use crate::pnl::inputs::{Events, Market, Opening, Positions};
use crate::pnl::issue::IssueKind;
use crate::pnl::marks::SymbolMarks;
use crate::pnl::value::Size;
use crate::store::rates::{Currency, Pair, Rates};
use crate::text::{Table, normalised};

/// Shares that one contract stands for (S3, L14).
const OPTION_MULTIPLIER: u32 = 100;

/// What a `position_type` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PositionType {
    /// LONG.
    Long,
    /// SHORT.
    Short,
    /// LC or LP.
    LongOption,
    /// SC or SP.
    ShortOption,
}

impl PositionType {
    /// Returns what a text means, if it is one of the six types.
    pub(crate) fn of(text: &[u8]) -> Option<Self> {
        match text {
            b"LONG" => Some(Self::Long),
            b"SHORT" => Some(Self::Short),
            b"LC" | b"LP" => Some(Self::LongOption),
            b"SC" | b"SP" => Some(Self::ShortOption),
            _ => None,
        }
    }

    /// Returns whether it is a contract on shares.
    pub(crate) fn is_option(self) -> bool {
        matches!(self, Self::LongOption | Self::ShortOption)
    }

    /// Returns whether it is sold before it is bought.
    pub(crate) fn is_short(self) -> bool {
        matches!(self, Self::Short | Self::ShortOption)
    }

    /// Returns the shares that one of it stands for (S3, L14).
    pub(crate) fn multiplier(self) -> u32 {
        if self.is_option() {
            OPTION_MULTIPLIER
        } else {
            1
        }
    }
}

/// What an exit is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closing {
    /// The realized amount of an event.
    Given(i64),
    /// The exit price.
    Price(i64),
    /// The mark on the end, as no exit price counts.
    Unpriced,
    /// The mark on the expiration date.
    Expiry,
}

/// Whose value a lot has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// That of its marks.
    Public,
    /// A stored market value.
    PrivateAt(i64),
    /// That of its entry price.
    PrivateAtEntry,
}

/// What a lot is of, as analytics tell lots apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum LotKind {
    /// A public LONG or SHORT.
    Stock = 0,
    /// A public LC, LP, SC or SP.
    Option = 1,
    /// PRIVATE, whatever its type.
    Private = 2,
}

impl LotKind {
    /// Returns the byte that a column of kinds holds.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Stock => 0,
            Self::Option => 1,
            Self::Private => 2,
        }
    }
}

/// A signed quantity of one symbol, held from `start` (included) to `end` (excluded).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lot<'a> {
    /// Row of the position.
    pub(crate) position: usize,
    /// The closes of its symbol; nothing if there are none.
    pub(crate) marks: Option<&'a SymbolMarks>,
    /// Rates of its currency; nothing if that is the portfolio's.
    pub(crate) rates: Option<&'a Pair>,
    /// Signed mantissa.
    pub(crate) quantity: i64,
    /// Whether the mantissa has the scale of events, else that of positions.
    pub(crate) of_event: bool,
    /// 100 for options, else 1.
    pub(crate) multiplier: u32,
    /// Mantissa of the entry price.
    pub(crate) entry_price: i64,
    /// First day held.
    pub(crate) start: Day,
    /// First day no longer held; nothing if it is open.
    pub(crate) end: Option<Day>,
    /// What the end is worth.
    pub(crate) closing: Closing,
    /// Where its value comes from.
    pub(crate) class: Class,
}

impl Lot<'_> {
    /// Returns all that its prices are multiplied by.
    pub(crate) fn size(&self) -> Size {
        Size {
            quantity: self.quantity,
            of_event: self.of_event,
            multiplier: self.multiplier,
        }
    }

    /// Returns the latest valid close on or before `day` since the start (S4).
    pub(crate) fn mark(&self, day: Day) -> Option<i64> {
        self.dated_mark(day).map(|(close, _)| close)
    }

    /// Returns the same with the day of the close.
    pub(crate) fn dated_mark(&self, day: Day) -> Option<(i64, Day)> {
        let found = self.marks?.as_of(day)?;
        (found.1 >= self.start).then_some(found)
    }

    /// Returns whether it is held on `day` (S4).
    pub(crate) fn is_held(&self, day: Day) -> bool {
        self.start <= day && self.end.is_none_or(|end| day < end)
    }

    /// Returns whether a rate counts in what its end on `end` realizes (C6).
    pub(crate) fn converts_at_end(&self, end: Day) -> bool {
        match self.closing {
            Closing::Given(_) => false,
            Closing::Price(_) => true,
            Closing::Unpriced | Closing::Expiry => self.is_priced(end),
        }
    }

    /// Returns whether it is in another currency, and there is no rate on `day`.
    pub(crate) fn lacks_rate(&self, day: Day) -> bool {
        self.rates.is_some_and(|pair| pair.at(day).is_none())
    }

    /// Returns whether it is public and has a mark on `day`.
    pub(crate) fn is_priced(&self, day: Day) -> bool {
        self.class == Class::Public && self.mark(day).is_some()
    }

    /// Returns what it is of.
    pub(crate) fn kind(&self) -> LotKind {
        match self.class {
            Class::PrivateAt(_) | Class::PrivateAtEntry => LotKind::Private,
            Class::Public if self.multiplier == OPTION_MULTIPLIER => LotKind::Option,
            Class::Public => LotKind::Stock,
        }
    }

    /// Returns on which of `sessions`, ascending, it is held (S4).
    pub(crate) fn held(&self, sessions: &[i32]) -> Range<usize> {
        let from = sessions.partition_point(|&day| day < self.start.0);
        let to = self.end.map_or(sessions.len(), |end| {
            sessions.partition_point(|&day| day < end.0)
        });
        from..to
    }
}

/// What is wrong or odd about one position: name of the issue, row, and the column it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PositionFault {
    /// Name.
    pub(crate) kind: IssueKind,
    /// Row of the position.
    pub(crate) position: usize,
    /// Column.
    pub(crate) column: &'static str,
}

/// Reads positions as lots: what the distinct texts of the frame mean, looked up once.
#[derive(Debug)]
pub(crate) struct LotReader<'a> {
    types: Vec<Option<PositionType>>,
    private: Vec<bool>,
    marks: Vec<Option<&'a SymbolMarks>>,
    blank: Vec<bool>,
    conversions: Option<Conversions<'a>>,
}

/// Which rates convert a currency of positions into one of portfolios (C6).
#[derive(Debug)]
struct Conversions<'a> {
    /// By code of the portfolio's currency, NULL behind them; by code of the position's.
    pairs: Vec<Vec<Option<&'a Pair>>>,
    /// Code of the currency of each portfolio, as `pairs` have it.
    homes: Vec<usize>,
}

impl<'a> Conversions<'a> {
    fn of(positions: &Positions<'_>, opening: &Opening<'_>, rates: &'a Rates) -> Checked<Self> {
        let own = meanings(positions.currency.table(), Currency::of);
        let table = opening.currency.table();
        let mut homes = meanings(table, Currency::of);
        homes.push(None);
        let pair = |home: &Option<Currency>, own: &Option<Currency>| match own {
            Some(own) => rates.pair(own, home.as_ref()),
            None => Ok(None),
        };
        let pairs = homes
            .iter()
            .map(|home| own.iter().map(|own| pair(home, own)).collect());
        let null = table.len();
        let home = |row| opening.currency.get(row).map_or(null, index);
        Ok(Self {
            pairs: pairs.collect::<Checked<_>>()?,
            homes: (0..opening.currency.len()).map(home).collect(),
        })
    }

    fn get(&self, portfolio: usize, currency: Option<u32>) -> Option<&'a Pair> {
        let own = self.pairs.get(*self.homes.get(portfolio)?)?;
        *own.get(index(currency?))?
    }
}

fn meanings<T>(table: &Table, of: impl Fn(&[u8]) -> T) -> Vec<T> {
    table.iter().map(of).collect()
}

impl<'a> LotReader<'a> {
    /// Returns what reads `positions`.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] for currencies that the rates were not made for, and for rates on other
    /// sessions than those of the marks.
    pub(crate) fn of(
        positions: &Positions<'_>,
        opening: &Opening<'_>,
        market: Market<'a>,
    ) -> Checked<Self> {
        let symbols = positions.symbol.table();
        let Market { marks, rates } = market;
        if rates.is_some_and(|rates| rates.sessions() != marks.sessions()) {
            return Err(Error::Value {
                column: "rates.sessions",
                row: 0,
                expected: "the sessions of the marks",
            });
        }
        let conversions = rates.map(|rates| Conversions::of(positions, opening, rates));
        Ok(Self {
            conversions: conversions.transpose()?,
            types: meanings(positions.position_type.table(), PositionType::of),
            private: meanings(positions.investment_class.table(), |text| {
                normalised(text) == b"PRIVATE"
            }),
            marks: meanings(symbols, |symbol| marks.find(symbol)),
            blank: meanings(symbols, |symbol| symbol.iter().all(|&byte| byte == b' ')),
        })
    }

    /// Appends the lots of position `row` of a portfolio, and what is left out or odd about it to `faults`.
    ///
    /// `events` are all events and the rows of its own. A position with several faults has one
    /// issue: the first of `missing_value`, `unknown_position_type`, `non_finite`,
    /// `not_representable`, `missing_entry_price`, `blank_symbol`. Source: semantics.md, S3.
    pub(crate) fn append(
        &self,
        (portfolio, row): (usize, usize),
        positions: &Positions<'_>,
        (events, event_rows): (&Events<'_>, &[u32]),
        lots: &mut Vec<Lot<'a>>,
        faults: &mut Vec<PositionFault>,
    ) {
        if positions.deleted.get(row).copied().unwrap_or(false) {
            return;
        }
        let mut note = |kind, column| {
            faults.push(PositionFault {
                kind,
                position: row,
                column,
            });
        };
        let terms = match self.terms(row, positions) {
            Ok(terms) => terms,
            Err((kind, column)) => return note(kind, column),
        };
        if match terms.position_type {
            PositionType::Long => terms.quantity < 0,
            PositionType::Short => terms.quantity > 0,
            PositionType::LongOption | PositionType::ShortOption => false,
        } {
            note(IssueKind::SignMismatch, "quantity");
        }
        let open = Lot {
            position: row,
            marks: terms.marks.filter(|_| !terms.private),
            rates: self.conversions.as_ref().and_then(|conversions| {
                conversions.get(portfolio, positions.currency.get(row).ok())
            }),
            quantity: terms.quantity,
            of_event: false,
            multiplier: terms.position_type.multiplier(),
            entry_price: terms.entry_price,
            start: terms.start,
            end: None,
            closing: Closing::Unpriced,
            class: if terms.private {
                Class::PrivateAtEntry
            } else {
                Class::Public
            },
        };
        let negative = if terms.quantity == 0 {
            terms.position_type.is_short()
        } else {
            terms.quantity < 0
        };
        let exit_day = positions.exit_day.get(row).ok();
        let mut closed_on_exit = 0i128;
        for &event in event_rows {
            let (end, quantity, realized) = match read_event(index(event), events) {
                Ok(event) => event,
                Err(column) => {
                    note(IssueKind::BadEvent, column);
                    continue;
                }
            };
            if end < open.start {
                note(IssueKind::EndBeforeStart, "trade_date");
                continue;
            }
            if exit_day == Some(end) {
                closed_on_exit = closed_on_exit.saturating_add(i128::from(quantity));
            }
            lots.push(Lot {
                quantity: if negative {
                    quantity.saturating_neg()
                } else {
                    quantity
                },
                of_event: true,
                end: Some(end),
                closing: Closing::Given(realized),
                ..open
            });
        }
        if terms.quantity != 0 {
            let exit = exit_day.map(|day| (day, closed_on_exit));
            match lot_left(row, positions, events.quantity.scale(), &terms, open, exit) {
                Ok(left) => lots.push(left),
                Err((kind, column)) => note(kind, column),
            }
        }
    }

    /// Returns what a position says of its lots, or why it has none.
    fn terms(
        &self,
        row: usize,
        positions: &Positions<'_>,
    ) -> Result<Terms<'a>, (IssueKind, &'static str)> {
        let missing = |column| (IssueKind::MissingValue, column);
        let symbol = positions.symbol.shown(row).ok_or(missing("symbol"))?;
        let position_type = positions
            .position_type
            .shown(row)
            .ok_or(missing("position_type"))?;
        let quantity = positions.quantity.get(row);
        if quantity == Err(State::Null) {
            return Err(missing("quantity"));
        }
        let start = positions.entry_day.get(row);
        if start == Err(State::Null) {
            return Err(missing("entry_date"));
        }
        let position_type = self
            .types
            .get(index(position_type))
            .copied()
            .flatten()
            .ok_or((IssueKind::UnknownPositionType, "position_type"))?;
        let class = positions.investment_class.get(row);
        let private = class
            .ok()
            .and_then(|code| self.private.get(index(code)).copied())
            .unwrap_or(false);

        let entry_price = positions.entry_price.get(row);
        let exit_day = positions.exit_day.get(row);
        let exits = exit_day != Err(State::Null);
        let read = [
            ("symbol", positions.symbol.get(row).err()),
            ("quantity", quantity.err()),
            ("entry_price", entry_price.err()),
            ("entry_date", start.err()),
            (
                "exit_price",
                positions.exit_price.get(row).err().filter(|_| exits),
            ),
            ("exit_date", exit_day.err()),
            (
                "expiration_date",
                positions
                    .expiration_day
                    .get(row)
                    .err()
                    .filter(|_| position_type.is_option()),
            ),
            (
                "market_value",
                positions.market_value.get(row).err().filter(|_| private),
            ),
            ("investment_class", class.err()),
            (
                "currency",
                positions
                    .currency
                    .get(row)
                    .err()
                    .filter(|_| self.conversions.is_some()),
            ),
        ];
        for state in [State::NonFinite, State::NotRepresentable] {
            if let Some(&(column, _)) = read.iter().find(|(_, found)| *found == Some(state)) {
                return Err((IssueKind::of_state(state), column));
            }
        }
        let (Ok(quantity), Ok(start)) = (quantity, start) else {
            return Err(missing("quantity"));
        };
        let entry_price = entry_price
            .ok()
            .filter(|&price| price >= 0)
            .ok_or((IssueKind::MissingEntryPrice, "entry_price"))?;
        if !private && self.blank.get(index(symbol)).copied().unwrap_or(true) {
            return Err((IssueKind::BlankSymbol, "symbol"));
        }
        let marks = self.marks.get(index(symbol)).copied().flatten();
        Ok(Terms {
            position_type,
            private,
            marks,
            quantity,
            entry_price,
            start,
        })
    }
}

/// Returns the lot of what events have left of a position, or why there is none.
///
/// `exit` is the exit date and the quantity that events of that date closed.
fn lot_left<'a>(
    row: usize,
    positions: &Positions<'_>,
    event_scale: u32,
    terms: &Terms<'_>,
    open: Lot<'a>,
    exit: Option<(Day, i128)>,
) -> Result<Lot<'a>, (IssueKind, &'static str)> {
    let mut left = open;
    if terms.private
        && let Ok(value) = positions.market_value.get(row)
        && value != 0
    {
        left.class = Class::PrivateAt(value);
    }
    let column = if let Some((day, closed)) = exit {
        let scale = positions.quantity.scale();
        let quantity = at_scale(i128::from(terms.quantity), scale, event_scale);
        if at_scale(closed, event_scale, scale) >= quantity.saturating_abs() {
            return Err((IssueKind::ClosedTwice, "exit_date"));
        }
        left.end = Some(day);
        left.closing = match positions.exit_price.get(row) {
            Ok(price)
                if price > 0
                    || (price == 0 && terms.position_type.is_option() && !terms.private) =>
            {
                Closing::Price(price)
            }
            _ => Closing::Unpriced,
        };
        "exit_date"
    } else if terms.position_type.is_option()
        && let Ok(day) = positions.expiration_day.get(row)
    {
        left.end = Some(day);
        left.closing = Closing::Expiry;
        "expiration_date"
    } else {
        return Ok(left);
    };
    if left.end.is_some_and(|end| end < left.start) {
        return Err((IssueKind::EndBeforeStart, column));
    }
    Ok(left)
}

/// Returns `value` multiplied so that it compares with another of scale `other`.
fn at_scale(value: i128, own: u32, other: u32) -> i128 {
    let factor = 10i128.saturating_pow(other.saturating_sub(own));
    value.saturating_mul(factor)
}

/// What a position says of its lots.
struct Terms<'a> {
    position_type: PositionType,
    private: bool,
    marks: Option<&'a SymbolMarks>,
    quantity: i64,
    entry_price: i64,
    start: Day,
}

fn read_event(row: usize, events: &Events<'_>) -> Result<(Day, i64, i64), &'static str> {
    let end = events.day.get(row).map_err(|_| "trade_date")?;
    let quantity = events
        .quantity
        .get(row)
        .ok()
        .filter(|&quantity| quantity > 0);
    let realized = events.realized.get(row).map_err(|_| "realized_pnl");
    Ok((end, quantity.ok_or("quantity_closed")?, realized?))
}
