//! The policy trait, and the loop that rolls every portfolio of a run by a policy.

use core::num::NonZeroUsize;
use core::ops::Range;
use core::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::fixed::{Sum, Wide, Width};
use crate::ids::PortfolioId;
use crate::pnl::batches::{batches, in_batches};
use crate::pnl::columns::{ColumnSlices, Columns};
use crate::pnl::inputs::Inputs;
use crate::pnl::report::Report;

/// The rules by which the frames of one portfolio become its rows.
///
/// A policy holds what it prepares once for all portfolios. [`run`] does the rest: it distributes
/// the portfolios over threads, picks the narrowest integers that hold the sums of each, and
/// collects the rows in input order.
pub trait Policy: Sync {
    /// The rows of one portfolio; the memory is reused for the next.
    type Gathered: Default;
    /// The sums of one portfolio; the memory is reused for the next.
    type Sums<T: Sum>: Default;

    /// Gathers a portfolio and returns an upper bound of the sum of the absolute values of all
    /// terms of its sums, saturated; nothing if it fails before its first row, with an issue in
    /// `report`.
    fn gather(
        &self,
        portfolio: &PortfolioRun<'_>,
        gathered: &mut Self::Gathered,
        report: &mut Report,
    ) -> Option<u128>;

    /// Fills the rows of a portfolio and reports their number; nothing if a wider integer is needed.
    fn roll<T: Sum>(
        &self,
        portfolio: &PortfolioRun<'_>,
        gathered: &Self::Gathered,
        sums: &mut Self::Sums<T>,
        output: &mut PortfolioOutput<'_>,
    ) -> Option<()>;
}

/// A portfolio and the sessions that it runs over.
#[derive(Debug, Clone, Copy)]
pub struct PortfolioRun<'a> {
    /// Its row in the opening.
    pub row: usize,
    /// Its id.
    pub id: PortfolioId,
    /// Its sessions, at least one.
    pub sessions: &'a [i32],
    /// Index of its first session among those of the run.
    pub from: usize,
}

/// The output of one portfolio.
#[derive(Debug)]
pub struct PortfolioOutput<'a> {
    /// A row for each of its sessions.
    pub columns: ColumnSlices<'a>,
    /// Everything but the rows.
    pub report: &'a mut Report,
}

/// Buffers of one thread.
struct Scratch<P: Policy> {
    gathered: P::Gathered,
    narrow: P::Sums<i64>,
    double: P::Sums<i128>,
    wide: P::Sums<Wide>,
}

impl<P: Policy> Default for Scratch<P> {
    fn default() -> Self {
        Self {
            gathered: Default::default(),
            narrow: Default::default(),
            double: Default::default(),
            wide: Default::default(),
        }
    }
}

/// The output of the portfolios of one batch.
struct BatchOutput<'a> {
    columns: ColumnSlices<'a>,
    report: Report,
}

/// Returns the rows of all portfolios of `inputs` over the sessions of its marks, and the report.
///
/// Portfolios come in input order, their sessions ascending. The result does not depend on the
/// order of rows in any frame or on the number of threads. The columns may have room for more rows
/// than the report counts; those after the last are undefined.
///
/// # Errors
///
/// [`Error::Cancelled`] once `cancel` is raised, which is checked before each portfolio.
///
/// [`Error::Cancelled`]: crate::error::Error::Cancelled
pub fn run<P: Policy>(
    policy: &P,
    inputs: &Inputs<'_>,
    threads: NonZeroUsize,
    cancel: &AtomicBool,
) -> Result<(Columns, Report)> {
    let portfolios = inputs.opening.portfolio_id.len();
    let mut columns = Columns::zeroed(inputs.rows_of(0..portfolios));
    let mut rest = columns.slices();
    let batches = batches(portfolios).map(|portfolios: Range<usize>| {
        let rows = inputs.rows_of(portfolios.clone());
        let (columns, behind) = core::mem::take(&mut rest).split_at(rows);
        rest = behind;
        let report = Report::default();
        (portfolios, BatchOutput { columns, report })
    });
    let done = in_batches(batches, threads, cancel, |row, scratch, output| {
        roll(policy, inputs, row, scratch, output);
    })?;
    let done = done
        .into_iter()
        .map(|output| (output.columns.len(), output.report));
    let report = joined(done.collect(), &mut columns.slices());
    Ok((columns, report))
}

fn roll<P: Policy>(
    policy: &P,
    inputs: &Inputs<'_>,
    row: usize,
    scratch: &mut Scratch<P>,
    output: &mut BatchOutput<'_>,
) {
    let BatchOutput { columns, report } = output;
    let sessions = inputs.marks.sessions();
    let span = inputs.opening.span(row, sessions);
    let portfolio = &PortfolioRun {
        row,
        id: PortfolioId::of_row(row),
        sessions: sessions.get(span.clone()).unwrap_or_default(),
        from: span.start,
    };
    if portfolio.sessions.is_empty() {
        return report.wrote(0, false);
    }
    let Scratch {
        gathered,
        narrow,
        double,
        wide,
    } = scratch;
    let Some(bound) = policy.gather(portfolio, gathered, report) else {
        return report.wrote(0, true);
    };
    let columns = columns.rows(report.rows(), span.len());
    columns
        .portfolio
        .fill(i32::try_from(row).unwrap_or(i32::MAX));
    for (place, &day) in columns.day.iter_mut().zip(portfolio.sessions) {
        *place = day;
    }
    let output = &mut PortfolioOutput { columns, report };
    let rolled = match Width::of(bound) {
        Width::Narrow => policy.roll(portfolio, gathered, narrow, output),
        Width::Double => policy.roll(portfolio, gathered, double, output),
        Width::Wide => None,
    };
    if rolled
        .or_else(|| policy.roll(portfolio, gathered, wide, output))
        .is_none()
    {
        output.report.wrote(0, false);
    }
}

/// Returns the report of all batches. Each comes with the number of rows that it had room for; the
/// rows of later batches move down to close the gaps.
fn joined(batches: Vec<(usize, Report)>, columns: &mut ColumnSlices<'_>) -> Report {
    let mut report = Report::default();
    let legacy = batches.iter().map(|(_, later)| later.legacy.len());
    report.legacy.reserve_exact(legacy.sum());
    let mut from = 0usize;
    for (most, later) in batches {
        columns.move_down(from, later.rows(), report.rows());
        report.append(later);
        from = from.saturating_add(most);
    }
    report.settle();
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_behind_a_batch_with_fewer_than_it_had_room_for_move_down() {
        let mut columns = Columns::zeroed(7);
        let days = [1, 2, 0, 3, 0, 4, 5];
        columns.slices().day.copy_from_slice(&days);
        let batch = |rows| {
            let mut report = Report::default();
            report.wrote(rows, false);
            report
        };
        let batches = vec![(3, batch(2)), (2, batch(1)), (2, batch(2))];
        let report = joined(batches, &mut columns.slices());
        assert_eq!((report.rows(), report.written), (5, vec![2, 1, 2]));
        assert_eq!(columns.slices().day[..5], [1, 2, 3, 4, 5]);
    }
}
