//! Positions and their events become lots (S3): signed quantities of one symbol, each held over a
//! range of days.

use core::ops::Range;

use crate::error::{Error, Result as Checked};
use crate::fixed::{State, half_away};
use crate::frame::index;
use crate::ids::Day;
use crate::pnl::inputs::{Events, Inputs, Opening, Positions};
use crate::pnl::issue::IssueKind;
use crate::pnl::marks::SymbolMarks;
use crate::pnl::splits::{Restated, SymbolSplits};
use crate::pnl::value::{QuantityKind, Size};
use crate::store::rates::{Currency, Pair, Rates};
use crate::text::{Table, normalised};

/// Shares per contract (S3, L14).
const OPTION_MULTIPLIER: u32 = 100;

/// The meaning of a `position_type`.
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
    /// Returns the meaning of a text, if it is one of the six types.
    pub(crate) fn of(text: &[u8]) -> Option<Self> {
        match text {
            b"LONG" => Some(Self::Long),
            b"SHORT" => Some(Self::Short),
            b"LC" | b"LP" => Some(Self::LongOption),
            b"SC" | b"SP" => Some(Self::ShortOption),
            _ => None,
        }
    }

    /// Returns whether it is an option.
    pub(crate) fn is_option(self) -> bool {
        matches!(self, Self::LongOption | Self::ShortOption)
    }

    /// Returns whether it is a short position.
    pub(crate) fn is_short(self) -> bool {
        matches!(self, Self::Short | Self::ShortOption)
    }

    /// Returns the shares per unit of quantity (S3, L14).
    pub(crate) fn multiplier(self) -> u32 {
        if self.is_option() {
            OPTION_MULTIPLIER
        } else {
            1
        }
    }
}

/// How the end of a lot is valued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closing {
    /// The realized amount of an event.
    Given(i64),
    /// The exit price.
    Price(i64),
    /// The mark on the end, as there is no usable exit price.
    Unpriced,
    /// The mark on the expiration date.
    Expiry,
}

/// Where the value of a lot comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Its marks.
    Public,
    /// A stored market value.
    PrivateAt(i64),
    /// Its entry price.
    PrivateAtEntry,
}

/// The kind of a lot, as analytics distinguish it.
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
    /// Returns the byte of a column of kinds.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Stock => 0,
            Self::Option => 1,
            Self::Private => 2,
        }
    }
}

/// The splits of a lot's symbol after its start, and the basis of its quantity (C4).
///
/// It is small because every lot has room for one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LotSplits<'a> {
    /// The splits of the symbol.
    pub(crate) splits: &'a SymbolSplits,
    /// The basis of the quantity.
    basis: u32,
    /// Decimals of the quantity.
    scale: u8,
    /// Whether it needs more on another basis.
    pub(crate) takes_more: bool,
}

impl<'a> LotSplits<'a> {
    /// Returns the splits that restate a quantity stored for a position at `day`; nothing without a
    /// split after the start.
    ///
    /// # Errors
    ///
    /// [`State::NotRepresentable`] if the quantity is not representable on every basis since the
    /// start (C4).
    fn of(
        splits: &'a SymbolSplits,
        (quantity, scale): (i64, u32),
        day: Day,
        start: Day,
    ) -> Result<Option<Self>, State> {
        if !splits.is_after(start) {
            return Ok(None);
        }
        let basis = splits.of_position(day.max(start));
        let mut split = Self {
            splits,
            basis: u32::try_from(basis).unwrap_or(u32::MAX),
            scale: u8::try_from(scale).unwrap_or(u8::MAX),
            takes_more: false,
        };
        for to in splits.since(start) {
            let restated = split.restated(quantity, to);
            let restated = restated.ok_or(State::NotRepresentable)?;
            split.takes_more |= matches!(restated, Restated::Fine(_));
        }
        Ok(Some(split))
    }

    fn restated(&self, quantity: i64, to: usize) -> Option<Restated> {
        let basis = index(self.basis);
        self.splits.quantity(quantity, self.scale.into(), basis, to)
    }
}

/// A signed quantity of one symbol, held from `start` (included) to `end` (excluded).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lot<'a> {
    /// Row of the position.
    pub(crate) position: usize,
    /// The closes of its symbol; nothing if there are none.
    pub(crate) marks: Option<&'a SymbolMarks>,
    /// Rates of its currency; nothing if it is the portfolio's.
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
    /// How its end is valued.
    pub(crate) closing: Closing,
    /// Where its value comes from.
    pub(crate) class: Class,
    /// The splits that restate its quantity; nothing if it is the same on every day.
    pub(crate) split: Option<LotSplits<'a>>,
}

impl Lot<'_> {
    /// Returns its size as stored: everything that its prices are multiplied by.
    pub(crate) fn size(&self) -> Size {
        Size {
            quantity: self.quantity,
            kind: if self.of_event {
                QuantityKind::Event
            } else {
                QuantityKind::Position
            },
            multiplier: self.multiplier,
        }
    }

    /// Returns the size that a close of `day` is multiplied by (C4).
    pub(crate) fn size_of_close(&self, day: Day) -> Size {
        self.size_on(|splits| splits.of_close(day))
    }

    /// Returns the size that a price stored for the position at `day` is multiplied by (C4).
    pub(crate) fn size_of_position(&self, day: Day) -> Size {
        self.size_on(|splits| splits.of_position(day))
    }

    fn size_on(&self, basis: impl FnOnce(&SymbolSplits) -> usize) -> Size {
        let Some(split) = self.split else {
            return self.size();
        };
        let to = basis(split.splits);
        self.restated(split, to).unwrap_or_else(|| self.size())
    }

    /// Returns the size on a basis, if it is representable.
    fn restated(&self, split: LotSplits<'_>, to: usize) -> Option<Size> {
        let size = self.size();
        Some(match split.restated(self.quantity, to)? {
            Restated::Stored(quantity) => Size { quantity, ..size },
            Restated::Fine(quantity) => Size {
                quantity,
                kind: QuantityKind::Restated,
                ..size
            },
        })
    }

    /// Returns the sizes on each basis since the start; nothing if there is only one.
    pub(crate) fn sizes(&self) -> Option<impl Iterator<Item = Size>> {
        let split = self.split?;
        let bases = split.splits.since(self.start);
        Some(bases.filter_map(move |to| self.restated(split, to)))
    }

    /// Returns a close of one day on the basis of another, as it is displayed (C5).
    pub(crate) fn shown_price(&self, (close, found): (i64, Day), day: Day) -> i128 {
        self.split.map_or(close.into(), |LotSplits { splits, .. }| {
            splits.price(close, splits.of_close(found), splits.of_close(day))
        })
    }

    /// Returns the sessions of `sessions`, indices of those of its marks and all of them priced, in
    /// ranges on which its size is the same (C4, C5).
    pub(crate) fn ranges(
        &self,
        sessions: Range<usize>,
    ) -> impl Iterator<Item = (Range<usize>, Size)> {
        let mut rest = sessions;
        core::iter::from_fn(move || {
            let from = rest.start;
            if rest.is_empty() {
                return None;
            }
            let (mut to, mut size) = (rest.end, self.size());
            if let Some((LotSplits { splits, .. }, marks)) = self.split.zip(self.marks) {
                let day = marks
                    .marks()
                    .get(from)
                    .map_or(Day(i32::MIN), |&(_, day)| day);
                size = self.size_of_close(day);
                if let Some(next) = splits.next(splits.of_close(day)) {
                    to = marks.first_priced_since(next, from).min(to);
                }
            }
            rest.start = to;
            Some((from..to, size))
        })
    }

    /// Returns the latest valid close on or before `day` since the start, with its day (S4).
    pub(crate) fn mark(&self, day: Day) -> Option<(i64, Day)> {
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

    /// Returns whether it is in another currency without a rate on `day`.
    pub(crate) fn lacks_rate(&self, day: Day) -> bool {
        self.rates.is_some_and(|pair| pair.at(day).is_none())
    }

    /// Returns whether it is public and has a mark on `day`.
    pub(crate) fn is_priced(&self, day: Day) -> bool {
        self.class == Class::Public && self.mark(day).is_some()
    }

    /// Returns its kind.
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

/// Columns whose values [`LotReader::terms`] checks, in the order in which issues name them.
const COLUMNS_READ: [&str; 10] = [
    "symbol",
    "quantity",
    "entry_price",
    "entry_date",
    "exit_price",
    "exit_date",
    "expiration_date",
    "market_value",
    "investment_class",
    "currency",
];

/// An issue of one position: its name, the row, and the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PositionFault {
    /// Name.
    pub(crate) kind: IssueKind,
    /// Row of the position.
    pub(crate) position: usize,
    /// Column.
    pub(crate) column: &'static str,
}

/// Reads positions as lots; the distinct texts of the frame are interpreted once.
#[derive(Debug)]
pub(crate) struct LotReader<'a> {
    types: Vec<Option<PositionType>>,
    private: Vec<bool>,
    marks: Vec<Option<&'a SymbolMarks>>,
    /// Empty if there are no splits.
    splits: Vec<Option<&'a SymbolSplits>>,
    option_splits: Vec<Option<&'a SymbolSplits>>,
    blank: Vec<bool>,
    conversions: Option<Conversions<'a>>,
}

/// The rates that convert currencies of positions into currencies of portfolios (C6).
#[derive(Debug)]
struct Conversions<'a> {
    /// By code of the portfolio's currency, NULL last, then by code of the position's.
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
    /// Returns the reader of the positions of `inputs`.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] for currencies that the rates were not made for, and for rates on sessions
    /// other than those of the marks.
    pub(crate) fn of(inputs: &Inputs<'a>) -> Checked<Self> {
        let Inputs {
            book,
            opening,
            marks,
            rates,
        } = inputs;
        let positions = &book.positions;
        let symbols = positions.symbol.table();
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
            splits: marks.splits().map_or_else(Vec::new, |splits| {
                meanings(symbols, |symbol| splits.find(symbol))
            }),
            option_splits: marks.splits().map_or_else(Vec::new, |splits| {
                meanings(symbols, |symbol| splits.find_option(symbol))
            }),
            blank: meanings(symbols, |symbol| symbol.iter().all(|&byte| byte == b' ')),
        })
    }

    /// Returns the splits of a symbol, given by its code.
    fn splits(&self, symbol: u32) -> Option<&'a SymbolSplits> {
        self.splits.get(index(symbol)).copied().flatten()
    }

    /// Returns the splits of an option, given by its code, while it is held.
    pub(crate) fn option_splits(&self, symbol: u32) -> Option<&'a SymbolSplits> {
        self.option_splits.get(index(symbol)).copied().flatten()
    }

    /// Appends the lots of position `row` of a portfolio, and its issues to `faults`.
    ///
    /// `events` are all events and the rows of those of the position. A position with several
    /// faults has one issue: the first of `missing_value`, `unknown_position_type`, `non_finite`,
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
            split: terms.split,
        };
        let negative = if terms.quantity == 0 {
            terms.position_type.is_short()
        } else {
            terms.quantity < 0
        };
        let exit_day = positions.exit_day.get(row).ok();
        let mut closed_on_exit = 0i128;
        for &event in event_rows {
            let read = read_event(index(event), events, terms.splits, open.start);
            let (end, quantity, realized, split) = match read {
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
                split,
                ..open
            });
        }
        if terms.quantity != 0 {
            let exit = exit_day.map(|day| (day, closed_on_exit));
            match end_of(row, positions, events.quantity.scale(), &terms, &open, exit) {
                Ok((end, closing)) => lots.push(Lot {
                    end,
                    closing,
                    class: class_left(row, positions, &terms, open.class),
                    ..open
                }),
                Err((kind, column)) => note(kind, column),
            }
        }
    }

    /// Returns the terms of a position, or why it has no lots.
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

        let splits = self
            .splits(symbol)
            .filter(|_| !private && !position_type.is_option());
        let split = match (quantity, start, splits) {
            (Ok(quantity), Ok(start), Some(splits)) => {
                let quantity = (quantity, positions.quantity.scale());
                LotSplits::of(splits, quantity, start, start)
            }
            _ => Ok(None),
        };

        let entry_price = positions.entry_price.get(row);
        let exit_day = positions.exit_day.get(row);
        let exits = exit_day != Err(State::Null);
        let is_option = position_type.is_option();
        let converts = self.conversions.is_some();
        let states = [
            positions.symbol.get(row).err(),
            quantity.err().or(split.err()),
            entry_price.err(),
            start.err(),
            exits.then(|| positions.exit_price.get(row).err()).flatten(),
            exit_day.err(),
            is_option
                .then(|| positions.expiration_day.get(row).err())
                .flatten(),
            private
                .then(|| positions.market_value.get(row).err())
                .flatten(),
            class.err(),
            converts
                .then(|| positions.currency.get(row).err())
                .flatten(),
        ];
        let is_odd = |state: &State| *state != State::Null;
        if states.iter().flatten().any(is_odd) {
            for state in [State::NonFinite, State::NotRepresentable] {
                if let Some(at) = states.iter().position(|&found| found == Some(state)) {
                    let column = COLUMNS_READ.get(at).copied().unwrap_or_default();
                    return Err((IssueKind::of_state(state), column));
                }
            }
        }
        let (Ok(quantity), Ok(start), Ok(split)) = (quantity, start, split) else {
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
            splits,
            split,
        })
    }
}

/// Returns where the value of the lot comes from that remains of a position after its events.
fn class_left(row: usize, positions: &Positions<'_>, terms: &Terms<'_>, class: Class) -> Class {
    if !terms.private {
        return class;
    }
    let value = positions.market_value.get(row).ok();
    value
        .filter(|&value| value != 0)
        .map_or(class, Class::PrivateAt)
}

/// Returns the end of the lot that remains of a position after its events, and how that end is
/// valued, or why there is no such lot.
///
/// `exit` is the exit date and the quantity that events of that date closed.
fn end_of(
    row: usize,
    positions: &Positions<'_>,
    event_scale: u32,
    terms: &Terms<'_>,
    open: &Lot<'_>,
    exit: Option<(Day, i128)>,
) -> Result<(Option<Day>, Closing), (IssueKind, &'static str)> {
    let (end, closing, column) = if let Some((day, closed)) = exit {
        let scale = event_scale.max(positions.quantity.scale());
        // the quantity held may be 0 at that scale, and then only an event can close it
        let held = held_at_exit(open, positions, day, scale);
        if closed > 0 && at_scale(closed, event_scale, scale) >= held {
            return Err((IssueKind::ClosedTwice, "exit_date"));
        }
        let counts = |&price: &i64| {
            price > 0 || (price == 0 && terms.position_type.is_option() && !terms.private)
        };
        let price = positions.exit_price.get(row).ok().filter(counts);
        let closing = price.map_or(Closing::Unpriced, Closing::Price);
        (day, closing, "exit_date")
    } else if terms.position_type.is_option()
        && let Ok(day) = positions.expiration_day.get(row)
    {
        (day, Closing::Expiry, "expiration_date")
    } else {
        return Ok((None, open.closing));
    };
    if end < open.start {
        return Err((IssueKind::EndBeforeStart, column));
    }
    Ok((Some(end), closing))
}

/// Returns the quantity of a lot that ends on `day`, on the basis of events of that day, to the
/// decimals of `scale`.
fn held_at_exit(lot: &Lot<'_>, positions: &Positions<'_>, day: Day, scale: u32) -> i128 {
    let size = lot.size_of_position(day.max(lot.start));
    let own = size.kind.scale(positions.quantity.scale());
    let held = at_scale(i128::from(size.quantity).saturating_abs(), own, scale);
    let unit = 10i128.saturating_pow(own.saturating_sub(scale));
    half_away(held, unit).unwrap_or(held)
}

/// Returns `value` at scale `other`, if that is at least its own.
fn at_scale(value: i128, own: u32, other: u32) -> i128 {
    let factor = 10i128.saturating_pow(other.saturating_sub(own));
    value.saturating_mul(factor)
}

/// The terms of a position that its lots share.
struct Terms<'a> {
    position_type: PositionType,
    private: bool,
    marks: Option<&'a SymbolMarks>,
    quantity: i64,
    entry_price: i64,
    start: Day,
    /// Splits of the symbol, where they restate the position.
    splits: Option<&'a SymbolSplits>,
    split: Option<LotSplits<'a>>,
}

/// Date, quantity and realized amount of an event, and the splits that restate its quantity.
type Event<'a> = (Day, i64, i64, Option<LotSplits<'a>>);

fn read_event<'a>(
    row: usize,
    events: &Events<'_>,
    splits: Option<&'a SymbolSplits>,
    start: Day,
) -> Result<Event<'a>, &'static str> {
    let end = events.day.get(row).map_err(|_| "trade_date")?;
    let quantity = events
        .quantity
        .get(row)
        .ok()
        .filter(|&quantity| quantity > 0);
    let quantity = quantity.ok_or("quantity_closed")?;
    let stored = (quantity, events.quantity.scale());
    let split = splits.map(|splits| LotSplits::of(splits, stored, end, start));
    let split = split.transpose().map_err(|_| "quantity_closed")?.flatten();
    let realized = events.realized.get(row).map_err(|_| "realized_pnl")?;
    Ok((end, quantity, realized, split))
}

/// A run has millions of lots and reads them from memory: with 8 bytes more each, and marks that
/// take two look-ups more, a daily run of 100,000 portfolios took 6 % longer.
const _: () = assert!(size_of::<Lot<'_>>() <= 112);
