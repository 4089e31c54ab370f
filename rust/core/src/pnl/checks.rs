//! Checks of closes (C1, C2): findings about the closes of a symbol, made once for all portfolios,
//! and the portfolios that hold it on those sessions.

use core::ops::Range;
use std::borrow::Cow;

use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::fixed::{half_away, short_text};
use crate::ids::Day;
use crate::pnl::issue::{Issue, IssueKind};
use crate::pnl::lot::{Class, Lot};
use crate::pnl::marks::{Marks, SymbolMarks, check_ascending};
use crate::pnl::policy::PortfolioRun;
use crate::text::{Table, is_normalised, normalised};

/// Whole numbers of new shares for an old one, or of old ones for a new one, that look like a
/// split.
const WHOLE: [i128; 15] = [2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 40, 50, 100];

/// Other splits: new shares for old ones.
const BROKEN: [(i128, i128); 4] = [(3, 2), (5, 4), (2, 3), (4, 5)];

/// A quotient may differ from that of a split by one part in this many.
const NEAR: i128 = 50;

/// Unit of thresholds: a millionth.
pub const MILLION: i128 = 1_000_000;

/// What to do about the findings of a check (C2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Not checked.
    Off,
    /// Reported.
    Report,
    /// Reported, and the portfolio that holds the symbol fails from that session on.
    Fail,
}

/// The action of each check, and the thresholds.
#[derive(Debug, Clone)]
pub struct Rules {
    /// By the name of the finding; a check that is not here is off.
    pub actions: HashMap<String, Action>,
    /// Largest change that is not a jump, in millionths of the older close.
    pub max_move: u64,
    /// Number of consecutive sessions with the same close that is too many.
    pub frozen_sessions: usize,
    /// Largest share of symbols without a fresh close, in millionths.
    pub max_missing: u64,
}

impl Rules {
    fn action(&self, kind: IssueKind) -> Action {
        let action = self.actions.get(kind.name());
        action.copied().unwrap_or(Action::Off)
    }

    fn looks_for(&self, kind: IssueKind) -> bool {
        self.action(kind) != Action::Off
    }
}

/// Something odd about the closes of a symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Kind of the finding.
    pub kind: IssueKind,
    /// Symbol, trimmed and upper-cased.
    pub symbol: String,
    /// The sessions of the run that it concerns.
    pub sessions: Range<usize>,
    /// A lot must also be held on this day for the finding to concern it.
    pub since: Option<Day>,
    /// The figures.
    pub detail: String,
    /// Whether the portfolios that hold the symbol fail.
    pub fails: bool,
}

/// New and old shares: the product of the splits of a symbol after one day and up to another.
pub type Split = (i128, i128);

/// The findings about the closes of a run.
#[derive(Debug, Clone)]
pub struct Checks {
    rules: Rules,
    /// Sorted by symbol, session and kind.
    findings: Vec<Finding>,
    /// The findings of each symbol of the marks, by its number.
    of_symbol: Vec<Range<usize>>,
    /// Whether closes are expected on each session of the run.
    expected: Vec<bool>,
}

impl Checks {
    /// Returns the findings about the closes of each symbol of `marks`.
    ///
    /// `days` are the sessions on which closes are expected, of the run and before it, ascending.
    /// `closed` is the last session closed by now, where the run reaches it. `split` returns the
    /// product of the splits of a symbol, where closes are not restated.
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Value`] unless the days ascend.
    pub fn of(
        marks: &Marks,
        days: &[i32],
        rules: Rules,
        closed: Option<Day>,
        split: impl Fn(&[u8], Day, Day) -> Option<Split>,
    ) -> Result<Self> {
        check_ascending("days", days)?;
        let run = marks.sessions();
        let first = run.first().copied().unwrap_or(i32::MAX);
        let search = Search {
            days,
            first: days.partition_point(|&day| day < first),
            run,
            scale: marks.scale(),
            rules: &rules,
            closed,
        };
        let mut found = Vec::new();
        let mut of_symbol = Vec::new();
        for (number, (name, closes)) in marks.closes().enumerate() {
            let factor = |after, until| split(name, after, until);
            let own = search.findings(name, closes, factor);
            if !own.is_empty() {
                found.push((name, number, own));
            }
            of_symbol.push(0..0);
        }
        found.sort_unstable_by_key(|&(name, ..)| name);
        let mut findings = Vec::new();
        for (_, number, mut own) in found {
            let from = findings.len();
            findings.append(&mut own);
            if let Some(place) = of_symbol.get_mut(number) {
                *place = from..findings.len();
            }
        }
        let expected = run.iter().map(|day| days.binary_search(day).is_ok());
        Ok(Self {
            rules,
            findings,
            of_symbol,
            expected: expected.collect(),
        })
    }

    /// Returns the findings, sorted by symbol, session and kind.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

/// What the checks of every symbol have in common.
struct Search<'a> {
    days: &'a [i32],
    /// Index of the first of `days` that belongs to the run.
    first: usize,
    run: &'a [i32],
    scale: u32,
    rules: &'a Rules,
    closed: Option<Day>,
}

impl Search<'_> {
    fn findings(
        &self,
        name: &[u8],
        closes: &[(i64, Day)],
        split: impl Fn(Day, Day) -> Option<Split>,
    ) -> Vec<Finding> {
        let fresh = on_days(self.days, closes);
        let mut found = Vec::new();
        let symbol = || String::from_utf8_lossy(name).into_owned();
        let mut note = |kind, sessions, since, detail| {
            let fails = self.rules.action(kind) == Action::Fail;
            found.push(Finding {
                kind,
                symbol: symbol(),
                sessions,
                since,
                detail,
                fails,
            });
        };
        let mut same = 0usize;
        let mut frozen: Option<(usize, usize)> = None;
        let mut before: Option<(Day, i64)> = None;
        for (at, (&day, &close)) in self.days.iter().zip(&fresh).enumerate() {
            let last = before.map(|(_, last)| last);
            same = match close {
                Some(_) if close == last => same.saturating_add(1),
                Some(_) => 1,
                None => 0,
            };
            if at >= self.first {
                let session = self.place(day);
                if let (Some((since, older)), Some(newer)) = (before, close)
                    && let Some((kind, detail)) = self.change(older, newer, split(since, Day(day)))
                {
                    let since = (kind == IssueKind::SplitSuspected).then_some(since);
                    note(kind, session..session.saturating_add(1), since, detail);
                }
                if same >= self.rules.frozen_sessions {
                    let (from, _) = frozen.unwrap_or((session, session));
                    frozen = Some((from, session));
                }
            }
            let next = fresh.get(at.saturating_add(1)).copied().flatten();
            let goes_on = close.is_some() && close == next;
            if !goes_on
                && let Some((from, to)) = frozen.take()
                && let Some(close) = close
                && self.rules.looks_for(IssueKind::PriceFrozen)
            {
                let close = short_text(close, self.scale);
                let detail = format!("{close} on {same} sessions until {}", Day(day));
                note(
                    IssueKind::PriceFrozen,
                    from..to.saturating_add(1),
                    None,
                    detail,
                );
            }
            before = close.map(|close| (Day(day), close));
        }
        if let Some((session, detail)) = self.ahead(closes) {
            let sessions = session..self.run.len();
            note(IssueKind::PriceAhead, sessions, None, detail);
        }
        found.sort_by_key(|finding| (finding.sessions.start, finding.kind.name()));
        found
    }

    /// Returns the index of the first session of the run on or after a day.
    fn place(&self, day: i32) -> usize {
        self.run.partition_point(|&session| session < day)
    }

    /// Returns the finding about two closes of neighbouring sessions, if any, with its figures.
    fn change(&self, older: i64, newer: i64, split: Option<Split>) -> Option<(IssueKind, String)> {
        let figures = || {
            let [from, to] = [older, newer].map(|close| short_text(close, self.scale));
            format!("{from} to {to}")
        };
        let (older, newer) = restated(older, newer, split);
        if self.rules.looks_for(IssueKind::SplitSuspected)
            && let Some((new, old)) = like_a_split(older, newer)
        {
            let detail = format!("{}, near {new} for {old}", figures());
            return Some((IssueKind::SplitSuspected, detail));
        }
        let moved = newer.checked_sub(older)?;
        let allowed = older.checked_mul(i128::from(self.rules.max_move))?;
        let jumps = moved.checked_abs()?.checked_mul(MILLION)? > allowed;
        (jumps && self.rules.looks_for(IssueKind::PriceJump)).then(|| {
            let detail = format!("{}, {}", figures(), percent(moved, older));
            (IssueKind::PriceJump, detail)
        })
    }

    /// Returns the session from which closes dated after the last closed one count, with the
    /// figures.
    fn ahead(&self, closes: &[(i64, Day)]) -> Option<(usize, String)> {
        let looks = self.rules.looks_for(IssueKind::PriceAhead);
        let last = self.closed.filter(|_| looks)?;
        let from = closes.partition_point(|&(_, day)| day <= last);
        let &(close, day) = closes.get(from)?;
        let session = self.place(day.0).min(self.run.len().checked_sub(1)?);
        let more = match closes.len().saturating_sub(from) {
            1 => String::new(),
            count => format!(", the first of {count} dates"),
        };
        let close = short_text(close, self.scale);
        Some((session, format!("{close} on {day}, after {last}{more}")))
    }
}

/// Returns the close on each of `days`, ascending, where there is one.
fn on_days(days: &[i32], closes: &[(i64, Day)]) -> Vec<Option<i64>> {
    let first = Day(days.first().copied().unwrap_or(i32::MAX));
    let skipped = closes.partition_point(|&(_, day)| day < first);
    let mut rest = closes.iter().skip(skipped).peekable();
    let mut on = |&day: &i32| {
        while rest.next_if(|&&(_, own)| own < Day(day)).is_some() {}
        rest.next_if(|&&(_, own)| own == Day(day))
            .map(|&(close, _)| close)
    };
    days.iter().map(&mut on).collect()
}

/// Returns two closes in a common unit, the older one restated by the splits between them; both
/// unchanged where that needs more than 128 bits.
fn restated(older: i64, newer: i64, split: Option<Split>) -> (i128, i128) {
    let (older, newer) = (i128::from(older), i128::from(newer));
    let both =
        split.and_then(|(new, old)| Some((older.checked_mul(old)?, newer.checked_mul(new)?)));
    both.filter(|&(older, newer)| {
        [older, newer]
            .iter()
            .all(|&close| close > 0 && close <= i128::MAX / MILLION / MILLION)
    })
    .unwrap_or((older, newer))
}

/// Returns the split, new and old shares, whose quotient is near that of two closes.
fn like_a_split(older: i128, newer: i128) -> Option<(i128, i128)> {
    // most closes are between those of 4 for 5 and 5 for 4: 0.8 and 1.25, 2 % nearer to 1
    let (quotient, unit) = (older.checked_mul(1000)?, newer);
    if quotient > unit.checked_mul(816)? && quotient < unit.checked_mul(1225)? {
        return None;
    }
    let whole = WHOLE.iter().flat_map(|&n| [(n, 1), (1, n)]);
    whole.chain(BROKEN).find(|&(new, old)| {
        // |older / newer - new / old| <= new / old / NEAR
        let near = || {
            let (one, other) = (older.checked_mul(old)?, newer.checked_mul(new)?);
            let apart = one.checked_sub(other)?.checked_abs()?;
            Some(apart.checked_mul(NEAR)? <= other)
        };
        near().unwrap_or(false)
    })
}

/// Returns a change in percent of `of`, with one decimal.
fn percent(moved: i128, of: i128) -> String {
    let tenths = moved
        .checked_mul(1000)
        .and_then(|moved| half_away(moved, of));
    let tenths = tenths.unwrap_or_default();
    let sign = if tenths < 0 { '-' } else { '+' };
    let tenths = tenths.unsigned_abs();
    format!("{sign}{}.{}%", tenths / 10, tenths % 10)
}

/// A finding, and the first session of the run on which a portfolio holds its symbol then.
pub(crate) type Met = (usize, usize);

/// The findings of the checks for one portfolio.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Findings, ascending, each once.
    met: Vec<Met>,
    /// Sessions with too few fresh closes: the number of symbols without one, and of all.
    low: Vec<(usize, i32, i32)>,
    /// The first session that fails, with the cause; findings after it are not listed.
    fails: Option<(usize, Cause)>,
}

/// Why a portfolio fails.
#[derive(Debug, Clone, Copy)]
enum Cause {
    Finding(usize),
    Low,
}

impl Verdict {
    /// Returns the first session that fails.
    pub(crate) fn fails_from(&self) -> Option<usize> {
        self.fails.map(|(session, _)| session)
    }

    /// Returns the findings met before session `end`.
    pub(crate) fn met_before(&self, end: usize) -> impl Iterator<Item = Met> {
        self.met
            .iter()
            .copied()
            .filter(move |&(_, session)| session < end)
    }
}

/// The checks for the symbols of some positions.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    checks: &'a Checks,
    sessions: &'a [i32],
    symbols: &'a Table,
}

impl<'a> Judge<'a> {
    /// Returns the checks for positions whose symbols have codes into `symbols`.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] for checks that were made for other marks.
    pub(crate) fn of(checks: &'a Checks, symbols: &'a Table, marks: &'a Marks) -> Result<Self> {
        let sessions = marks.sessions();
        if checks.expected.len() != sessions.len() || checks.of_symbol.len() != marks.len() {
            return Err(Error::Value {
                column: "checks",
                row: 0,
                expected: "checks of the closes of these marks",
            });
        }
        Ok(Self {
            checks,
            sessions,
            symbols,
        })
    }

    /// Returns the findings for a portfolio; `symbols` are the symbol codes of its lots.
    pub(crate) fn verdict(
        &self,
        portfolio: &PortfolioRun<'_>,
        lots: &[Lot<'_>],
        symbols: &[u32],
    ) -> Verdict {
        let low = self.low(portfolio, lots, symbols);
        let mut met = self.met(portfolio, lots);
        if met.is_empty() && low.is_empty() {
            return Verdict::default();
        }
        let findings = &self.checks.findings;
        let failing = met.iter().filter_map(|&(at, session)| {
            let finding = findings.get(at).filter(|finding| finding.fails)?;
            Some((session, finding.kind.name(), Cause::Finding(at)))
        });
        let fails_low = self.checks.rules.action(IssueKind::PriceLow) == Action::Fail;
        let failing = failing.chain(
            low.first()
                .filter(|_| fails_low)
                .map(|&(session, ..)| (session, IssueKind::PriceLow.name(), Cause::Low)),
        );
        // of several findings of one kind, `met` has the one of the first symbol first
        let fails = failing.min_by_key(|&(session, name, _)| (session, name));
        let fails = fails.map(|(session, _, cause)| (session, cause));
        let last = fails.map_or(usize::MAX, |(session, _)| session);
        met.retain(|&(_, session)| session <= last);
        let low = low.into_iter().filter(|&(session, ..)| session <= last);
        Verdict {
            met,
            low: low.collect(),
            fails,
        }
    }

    fn met(&self, portfolio: &PortfolioRun<'_>, lots: &[Lot<'_>]) -> Vec<Met> {
        let mut met: Vec<Met> = Vec::new();
        if self.checks.findings.is_empty() {
            return met;
        }
        for lot in public(lots) {
            let number = lot.marks.map(SymbolMarks::number);
            let found = number.and_then(|number| self.checks.of_symbol.get(number).cloned());
            let Some(found) = found.filter(|found| !found.is_empty()) else {
                continue;
            };
            let held = held_of_run(lot, portfolio);
            for at in found {
                let Some(finding) = self.checks.findings.get(at) else {
                    continue;
                };
                let first = finding.sessions.start.max(held.start);
                let overlaps = first < finding.sessions.end.min(held.end);
                if overlaps && finding.since.is_none_or(|day| lot.start <= day) {
                    met.push((at, first));
                }
            }
        }
        met.sort_unstable();
        met.dedup_by_key(|&mut (at, _)| at);
        met
    }

    /// Returns the sessions on which too many of the symbols have no fresh close.
    fn low(
        &self,
        portfolio: &PortfolioRun<'_>,
        lots: &[Lot<'_>],
        symbols: &[u32],
    ) -> Vec<(usize, i32, i32)> {
        let end = portfolio.from.saturating_add(portfolio.sessions.len());
        let is_fresh = |lot: &Lot<'_>| lot.marks.is_some_and(|marks| marks.is_fresh_before(end));
        let asked = self.checks.rules.looks_for(IssueKind::PriceLow);
        if !asked || public(lots).all(is_fresh) {
            return Vec::new();
        }
        let mut held: Vec<(Cow<'_, [u8]>, usize, usize, &Lot<'_>)> = lots
            .iter()
            .zip(symbols)
            .filter(|(lot, _)| lot.class == Class::Public)
            .filter_map(|(lot, &symbol)| {
                let held = held_of_run(lot, portfolio);
                let name = once(self.symbols.bytes(symbol)?);
                (!held.is_empty()).then_some((name, held.start, held.end, lot))
            })
            .collect();
        held.sort_unstable_by(|one, other| {
            (&one.0, one.1, one.2).cmp(&(&other.0, other.1, other.2))
        });
        let sessions = portfolio.from..end;
        let mut counts: Vec<_> = sessions.map(|session| (session, 0i32, 0i32)).collect();
        for of_symbol in held.chunk_by(|(one, ..), (next, ..)| one == next) {
            let mut covered = portfolio.from;
            for &(_, from, to, lot) in of_symbol {
                let marks = lot.marks.map_or(&[][..], SymbolMarks::marks);
                let own = counts
                    .iter_mut()
                    .filter(|(session, ..)| (from.max(covered)..to).contains(session));
                for (session, missing, total) in own {
                    let mark = marks.get(*session).map(|&(_, found)| found.0);
                    let is_fresh = mark.is_some() && mark == self.sessions.get(*session).copied();
                    *missing = missing.wrapping_add((!is_fresh).into());
                    *total = total.wrapping_add(1);
                }
                covered = covered.max(to);
            }
        }
        let most = i128::from(self.checks.rules.max_missing);
        let is_low = |&(session, missing, total): &(usize, i32, i32)| {
            let share = i128::from(missing).saturating_mul(MILLION);
            share > i128::from(total).saturating_mul(most)
                && self.checks.expected.get(session).copied().unwrap_or(false)
        };
        counts.retain(is_low);
        counts
    }

    /// Returns the issues of the portfolio itself on sessions before `end`: its failure, and its
    /// lack of fresh closes.
    pub(crate) fn issues(
        &self,
        portfolio: &PortfolioRun<'_>,
        verdict: &Verdict,
        end: usize,
    ) -> Vec<Issue> {
        let day = |session: usize| Day(self.sessions.get(session).copied().unwrap_or(i32::MAX));
        let mut issues = Vec::new();
        let low: Vec<_> = verdict
            .low
            .iter()
            .filter(|&&(session, ..)| session < end)
            .collect();
        if let Some(&&(session, missing, total)) = low.first() {
            let symbols = if total == 1 { "symbol" } else { "symbols" };
            let more = match low.len() {
                1 => String::new(),
                count => format!(", the first of {count} sessions"),
            };
            let detail = format!("{missing} of {total} {symbols}{more}");
            issues.push(Issue::of(IssueKind::PriceLow, portfolio.id, detail).on(day(session)));
        }
        if let Some((session, Cause::Finding(at))) = verdict.fails
            && let Some(finding) = self.checks.findings.get(at).filter(|_| session < end)
        {
            let issue = Issue::of(finding.kind, portfolio.id, finding.detail.clone());
            issues.push(
                issue
                    .on(day(session))
                    .of_symbol(Some(finding.symbol.clone())),
            );
        }
        issues
    }
}

/// Returns a symbol trimmed and upper-cased, as it mostly is.
fn once(symbol: &[u8]) -> Cow<'_, [u8]> {
    if is_normalised(symbol) {
        Cow::Borrowed(symbol)
    } else {
        Cow::Owned(normalised(symbol))
    }
}

fn public<'l, 'm>(lots: &'l [Lot<'m>]) -> impl Iterator<Item = &'l Lot<'m>> {
    lots.iter().filter(|lot| lot.class == Class::Public)
}

/// Returns the sessions of the run, among those of the portfolio, on which it holds a lot.
fn held_of_run(lot: &Lot<'_>, portfolio: &PortfolioRun<'_>) -> Range<usize> {
    let held = lot.held(portfolio.sessions);
    held.start.saturating_add(portfolio.from)..held.end.saturating_add(portfolio.from)
}
