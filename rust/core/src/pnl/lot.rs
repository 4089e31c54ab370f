//! Positions and their events become lots (S3): signed quantities of one symbol, each held from a
//! day to a day.

use core::ops::Range;

use crate::fixed::State;
use crate::frame::index;
use crate::ids::Day;
use crate::pnl::inputs::{Events, Positions};
use crate::pnl::issue::IssueKind;
use crate::pnl::marks::{Marks, SymbolMarks};
use crate::text::{Table, normalised};

/// Shares that one contract stands for (S3, L14).
pub(super) const OPTION_MULTIPLIER: u32 = 100;

/// What an exit is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closing {
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
pub enum Class {
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
pub enum LotKind {
    /// A public LONG or SHORT.
    Stock = 0,
    /// A public LC, LP, SC or SP.
    Option = 1,
    /// PRIVATE, whatever its type.
    Private = 2,
}

impl LotKind {
    /// Returns the byte that a column of kinds holds.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Stock => 0,
            Self::Option => 1,
            Self::Private => 2,
        }
    }
}

/// A signed quantity of one symbol, held from `start` (included) to `end` (excluded).
#[derive(Debug, Clone, Copy)]
pub struct Lot<'a> {
    /// Row of the position.
    pub position: usize,
    /// The closes of its symbol; nothing if there are none.
    pub marks: Option<&'a SymbolMarks>,
    /// Signed mantissa.
    pub quantity: i64,
    /// Whether the mantissa has the scale of events, else that of positions.
    pub of_event: bool,
    /// 100 for options, else 1.
    pub multiplier: u32,
    /// Mantissa of the entry price.
    pub entry_price: i64,
    /// First day held.
    pub start: Day,
    /// First day no longer held; nothing if it is open.
    pub end: Option<Day>,
    /// What the end is worth.
    pub closing: Closing,
    /// Where its value comes from.
    pub class: Class,
}

impl Lot<'_> {
    /// Returns what it is of.
    #[must_use]
    pub fn kind(&self) -> LotKind {
        match self.class {
            Class::PrivateAt(_) | Class::PrivateAtEntry => LotKind::Private,
            Class::Public if self.multiplier == OPTION_MULTIPLIER => LotKind::Option,
            Class::Public => LotKind::Stock,
        }
    }

    /// Returns on which of `sessions`, ascending, it is held (S4).
    #[must_use]
    pub fn held(&self, sessions: &[i32]) -> Range<usize> {
        let from = sessions.partition_point(|&day| day < self.start.0);
        let to = self.end.map_or(sessions.len(), |end| {
            sessions.partition_point(|&day| day < end.0)
        });
        from..to
    }
}

/// An issue of one position: name, row, and the column it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// Name.
    pub kind: IssueKind,
    /// Row of the position.
    pub position: usize,
    /// Column.
    pub column: &'static str,
}

#[derive(Debug, Clone, Copy)]
struct Kind {
    option: bool,
    short: bool,
    /// `Some(true)` for LONG, `Some(false)` for SHORT.
    stock_long: Option<bool>,
}

/// What the distinct texts of a frame mean, looked up once for all rows.
#[derive(Debug)]
pub struct Meanings<'a> {
    kinds: Vec<Option<Kind>>,
    private: Vec<bool>,
    marks: Vec<Option<&'a SymbolMarks>>,
    blank: Vec<bool>,
}

fn meanings<T>(table: &Table, of: impl Fn(&[u8]) -> T) -> Vec<T> {
    table.iter().map(of).collect()
}

impl<'a> Meanings<'a> {
    /// Returns what the texts of `positions` mean.
    #[must_use]
    pub fn of(positions: &Positions<'_>, marks: &'a Marks) -> Self {
        let kind = |text: &[u8]| {
            let kind = |option, short, stock_long| {
                Some(Kind {
                    option,
                    short,
                    stock_long,
                })
            };
            match text {
                b"LC" | b"LP" => kind(true, false, None),
                b"SC" | b"SP" => kind(true, true, None),
                b"LONG" => kind(false, false, Some(true)),
                b"SHORT" => kind(false, true, Some(false)),
                _ => None,
            }
        };
        Self {
            kinds: meanings(positions.position_type.table(), kind),
            private: meanings(positions.investment_class.table(), |text| {
                normalised(text) == b"PRIVATE"
            }),
            marks: meanings(positions.symbol.table(), |symbol| marks.find(symbol)),
            blank: meanings(positions.symbol.table(), |symbol| {
                symbol.iter().all(|&byte| byte == b' ')
            }),
        }
    }
}

/// Appends the lots of position `row`, and what is left out or odd about it to `noted`.
///
/// `event_rows` are the rows of its events. A position with several faults has one issue: the
/// first of `missing_value`, `unknown_position_type`, `non_finite`, `not_representable`,
/// `missing_entry_price`, `blank_symbol`. Source: semantics.md, S3.
pub fn append_lots<'a>(
    row: usize,
    positions: &Positions<'_>,
    event_rows: &[u32],
    events: &Events<'_>,
    meanings: &Meanings<'a>,
    lots: &mut Vec<Lot<'a>>,
    noted: &mut Vec<Noted>,
) {
    if positions.deleted.get(row).copied().unwrap_or(false) {
        return;
    }
    let mut note = |kind, column| {
        let position = row;
        noted.push(Noted {
            kind,
            position,
            column,
        });
    };
    let sound = match sound(row, positions, meanings) {
        Ok(sound) => sound,
        Err((kind, column)) => return note(kind, column),
    };
    if sound.kind.stock_long.is_some_and(|long| {
        if long {
            sound.quantity < 0
        } else {
            sound.quantity > 0
        }
    }) {
        note(IssueKind::SignMismatch, "quantity");
    }
    let open = Lot {
        position: row,
        marks: if sound.private { None } else { sound.marks },
        quantity: sound.quantity,
        of_event: false,
        multiplier: if sound.kind.option {
            OPTION_MULTIPLIER
        } else {
            1
        },
        entry_price: sound.entry_price,
        start: sound.start,
        end: None,
        closing: Closing::Unpriced,
        class: if sound.private {
            Class::PrivateAtEntry
        } else {
            Class::Public
        },
    };
    let negative = if sound.quantity == 0 {
        sound.kind.short
    } else {
        sound.quantity < 0
    };
    let exit_day = positions.exit_day.get(row).ok();
    let mut closed_on_exit = 0i128;
    for &event in event_rows {
        let (end, quantity, realized) = match sound_event(index(event), events) {
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
    if sound.quantity != 0 {
        let exit = exit_day.map(|day| (day, closed_on_exit));
        match lot_left(row, positions, events.quantity.scale(), &sound, open, exit) {
            Ok(left) => lots.push(left),
            Err((kind, column)) => note(kind, column),
        }
    }
}

/// Returns the lot of what events have left of a position, or why there is none.
///
/// `exit` is the exit date and the quantity that events of that date closed.
fn lot_left<'a>(
    row: usize,
    positions: &Positions<'_>,
    event_scale: u32,
    sound: &Sound<'_>,
    open: Lot<'a>,
    exit: Option<(Day, i128)>,
) -> Result<Lot<'a>, (IssueKind, &'static str)> {
    let mut left = open;
    if sound.private
        && let Ok(value) = positions.market_value.get(row)
        && value != 0
    {
        left.class = Class::PrivateAt(value);
    }
    let column = if let Some((day, closed)) = exit {
        let scale = positions.quantity.scale();
        let quantity = at_scale(i128::from(sound.quantity), scale, event_scale);
        if at_scale(closed, event_scale, scale) >= quantity.saturating_abs() {
            return Err((IssueKind::ClosedTwice, "exit_date"));
        }
        left.end = Some(day);
        left.closing = match positions.exit_price.get(row) {
            Ok(price) if price > 0 || (price == 0 && sound.kind.option && !sound.private) => {
                Closing::Price(price)
            }
            _ => Closing::Unpriced,
        };
        "exit_date"
    } else if sound.kind.option
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

struct Sound<'a> {
    kind: Kind,
    private: bool,
    marks: Option<&'a SymbolMarks>,
    quantity: i64,
    entry_price: i64,
    start: Day,
}

fn sound<'a>(
    row: usize,
    positions: &Positions<'_>,
    meanings: &Meanings<'a>,
) -> Result<Sound<'a>, (IssueKind, &'static str)> {
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
    let kind = meanings
        .kinds
        .get(index(position_type))
        .copied()
        .flatten()
        .ok_or((IssueKind::UnknownPositionType, "position_type"))?;
    let class = positions.investment_class.get(row);
    let private = class
        .ok()
        .and_then(|code| meanings.private.get(index(code)).copied())
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
                .filter(|_| kind.option),
        ),
        (
            "market_value",
            positions.market_value.get(row).err().filter(|_| private),
        ),
        ("investment_class", class.err()),
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
    if !private && meanings.blank.get(index(symbol)).copied().unwrap_or(true) {
        return Err((IssueKind::BlankSymbol, "symbol"));
    }
    let marks = meanings.marks.get(index(symbol)).copied().flatten();
    Ok(Sound {
        kind,
        private,
        marks,
        quantity,
        entry_price,
        start,
    })
}

fn sound_event(row: usize, events: &Events<'_>) -> Result<(Day, i64, i64), &'static str> {
    let end = events.day.get(row).map_err(|_| "trade_date")?;
    let quantity = events
        .quantity
        .get(row)
        .ok()
        .filter(|&quantity| quantity > 0);
    let realized = events.realized.get(row).map_err(|_| "realized_pnl");
    Ok((end, quantity.ok_or("quantity_closed")?, realized?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Days, Decimals, Texts};
    use crate::store::PriceStore;
    use crate::text::Intern;

    /// One position and its events; mantissas as they stand, `None` is NULL.
    #[derive(Clone)]
    struct Given {
        kind: &'static str,
        class: &'static str,
        quantity: Option<i64>,
        entry_price: Option<i64>,
        exit: (Option<i64>, Option<i32>),
        expiration: Option<i32>,
        market_value: Option<i64>,
        /// Trade date, quantity and amount.
        events: Vec<(Option<i32>, i64, i64)>,
    }

    /// 5 shares bought at 10 on day 3.
    fn long() -> Given {
        Given {
            kind: "LONG",
            class: "PUBLIC",
            quantity: Some(5),
            entry_price: Some(10),
            exit: (None, None),
            expiration: None,
            market_value: None,
            events: Vec::new(),
        }
    }

    /// Quantity, end, and what it is worth.
    type Closed = (i64, Option<i32>, Closing);

    fn cells<T: Copy + Default>(values: &[Option<T>]) -> (Vec<T>, Vec<u8>) {
        let state = |value: &Option<T>| {
            if value.is_some() {
                State::Value
            } else {
                State::Null
            }
        };
        (
            values
                .iter()
                .map(|value| value.unwrap_or_default())
                .collect(),
            values.iter().map(|value| state(value).byte()).collect(),
        )
    }

    fn table(text: &str) -> Table {
        let mut intern = Intern::default();
        intern.code(text.as_bytes());
        intern.into_table()
    }

    /// Returns the lots of a position, their class, and what was noted about it.
    fn lots(given: &Given) -> (Vec<Closed>, Option<Class>, Vec<(IssueKind, &'static str)>) {
        let (symbol, kind, class) = (table("AAA"), table(given.kind), table(given.class));
        let quantity = cells(&[given.quantity]);
        let entry_price = cells(&[given.entry_price]);
        let exit_price = cells(&[given.exit.0]);
        let exit_day = cells(&[given.exit.1]);
        let expiration_day = cells(&[given.expiration]);
        let market_value = cells(&[given.market_value]);
        let event_days: Vec<_> = given.events.iter().map(|event| event.0).collect();
        let event_days = cells(&event_days);
        let closed: Vec<_> = given.events.iter().map(|event| event.1).collect();
        let realized: Vec<_> = given.events.iter().map(|event| event.2).collect();
        let values = vec![0; given.events.len()];
        let text = |table| Texts::new("text", &[0], table, &[0]).unwrap();
        let prices = PriceStore::from_columns(
            &Texts::new("prices.symbol", &[], &symbol, &[]).unwrap(),
            &Days::new("prices.day", &[], &[]).unwrap(),
            &Decimals::new("prices.close", &[], &[], 0).unwrap(),
        )
        .unwrap();
        let marks = Marks::from_prices(&prices, &[], 10).unwrap();
        let positions = Positions {
            id: &[[1; 16]],
            portfolio_id: &[[2; 16]],
            symbol: text(&symbol),
            position_type: text(&kind),
            quantity: Decimals::new("quantity", &quantity.0, &quantity.1, 0).unwrap(),
            entry_price: Decimals::new("entry", &entry_price.0, &entry_price.1, 0).unwrap(),
            entry_day: Days::new("entry_day", &[3], &[0]).unwrap(),
            exit_price: Decimals::new("exit", &exit_price.0, &exit_price.1, 0).unwrap(),
            exit_day: Days::new("exit_day", &exit_day.0, &exit_day.1).unwrap(),
            expiration_day: Days::new("expiry", &expiration_day.0, &expiration_day.1).unwrap(),
            investment_class: text(&class),
            last_price: Decimals::new("last", &[0], &[1], 0).unwrap(),
            market_value: Decimals::new("value", &market_value.0, &market_value.1, 0).unwrap(),
            deleted: &[false],
        };
        let events = Events {
            position_id: &vec![[1; 16]; given.events.len()],
            portfolio_id: &vec![[2; 16]; given.events.len()],
            day: Days::new("day", &event_days.0, &event_days.1).unwrap(),
            quantity: Decimals::new("closed", &closed, &values, 0).unwrap(),
            realized: Decimals::new("realized", &realized, &values, 0).unwrap(),
        };
        let rows: Vec<u32> = (0u32..).take(given.events.len()).collect();
        let meanings = Meanings::of(&positions, &marks);
        let (mut lots, mut noted) = (Vec::new(), Vec::new());
        append_lots(
            0, &positions, &rows, &events, &meanings, &mut lots, &mut noted,
        );
        (
            lots.iter()
                .map(|lot| (lot.quantity, lot.end.map(|day| day.0), lot.closing))
                .collect(),
            lots.last().map(|lot| lot.class),
            noted.iter().map(|note| (note.kind, note.column)).collect(),
        )
    }

    fn closed(given: &Given) -> Vec<Closed> {
        lots(given).0
    }

    fn noted(given: &Given) -> Vec<(IssueKind, &'static str)> {
        lots(given).2
    }

    #[test]
    fn an_open_position_is_one_lot_without_end() {
        assert_eq!(
            lots(&long()),
            (
                vec![(5, None, Closing::Unpriced)],
                Some(Class::Public),
                vec![]
            )
        );
    }

    #[test]
    fn each_event_is_a_lot_of_the_sign_of_what_is_left() {
        let events = vec![(Some(6), 2, 40), (Some(9), 1, -7)];
        let given = Given {
            kind: "SHORT",
            quantity: Some(-5),
            events,
            ..long()
        };
        assert_eq!(
            closed(&given),
            [
                (-2, Some(6), Closing::Given(40)),
                (-1, Some(9), Closing::Given(-7)),
                (-5, None, Closing::Unpriced)
            ]
        );
    }

    #[test]
    fn the_type_tells_the_sign_where_nothing_is_left() {
        let events = vec![(Some(6), 2, 40)];
        let given = Given {
            quantity: Some(0),
            events,
            ..long()
        };
        assert_eq!(closed(&given), [(2, Some(6), Closing::Given(40))]);
        let written = Given {
            kind: "SP",
            ..given
        };
        assert_eq!(closed(&written), [(-2, Some(6), Closing::Given(40))]);
    }

    #[test]
    fn an_exit_price_counts_above_0_and_at_0_for_an_option() {
        let exit = |kind, price| {
            let given = Given {
                kind,
                exit: (price, Some(6)),
                expiration: Some(5),
                ..long()
            };
            closed(&given)
        };
        assert_eq!(exit("LONG", Some(11)), [(5, Some(6), Closing::Price(11))]);
        assert_eq!(exit("LONG", Some(0)), [(5, Some(6), Closing::Unpriced)]);
        assert_eq!(exit("LC", Some(0)), [(5, Some(6), Closing::Price(0))]);
        assert_eq!(exit("LC", None), [(5, Some(6), Closing::Unpriced)]);
    }

    #[test]
    fn only_an_option_expires() {
        let given = Given {
            expiration: Some(8),
            ..long()
        };
        assert_eq!(closed(&given), [(5, None, Closing::Unpriced)]);
        let option = Given {
            kind: "LP",
            ..given
        };
        assert_eq!(closed(&option), [(5, Some(8), Closing::Expiry)]);
    }

    #[test]
    fn events_of_the_exit_date_may_have_closed_it_all() {
        let events = vec![(Some(6), 2, 0), (Some(6), 3, 0), (Some(7), 9, 0)];
        let given = Given {
            exit: (Some(11), Some(6)),
            events,
            ..long()
        };
        assert_eq!(noted(&given), [(IssueKind::ClosedTwice, "exit_date")]);
        assert_eq!(closed(&given).len(), 3);
        let more = Given {
            quantity: Some(6),
            ..given
        };
        assert_eq!(noted(&more), []);
        assert_eq!(
            closed(&more).last(),
            Some(&(6, Some(6), Closing::Price(11)))
        );
    }

    #[test]
    fn a_lot_that_ends_before_it_starts_is_left_out() {
        let events = vec![(Some(2), 1, 0), (None, 1, 0), (Some(6), 0, 0)];
        let given = Given {
            exit: (None, Some(2)),
            events,
            ..long()
        };
        assert_eq!(closed(&given), []);
        assert_eq!(
            noted(&given),
            [
                (IssueKind::EndBeforeStart, "trade_date"),
                (IssueKind::BadEvent, "trade_date"),
                (IssueKind::BadEvent, "quantity_closed"),
                (IssueKind::EndBeforeStart, "exit_date")
            ]
        );
    }

    #[test]
    fn a_private_position_has_its_market_value_or_that_of_its_entry() {
        let given = Given {
            class: " private",
            market_value: Some(-70),
            ..long()
        };
        assert_eq!(lots(&given).1, Some(Class::PrivateAt(-70)));
        let without = Given {
            market_value: Some(0),
            ..given
        };
        assert_eq!(lots(&without).1, Some(Class::PrivateAtEntry));
    }

    #[test]
    fn of_several_faults_the_first_is_noted_and_nothing_is_held() {
        let given = Given {
            kind: "FUT",
            quantity: None,
            entry_price: None,
            ..long()
        };
        assert_eq!(noted(&given), [(IssueKind::MissingValue, "quantity")]);
        let given = Given {
            quantity: Some(1),
            ..given
        };
        assert_eq!(
            noted(&given),
            [(IssueKind::UnknownPositionType, "position_type")]
        );
        let given = Given {
            kind: "LONG",
            ..given
        };
        assert_eq!(
            noted(&given),
            [(IssueKind::MissingEntryPrice, "entry_price")]
        );
        assert_eq!(closed(&given), []);
    }

    #[test]
    fn a_sign_against_the_type_is_noted_and_used() {
        let given = Given {
            quantity: Some(-5),
            ..long()
        };
        assert_eq!(noted(&given), [(IssueKind::SignMismatch, "quantity")]);
        assert_eq!(closed(&given), [(-5, None, Closing::Unpriced)]);
    }
}
