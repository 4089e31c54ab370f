//! The issues that a run reports, by the names of `docs/semantics.md`.

use crate::fixed::State;
use crate::ids::{Day, PortfolioId};

/// Declares the issues: the documentation and the name of each.
macro_rules! issues {
    ($($(#[$doc:meta])* $kind:ident: $name:literal,)*) => {
        /// Name of an issue.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum IssueKind {
            $($(#[$doc])* $kind,)*
        }

        impl IssueKind {
            /// Returns the name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

issues! {
    /// An unusable rate, or several of one pair and date: treated as absent (C6).
    BadRate: "bad_rate",
    /// A flow without a usable amount, date or type: left out (S3).
    BadFlow: "bad_flow",
    /// An event without a usable quantity, amount or date: left out (S3).
    BadEvent: "bad_event",
    /// A position without symbol: left out (S3).
    BlankSymbol: "blank_symbol",
    /// A close of a symbol held that is not above 0, or not representable (S2).
    CloseRefused: "close_refused",
    /// Events of the exit date closed the whole remaining quantity (S3).
    ClosedTwice: "closed_twice",
    /// Two valid closes of one symbol and date (S2).
    DuplicatePrice: "duplicate_price",
    /// A lot that ends before it starts: left out (S3).
    EndBeforeStart: "end_before_start",
    /// An exit without a usable price (S3).
    ExitUnpriced: "exit_unpriced",
    /// An option closed by its expiry (S3).
    Expired: "expired",
    /// No rate for a lot in another currency: the portfolio fails (C7).
    FxMissing: "fx_missing",
    /// A market value or unrealized P&L of a position that does not fit its column: not written.
    MarketValueOutOfRange: "market_value_out_of_range",
    /// A position without entry price, or with a negative one: left out (S3).
    MissingEntryPrice: "missing_entry_price",
    /// NULL where a value is needed: left out (S3).
    MissingValue: "missing_value",
    /// NaN, an infinity or an infinite date: left out, or the portfolio fails (S3).
    NonFinite: "non_finite",
    /// More decimals than the scale, too large, or no UTF-8: left out, or the portfolio fails (S3).
    NotRepresentable: "not_representable",
    /// An option held over a split of its symbol: not adjusted (C4).
    OptionOverSplit: "option_over_split",
    /// A value that does not fit its column: the portfolio fails (S10).
    OutOfRange: "out_of_range",
    /// A close dated after the last closed session (C1).
    PriceAhead: "price_ahead",
    /// The same close on many consecutive sessions (C1).
    PriceFrozen: "price_frozen",
    /// A large change of a close that does not look like a split (C1).
    PriceJump: "price_jump",
    /// Too many symbols of a portfolio without a fresh close (C1).
    PriceLow: "price_low",
    /// A return of 100 or more: stored as NULL (S10).
    ReturnOutOfRange: "return_out_of_range",
    /// A LONG below 0 or a SHORT above 0: used as stored (S3).
    SignMismatch: "sign_mismatch",
    /// Closes of two neighbouring sessions whose quotient is that of a split (C1).
    SplitSuspected: "split_suspected",
    /// A position type other than the six: left out (S3).
    UnknownPositionType: "unknown_position_type",
}

impl IssueKind {
    /// Returns the issue of a value that is missing, not finite or not representable.
    pub fn of_state(state: State) -> Self {
        match state {
            State::Value | State::Null => Self::MissingValue,
            State::NonFinite => Self::NonFinite,
            State::NotRepresentable => Self::NotRepresentable,
        }
    }
}

/// One issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Its kind.
    pub kind: IssueKind,
    /// The portfolio, if it concerns one.
    pub portfolio: Option<PortfolioId>,
    /// The symbol, as stored on the position.
    pub symbol: Option<String>,
    /// The session or date.
    pub day: Option<Day>,
    /// The column and value.
    pub detail: String,
}

impl Issue {
    /// Returns an issue of a portfolio without symbol and day.
    pub fn of(kind: IssueKind, portfolio: PortfolioId, detail: impl Into<String>) -> Self {
        Self {
            kind,
            portfolio: Some(portfolio),
            symbol: None,
            day: None,
            detail: detail.into(),
        }
    }

    /// Returns the issue with a day.
    pub fn on(self, day: Day) -> Self {
        Self {
            day: Some(day),
            ..self
        }
    }

    /// Returns the issue with a symbol, if there is one.
    pub fn of_symbol(self, symbol: Option<String>) -> Self {
        Self { symbol, ..self }
    }

    /// Returns the key by which issues are sorted, so that the order of rows does not matter.
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
