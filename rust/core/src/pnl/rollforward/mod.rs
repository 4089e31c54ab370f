//! The `rollforward` policy (S5 to S10): each portfolio from its last complete snapshot on.
//!
//! | module | what it owns                                              |
//! |--------|-----------------------------------------------------------|
//! | `roll` | the rows of one portfolio, session by session (S6 to S10) |

mod roll;

use crate::error::Result;
use crate::fixed::{CENTS, State, Sum, half_away, short_text};
use crate::ids::Day;
use crate::pnl::book::{LotBook, PortfolioLots, SignedFlows};
use crate::pnl::checks::{Checks, Judge, Verdict};
use crate::pnl::inputs::Inputs;
use crate::pnl::issue::{Issue, IssueKind};
use crate::pnl::lot::Lot;
use crate::pnl::policy::{Policy, PortfolioOutput, PortfolioRun};
use crate::pnl::report::{HeldFinding, Report};
use crate::pnl::value::{Scales, Valuer};
use crate::store::snapshot::cents;
use crate::store::{Amount, SnapshotStore};
use roll::{Outcome, Portfolio, Sums, roll_forward};

/// `docs/semantics.md`, S5 to S10.
#[derive(Debug)]
pub struct Rollforward<'a> {
    inputs: &'a Inputs<'a>,
    previous: &'a SnapshotStore,
    valuer: Valuer,
    /// For portfolios with a lot in another currency, with quantities that need more decimals, and
    /// with both (C4, C6).
    converting: Valuer,
    fine: Valuer,
    fine_converting: Valuer,
    lots: LotBook<'a>,
    flows: SignedFlows<'a>,
    judge: Option<Judge<'a>>,
}

/// The rows of one portfolio, gathered from the frames.
#[derive(Debug, Default)]
pub struct Gathered<'a> {
    lots: PortfolioLots<'a>,
    /// Symbol code of each lot's position.
    symbols: Vec<u32>,
    /// Date and signed amount of its flows, ascending.
    flows: Vec<(Day, i128)>,
    start: Start,
    verdict: Verdict,
}

/// The state of a portfolio before its first session (S5).
#[derive(Debug, Clone, Copy, Default)]
struct Start {
    /// Date of its latest complete snapshot; nothing if the first session is the baseline.
    previous: Option<Day>,
    /// Its equity, or the opening equity; wider than the column until it has been judged.
    equity: i128,
    cumulative_pnl: i64,
    cumulative_realized: i64,
    cumulative_flow: i64,
}

impl<'a> Rollforward<'a> {
    /// Returns the policy, prepared for the portfolios of `inputs` and their stored snapshots, whose
    /// closes are checked if there are `checks`.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Length`], [`crate::error::Error::Value`] or
    /// [`crate::error::Error::Duplicate`] for frames that contradict themselves.
    pub fn of(
        inputs: &'a Inputs<'a>,
        previous: &'a SnapshotStore,
        checks: Option<&'a Checks>,
    ) -> Result<Self> {
        let Inputs {
            book, marks, rates, ..
        } = inputs;
        let lots = LotBook::of(inputs)?;
        let judge = checks.map(|checks| Judge::of(checks, book.positions.symbol.table(), marks));
        let scales = lots.scales(book.flows.amount.scale());
        let valuer = Valuer::of(&Scales {
            restates: false,
            ..scales
        });
        let fine = Valuer::of(&scales);
        Ok(Self {
            inputs,
            previous,
            judge: judge.transpose()?,
            flows: SignedFlows::of(&lots.book)?,
            valuer,
            converting: valuer.converting(*rates),
            fine,
            fine_converting: fine.converting(*rates),
            lots,
        })
    }

    /// Returns the valuer for the lots of a portfolio.
    fn valuer(&self, gathered: &Gathered<'_>) -> &Valuer {
        match (gathered.lots.takes_more, gathered.lots.converts) {
            (false, false) => &self.valuer,
            (false, true) => &self.converting,
            (true, false) => &self.fine,
            (true, true) => &self.fine_converting,
        }
    }

    /// Returns the state of a portfolio before session `first` (S5), or the column and state that
    /// make it fail.
    fn start(
        &self,
        row: usize,
        first: Day,
        flows: &[(Day, i128)],
    ) -> core::result::Result<Start, (&'static str, State)> {
        let opening = &self.inputs.opening;
        let id = opening.portfolio_id.get(row).copied().unwrap_or_default();
        if let Some(snapshot) = self.previous.before(&id, first) {
            let [equity, pnl, realized, flow] = readable([
                ("equity_balance", snapshot.equity),
                ("cumulative_pnl", snapshot.cumulative_pnl),
                ("cumulative_realized_pnl", snapshot.cumulative_realized),
                ("cumulative_capital_flow", snapshot.cumulative_flow),
            ])?;
            return Ok(Start {
                previous: Some(snapshot.day),
                equity: i128::from(equity),
                cumulative_pnl: pnl,
                cumulative_realized: realized,
                cumulative_flow: flow,
            });
        }
        let null = Err(State::Null);
        let equity = if let Ok(earliest) = opening.earliest_day.get(row) {
            let last = Day(earliest.0.saturating_sub(1));
            let before = flow_between(flows, first, last, self.valuer.flow_scale());
            opening_equity(
                cents(&opening.earliest_equity, row),
                cents(&opening.earliest_pnl, row),
                cents(&opening.earliest_flow, row),
                before,
            )?
        } else {
            opening_equity(cents(&opening.equity, row), null, null, 0)?
        };
        Ok(Start {
            equity,
            ..Start::default()
        })
    }

    /// Returns the options that were held over a split, one lot of each position, with the session
    /// that first sees it and what the split was (C4).
    fn options_split<'g>(
        &self,
        gathered: &'g Gathered<'a>,
        sessions: &[i32],
    ) -> Vec<(&'g Lot<'a>, Day, String)> {
        let mut found: Vec<(&Lot<'_>, Day, String)> = Vec::new();
        let mut seen = Vec::new();
        for lot in &gathered.lots.lots {
            let Some(splits) = self.lots.splits_of_option(lot) else {
                continue;
            };
            let mut previous = gathered.start.previous;
            for &session in sessions {
                let day = Day(session);
                if let Some(previous) = previous {
                    for (ex, ratio) in splits.between(previous, day) {
                        let is_held = lot.start < ex && lot.end.is_none_or(|end| ex <= end);
                        if is_held && !seen.contains(&(lot.position, ex)) {
                            seen.push((lot.position, ex));
                            found.push((lot, day, ratio));
                        }
                    }
                }
                previous = Some(day);
            }
        }
        found
    }

    /// Reports the issues found while a portfolio was rolled.
    fn report(
        &self,
        portfolio: &PortfolioRun<'_>,
        gathered: &Gathered<'_>,
        outcome: Outcome,
        report: &mut Report,
    ) {
        let issue = |kind, day, detail: String| Issue::of(kind, portfolio.id, detail).on(day);
        let issues = &mut report.issues;
        for (kind, lot, day) in outcome.closings {
            let column = if kind == IssueKind::Expired {
                "expiration_date"
            } else {
                "exit_price"
            };
            let lot = gathered.lots.lots.get(lot);
            let symbol = lot.and_then(|lot| self.lots.book.symbol(lot.position));
            issues.push(issue(kind, day, column.to_owned()).of_symbol(symbol));
        }
        for (day, value) in outcome.returns {
            issues.push(issue(IssueKind::ReturnOutOfRange, day, value));
        }
        if let Some((kind, day, detail)) = outcome.failure {
            issues.push(issue(kind, day, detail));
        }
        let written = portfolio.sessions.get(..outcome.written);
        let written = written.unwrap_or_default();
        for (lot, day, ratio) in self.options_split(gathered, written) {
            let symbol = self.lots.book.symbol(lot.position);
            issues.push(issue(IssueKind::OptionOverSplit, day, ratio).of_symbol(symbol));
        }
        let symbols = self.inputs.book.positions.symbol.table();
        let refused = outcome
            .refused
            .chunk_by(|(one, ..), (next, ..)| one == next);
        for of_symbol in refused {
            if let Some(&(code, day, close)) = of_symbol.first() {
                let detail = refused_close(close, self.inputs.marks.scale(), of_symbol.len());
                let symbol = symbols.text(code).map(str::to_owned);
                issues.push(issue(IssueKind::CloseRefused, day, detail).of_symbol(symbol));
            }
        }
        report.misses.extend(outcome.misses);
    }
}

impl Rollforward<'_> {
    /// Reports the findings of the checks for a portfolio on its sessions before `end`.
    fn report_checks(
        &self,
        portfolio: &PortfolioRun<'_>,
        verdict: &Verdict,
        end: usize,
        report: &mut Report,
    ) {
        let Some(judge) = &self.judge else {
            return;
        };
        report.issues.extend(judge.issues(portfolio, verdict, end));
        let days = self.inputs.marks.sessions();
        report.held.extend(
            verdict
                .met_before(end)
                .map(|(finding, session)| HeldFinding {
                    finding,
                    first: Day(days.get(session).copied().unwrap_or(i32::MAX)),
                    portfolios: 1,
                }),
        );
    }
}

impl<'a> Policy for Rollforward<'a> {
    type Gathered = Gathered<'a>;
    type Sums<T: Sum> = Sums<T>;

    fn gather(
        &self,
        portfolio: &PortfolioRun<'_>,
        gathered: &mut Gathered<'a>,
        report: &mut Report,
    ) -> Option<u128> {
        let Gathered {
            lots,
            symbols,
            flows,
            start,
            verdict,
        } = gathered;
        self.lots.gather(portfolio.row, lots);
        let book = &self.lots.book;
        report.issues.extend(lots.faults.iter().map(|fault| {
            Issue::of(fault.kind, portfolio.id, fault.column).of_symbol(book.symbol(fault.position))
        }));
        symbols.clear();
        symbols.extend(lots.lots.iter().map(|lot| book.symbol_code(lot.position)));
        flows.clear();
        for row in self.flows.rows(portfolio.row) {
            match self.flows.signed(row) {
                Ok(flow) => flows.push(flow),
                Err(column) => {
                    let issue = Issue::of(IssueKind::BadFlow, portfolio.id, column);
                    report.issues.push(issue);
                }
            }
        }
        flows.sort_unstable();
        let first = Day(portfolio.sessions.first().copied()?);
        match self.start(portfolio.row, first, flows) {
            Ok(found) => *start = found,
            Err((column, state)) => {
                let issue = Issue::of(IssueKind::of_state(state), portfolio.id, column);
                report.issues.push(issue.on(first));
                return None;
            }
        }
        if let Some(judge) = &self.judge {
            *verdict = judge.verdict(portfolio, &lots.lots, symbols);
        }
        Some(self.valuer(gathered).bound(&gathered.lots.lots))
    }

    /// Issues are reported for the sessions with rows only: a portfolio that fails is rolled again
    /// over the sessions before the failure (S10), and one that fails a check (C2) over those
    /// alone.
    fn roll<T: Sum>(
        &self,
        portfolio: &PortfolioRun<'_>,
        gathered: &Gathered<'a>,
        sums: &mut Sums<T>,
        output: &mut PortfolioOutput<'_>,
    ) -> Option<()> {
        let PortfolioRun { sessions, from, .. } = *portfolio;
        let stop = gathered.verdict.fails_from();
        let sessions =
            sessions.get(..stop.map_or(sessions.len(), |stop| stop.saturating_sub(from)));
        let sessions = sessions.unwrap_or_default();
        let run = Portfolio {
            lots: &gathered.lots.lots,
            symbols: &gathered.symbols,
            flows: &gathered.flows,
            start: gathered.start,
            sessions,
            from,
            valuer: self.valuer(gathered),
            lookback_days: self.inputs.marks.lookback_days(),
        };
        let columns = &mut output.columns.rows(0, sessions.len());
        let outcome = roll_forward(&run, sums, columns);
        let fitted = outcome.failure.is_none();
        let end = match stop.filter(|_| fitted) {
            Some(stop) => stop.saturating_add(1),
            None => from.saturating_add(outcome.written),
        };
        output
            .report
            .wrote(outcome.written, !fitted || stop.is_some());
        self.report(portfolio, gathered, outcome, output.report);
        self.report_checks(portfolio, &gathered.verdict, end, output.report);
        Some(())
    }
}

/// Returns amounts in cents, 0 for NULL.
///
/// # Errors
///
/// Column and state of an amount that is not finite, or else of one that is not representable.
fn readable<const N: usize>(
    amounts: [(&'static str, Amount); N],
) -> core::result::Result<[i64; N], (&'static str, State)> {
    for wanted in [State::NonFinite, State::NotRepresentable] {
        if let Some(&(column, _)) = amounts.iter().find(|(_, a)| *a == Err(wanted)) {
            return Err((column, wanted));
        }
    }
    Ok(amounts.map(|(_, amount)| amount.unwrap_or(0)))
}

/// Returns the equity of the opening (S5) from the earliest complete snapshot on or after the
/// baseline: `equity - daily_pnl - daily_capital_flow - flows before it`, in cents.
fn opening_equity(
    equity: Amount,
    pnl: Amount,
    flow: Amount,
    flows_before: i128,
) -> core::result::Result<i128, (&'static str, State)> {
    let [equity, pnl, flow] = readable([
        ("equity_balance", equity),
        ("daily_pnl", pnl),
        ("daily_capital_flow", flow),
    ])?
    .map(i128::from);
    Ok(equity
        .saturating_sub(pnl)
        .saturating_sub(flow)
        .saturating_sub(flows_before))
}

/// Returns the sum of the flows, ascending, dated in `[first, last]`, rounded to cents (S7).
fn flow_between(flows: &[(Day, i128)], first: Day, last: Day, scale: u32) -> i128 {
    let from = flows.partition_point(|&(day, _)| day < first);
    let dated = flows.iter().skip(from).take_while(|&&(day, _)| day <= last);
    let sum: i128 = dated.fold(0, |sum, &(_, amount)| sum.saturating_add(amount));
    if let Some(more) = CENTS.checked_sub(scale) {
        return sum.saturating_mul(10i128.saturating_pow(more));
    }
    half_away(sum, 10i128.saturating_pow(scale.saturating_sub(CENTS))).unwrap_or(sum)
}

/// Returns the detail of `close_refused`: the first close, and on how many sessions there is one.
fn refused_close(close: Option<i64>, scale: u32, sessions: usize) -> String {
    let close = close.map_or_else(
        || "not_representable".to_owned(),
        |close| short_text(close, scale),
    );
    if sessions == 1 {
        close
    } else {
        format!("{close}, the first of {sessions} sessions")
    }
}
