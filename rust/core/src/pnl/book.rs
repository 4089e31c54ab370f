//! The frames of a run by portfolio: positions with their events, and signed flows.

use crate::error::Result;
use crate::frame::index;
use crate::ids::{Day, Uuid};
use crate::pnl::groups::{Groups, Owners};
use crate::pnl::inputs::{BookFrames, Flows, Inputs};
use crate::pnl::lot::{Lot, LotKind, LotReader, PositionFault};
use crate::pnl::marks::Marks;
use crate::pnl::splits::SymbolSplits;
use crate::pnl::value::Scales;

/// The positions and events of some portfolios, checked and grouped once.
#[derive(Debug)]
pub(crate) struct Book<'a> {
    /// Those of all portfolios.
    pub(crate) frames: BookFrames<'a>,
    portfolios: Owners<'a>,
    by_portfolio: Groups,
}

impl<'a> Book<'a> {
    /// Returns the book of the portfolios of `inputs.opening`.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Length`] or [`crate::error::Error::Duplicate`] for frames that
    /// contradict themselves.
    pub(crate) fn of(inputs: &Inputs<'a>) -> Result<Self> {
        let Inputs {
            book: frames,
            opening,
            ..
        } = inputs;
        frames.positions.check()?;
        frames.events.check()?;
        opening.check()?;
        let portfolios = Owners::of("opening.portfolio_id", opening.portfolio_id)?;
        Ok(Self {
            frames: *frames,
            by_portfolio: Groups::by_key(frames.positions.portfolio_id, &portfolios),
            portfolios,
        })
    }

    /// Returns the rows of the positions of a portfolio.
    pub(crate) fn rows(&self, portfolio: usize) -> impl Iterator<Item = usize> {
        self.by_portfolio.get(portfolio).iter().copied().map(index)
    }

    /// Returns the rows of the events of each portfolio.
    pub(crate) fn events_by_portfolio(&self) -> Groups {
        Groups::by_key(self.frames.events.portfolio_id, &self.portfolios)
    }

    /// Returns the rows of the events of each position.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Duplicate`] for events of a position that is in two rows.
    pub(crate) fn events_by_position(&self) -> Result<Groups> {
        if self.frames.events.position_id.is_empty() {
            return Ok(Groups::default());
        }
        let rows = Owners::of("positions.id", self.frames.positions.id)?;
        Ok(Groups::by_key(self.frames.events.position_id, &rows))
    }

    /// Returns the code of a position's symbol, one beyond the table if it has none.
    pub(crate) fn symbol_code(&self, position: usize) -> u32 {
        let symbol = &self.frames.positions.symbol;
        symbol.get(position).unwrap_or(u32::MAX)
    }

    /// Returns a position's symbol as stored.
    pub(crate) fn symbol(&self, position: usize) -> Option<String> {
        let symbol = &self.frames.positions.symbol;
        let code = symbol.shown(position)?;
        symbol.table().text(code).map(str::to_owned)
    }
}

/// A book that reads its positions as lots (S3).
#[derive(Debug)]
pub(crate) struct LotBook<'a> {
    /// The positions and events.
    pub(crate) book: Book<'a>,
    marks: &'a Marks,
    reader: LotReader<'a>,
    by_position: Groups,
    has_rates: bool,
}

/// The lots of one portfolio; the memory is reused from one to the next.
#[derive(Debug, Default)]
pub(crate) struct PortfolioLots<'a> {
    /// Its lots.
    pub(crate) lots: Vec<Lot<'a>>,
    /// Issues of its positions.
    pub(crate) faults: Vec<PositionFault>,
    /// Whether any quantity needs more decimals than it is stored with (C4).
    pub(crate) takes_more: bool,
    /// Whether any lot is in a currency other than the portfolio's (C6).
    pub(crate) converts: bool,
}

impl<'a> LotBook<'a> {
    /// Returns the lots of the portfolios of `inputs.opening`.
    ///
    /// # Errors
    ///
    /// As [`Book::of`], [`Book::events_by_position`] and [`LotReader::of`].
    pub(crate) fn of(inputs: &Inputs<'a>) -> Result<Self> {
        let book = Book::of(inputs)?;
        Ok(Self {
            by_position: book.events_by_position()?,
            book,
            marks: inputs.marks,
            reader: LotReader::of(inputs)?,
            has_rates: inputs.rates.is_some(),
        })
    }

    /// Returns the scales of its columns; `flow` is that of flows.
    pub(crate) fn scales(&self, flow: u32) -> Scales {
        let BookFrames {
            positions, events, ..
        } = &self.book.frames;
        Scales {
            close: self.marks.scale(),
            entry: positions.entry_price.scale(),
            exit: positions.exit_price.scale(),
            quantity: positions.quantity.scale(),
            event_quantity: events.quantity.scale(),
            restates: self.marks.splits().is_some(),
            realized: events.realized.scale(),
            market_value: positions.market_value.scale(),
            flow,
        }
    }

    /// Returns the id of a lot's position.
    pub(crate) fn position_id(&self, lot: &Lot<'_>) -> Uuid {
        let ids = self.book.frames.positions.id;
        ids.get(lot.position).copied().unwrap_or_default()
    }

    /// Returns the splits of a public option, for which it is not adjusted.
    pub(crate) fn splits_of_option(&self, lot: &Lot<'_>) -> Option<&'a SymbolSplits> {
        let code = self.book.symbol_code(lot.position);
        let splits = self.reader.option_splits(code)?;
        (lot.kind() == LotKind::Option).then_some(splits)
    }

    /// Sorts the lots of a portfolio by the bytes of the position's id, those of its events before
    /// the remaining one, by day, quantity and realized amount.
    pub(crate) fn sort(&self, lots: &mut [Lot<'_>]) {
        lots.sort_unstable_by_key(|lot| {
            let id = self.position_id(lot);
            (id, !lot.of_event, lot.end, lot.quantity, lot.closing)
        });
    }

    /// Gathers the lots of the portfolio in row `at` of the opening; those of one position follow
    /// each other.
    pub(crate) fn gather(&self, at: usize, into: &mut PortfolioLots<'a>) {
        let PortfolioLots {
            lots,
            faults,
            takes_more,
            converts,
        } = into;
        lots.clear();
        faults.clear();
        for row in self.book.rows(at) {
            let events = (&self.book.frames.events, self.by_position.get(row));
            self.reader
                .append((at, row), &self.book.frames.positions, events, lots, faults);
        }
        let is_fine = |lot: &Lot<'_>| lot.split.is_some_and(|split| split.takes_more);
        *takes_more = self.marks.splits().is_some() && lots.iter().any(is_fine);
        *converts = self.has_rates && lots.iter().any(|lot| lot.rates.is_some());
    }
}

/// Flows by portfolio, signed by their type (S3).
#[derive(Debug)]
pub(crate) struct SignedFlows<'a> {
    flows: Flows<'a>,
    by_portfolio: Groups,
    /// By code of `change_type`: 1 in, -1 out, nothing for an unknown type.
    signs: Vec<Option<i128>>,
}

impl<'a> SignedFlows<'a> {
    /// Returns the flows of the portfolios of a book.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Length`] if the columns differ in length.
    pub(crate) fn of(book: &Book<'a>) -> Result<Self> {
        let flows = book.frames.flows;
        flows.check()?;
        let sign = |text: &[u8]| match text {
            b"CONTRIBUTION" => Some(1),
            b"WITHDRAWAL" => Some(-1),
            _ => None,
        };
        Ok(Self {
            by_portfolio: Groups::by_key(flows.portfolio_id, &book.portfolios),
            signs: flows.change_type.table().iter().map(sign).collect(),
            flows,
        })
    }

    /// Returns the rows of the flows of a portfolio.
    pub(crate) fn rows(&self, portfolio: usize) -> impl Iterator<Item = usize> {
        self.by_portfolio.get(portfolio).iter().copied().map(index)
    }

    /// Returns date and signed amount of a flow.
    ///
    /// # Errors
    ///
    /// The column without a usable value.
    pub(crate) fn signed(&self, row: usize) -> core::result::Result<(Day, i128), &'static str> {
        let code = self.flows.change_type.get(row).ok();
        let sign = code.and_then(|code| self.signs.get(index(code)).copied().flatten());
        let sign = sign.ok_or("change_type")?;
        let amount = self.flows.amount.get(row).map_err(|_| "amount")?;
        let day = self.flows.day.get(row).map_err(|_| "change_date")?;
        Ok((day, i128::from(amount).saturating_mul(sign)))
    }
}
