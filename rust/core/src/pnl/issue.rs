//! What a run noticed: names are those of `docs/semantics.md`.

use crate::fixed::State;
use crate::ids::{Day, PortfolioId};

/// Name of an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IssueKind {
    /// A flow without a usable amount, date or type: left out (S3).
    BadFlow,
    /// An event without a usable quantity, amount or date: left out (S3).
    BadEvent,
    /// A position without symbol: left out (S3).
    BlankSymbol,
    /// A close of a symbol held that is not above 0, or not representable (S2).
    CloseRefused,
    /// Events of the exit date closed all that was left (S3).
    ClosedTwice,
    /// Two valid closes of one symbol and date (S2).
    DuplicatePrice,
    /// A lot that ends before it starts: left out (S3).
    EndBeforeStart,
    /// An exit without a price that counts (S3).
    ExitUnpriced,
    /// An option closed by its expiry (S3).
    Expired,
    /// A market value or unrealized P&L of a position that does not fit its column: not written.
    MarketValueOutOfRange,
    /// A position without entry price, or with a negative one: left out (S3).
    MissingEntryPrice,
    /// NULL where a value is needed: left out (S3).
    MissingValue,
    /// NaN, an infinity or an infinite date: left out, or the portfolio fails (S3).
    NonFinite,
    /// More decimals than the scale, too large, or no UTF-8: left out, or the portfolio fails (S3).
    NotRepresentable,
    /// A value that does not fit its column: the portfolio fails (S10).
    OutOfRange,
    /// A return of 100 or more: stored as NULL (S10).
    ReturnOutOfRange,
    /// A LONG below 0 or a SHORT above 0: used as it is (S3).
    SignMismatch,
    /// A position type that is none of the six: left out (S3).
    UnknownPositionType,
}

impl IssueKind {
    /// Returns the name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadFlow => "bad_flow",
            Self::BadEvent => "bad_event",
            Self::BlankSymbol => "blank_symbol",
            Self::CloseRefused => "close_refused",
            Self::ClosedTwice => "closed_twice",
            Self::DuplicatePrice => "duplicate_price",
            Self::EndBeforeStart => "end_before_start",
            Self::ExitUnpriced => "exit_unpriced",
            Self::Expired => "expired",
            Self::MarketValueOutOfRange => "market_value_out_of_range",
            Self::MissingEntryPrice => "missing_entry_price",
            Self::MissingValue => "missing_value",
            Self::NonFinite => "non_finite",
            Self::NotRepresentable => "not_representable",
            Self::OutOfRange => "out_of_range",
            Self::ReturnOutOfRange => "return_out_of_range",
            Self::SignMismatch => "sign_mismatch",
            Self::UnknownPositionType => "unknown_position_type",
        }
    }

    /// Returns the issue of a value that is missing, not finite or not representable.
    #[must_use]
    pub fn of_state(state: State) -> Self {
        match state {
            State::Value | State::Null => Self::MissingValue,
            State::NonFinite => Self::NonFinite,
            State::NotRepresentable => Self::NotRepresentable,
        }
    }
}

/// One thing noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// What.
    pub kind: IssueKind,
    /// In which portfolio; nothing if it is of none.
    pub portfolio: Option<PortfolioId>,
    /// Of which symbol, as stored on the position.
    pub symbol: Option<String>,
    /// On which session or date.
    pub day: Option<Day>,
    /// Which column and value.
    pub detail: String,
}

impl Issue {
    /// Returns the key by which issues are sorted, so that no order of rows shows.
    #[must_use]
    pub fn key(&self) -> impl Ord + '_ {
        (
            self.portfolio,
            self.kind.name(),
            &self.symbol,
            self.day,
            &self.detail,
        )
    }
}
