//! Positions as the rules read them: the meaning of their texts, and the values that no rule can
//! read.

use crate::fixed::{State, Sum, Wide};
use crate::float::Floats;
use crate::frame::{Decimals, index};
use crate::ids::Day;
use crate::pnl::inputs::Positions;
use crate::pnl::issue::IssueKind;
use crate::pnl::lot::PositionType;
use crate::pnl::value::{QuantityKind, Size};
use crate::significant::{Significant, wide_power};

/// The meaning of an `investment_class`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Exactly PUBLIC.
    Public,
    /// Exactly OPTIONS.
    Options,
    /// Exactly PRIVATE.
    Private,
    /// PRIVATE in other letters.
    SpeltPrivate,
    /// Anything else, NULL too.
    Other,
}

impl Class {
    fn of(text: &[u8]) -> Self {
        match text {
            b"PUBLIC" => Self::Public,
            b"OPTIONS" => Self::Options,
            b"PRIVATE" => Self::Private,
            _ if text.eq_ignore_ascii_case(b"PRIVATE") => Self::SpeltPrivate,
            _ => Self::Other,
        }
    }
}

/// Reads positions as holdings; the distinct texts of the frame are interpreted once.
#[derive(Debug)]
pub(crate) struct HoldingReader {
    classes: Vec<Class>,
    types: Vec<Option<PositionType>>,
}

/// A position that is not soft-deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holding {
    /// Row of the position.
    pub(crate) position: usize,
    /// Code of its symbol.
    pub(crate) symbol: u32,
    /// Signed mantissa.
    pub(crate) quantity: i64,
    /// 100 for options, else 1 (L14).
    pub(crate) multiplier: u32,
    /// `entry_date`; nothing if it is on no day (L8).
    pub(crate) entry: Option<Day>,
    /// `exit_date`.
    pub(crate) exit: Option<Day>,
    /// `investment_class`.
    pub(crate) class: Class,
    /// Whether its type is LONG or SHORT.
    pub(crate) is_stock: bool,
    /// The quantity as a float (L28).
    pub(crate) shares: f64,
    /// Price in dollars where there is no close, 0 without one (L27).
    pub(crate) fallback: f64,
}

impl Holding {
    /// Returns its size: everything that its prices are multiplied by.
    pub(crate) fn size(&self) -> Size {
        Size {
            quantity: self.quantity,
            kind: QuantityKind::Position,
            multiplier: self.multiplier,
        }
    }

    /// Returns whether it is not PRIVATE, in any letters (L9).
    pub(crate) fn earns(&self) -> bool {
        !matches!(self.class, Class::Private | Class::SpeltPrivate)
    }
}

/// A value that no rule can read: the portfolio fails on every day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    /// Name of the issue.
    name: &'static str,
    /// Symbol of the position; empty if it concerns none.
    symbol: String,
    /// Name of the column.
    pub(crate) column: &'static str,
    /// The [`State`] of the value.
    state: u8,
}

impl Fault {
    /// Returns the fault of a value, or nothing if it can be read.
    pub(crate) fn of<T>(
        column: &'static str,
        symbol: &str,
        value: Result<T, State>,
        null_is_fine: bool,
    ) -> Option<Self> {
        let is_fine = |state| null_is_fine && state == State::Null;
        let state = value.err().filter(|&state| !is_fine(state))?;
        Some(Self {
            name: IssueKind::of_state(state).name(),
            symbol: symbol.to_owned(),
            column,
            state: state.byte(),
        })
    }

    /// Returns the issue.
    pub(crate) fn kind(&self) -> IssueKind {
        IssueKind::of_state(State::from_byte(self.state).unwrap_or(State::Null))
    }

    /// Returns the symbol of the position, if it concerns one.
    pub(crate) fn symbol(&self) -> Option<String> {
        (!self.symbol.is_empty()).then(|| self.symbol.clone())
    }
}

impl HoldingReader {
    /// Returns the reader of `positions`.
    pub(crate) fn of(positions: &Positions<'_>) -> Self {
        let classes = positions.investment_class.table();
        let types = positions.position_type.table();
        Self {
            classes: classes.iter().map(Class::of).collect(),
            types: types.iter().map(PositionType::of).collect(),
        }
    }

    /// Returns the position in a row, or appends the values that cannot be read to `faults`.
    pub(crate) fn holding(
        &self,
        row: usize,
        positions: &Positions<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Holding> {
        let symbol = positions.symbol.get(row);
        let shown = positions.symbol.shown(row);
        let name = shown.and_then(|code| positions.symbol.table().text(code));
        let name = name.unwrap_or_default();
        let type_of = positions.position_type.get(row);
        let class_of = positions.investment_class.get(row);
        let quantity = positions.quantity.get(row);
        let entry = positions.entry_day.get(row);
        let exit = positions.exit_day.get(row);
        let before = faults.len();
        faults.extend(Fault::of("symbol", name, symbol, false));
        faults.extend(Fault::of("position_type", name, type_of, true));
        faults.extend(Fault::of("investment_class", name, class_of, true));
        faults.extend(Fault::of("quantity", name, quantity, false));
        for (column, values) in [
            ("entry_price", &positions.entry_price),
            ("last_price", &positions.last_price),
            ("market_value", &positions.market_value),
        ] {
            faults.extend(Fault::of(column, name, values.get(row), true));
        }
        faults.extend(Fault::of("entry_date", name, entry, true));
        faults.extend(Fault::of("exit_date", name, exit, true));
        if faults.len() > before {
            return None;
        }
        let bare = self.bare(row, positions);
        Some(Holding {
            entry: entry.ok(),
            exit: exit.ok(),
            fallback: if bare.class == Class::Private {
                fallback(row, bare.quantity, positions)
            } else {
                0.0
            },
            ..bare
        })
    }

    /// Returns the position in a row without dates, which a deleted one does not need: only the
    /// amounts that its events realized count (L17), so unreadable values do not matter.
    pub(crate) fn bare(&self, row: usize, positions: &Positions<'_>) -> Holding {
        let class_of = positions.investment_class.get(row).ok();
        let class = class_of.and_then(|code| self.classes.get(index(code)));
        let type_of = positions.position_type.get(row).ok();
        let type_of = type_of.and_then(|code| self.types.get(index(code)));
        let type_of = type_of.copied().flatten();
        let quantity = positions.quantity.get(row).unwrap_or(0);
        Holding {
            position: row,
            symbol: positions.symbol.shown(row).unwrap_or(u32::MAX),
            quantity,
            multiplier: type_of.map_or(1, PositionType::multiplier),
            entry: None,
            exit: None,
            class: class.copied().unwrap_or(Class::Other),
            is_stock: type_of.is_some_and(|type_of| !type_of.is_option()),
            shares: Floats::of_scale(positions.quantity.scale()).nearest(quantity),
            fallback: 0.0,
        }
    }
}

/// Returns the price of a PRIVATE position without a close, 0 if there is none (L27).
fn fallback(row: usize, quantity: i64, positions: &Positions<'_>) -> f64 {
    let value = positions.market_value.get(row).unwrap_or(0);
    if value <= 0 {
        let price = positions.entry_price.get(row).unwrap_or(0);
        return Floats::of_scale(positions.entry_price.scale()).nearest(price);
    }
    let scaled = |mantissa: i64, other: &Decimals<'_>| {
        Some(Wide::of(mantissa).times(wide_power(other.scale())?))
    };
    let quotient = scaled(value, &positions.quantity)
        .zip(scaled(quantity, &positions.market_value))
        .and_then(|(value, quantity)| Significant::quotient(value, quantity));
    quotient.map_or(0.0, Significant::nearest)
}

/// Returns the absolute value of a position for weights, and its decimals; nothing without a price
/// (L33).
pub(crate) fn weighed_value(holding: &Holding, positions: &Positions<'_>) -> Option<(Wide, u32)> {
    let row = holding.position;
    let absolute = |value: Wide| value.wrapping_abs();
    if let Ok(value) = positions.market_value.get(row) {
        return Some((absolute(Wide::of(value)), positions.market_value.scale()));
    }
    let price = |prices: &Decimals<'_>| prices.get(row).ok().map(|price| (price, prices.scale()));
    let (price, scale) = price(&positions.last_price).or_else(|| price(&positions.entry_price))?;
    let mut size = holding.size();
    if holding.class == Class::Private {
        size.multiplier = 1;
    }
    let scale = scale.saturating_add(positions.quantity.scale());
    Some((absolute(size.value(price)), scale))
}

/// Returns the decimals at which all values of `positions` for weights are exact.
pub(crate) fn weighed_scale(positions: &Positions<'_>) -> u32 {
    let (last, entry) = (positions.last_price.scale(), positions.entry_price.scale());
    let of_price = last.max(entry).saturating_add(positions.quantity.scale());
    of_price.max(positions.market_value.scale())
}
