//! The first session of a portfolio that lacks a rate (C7).
#![warn(clippy::arithmetic_side_effects)]

use super::roll::Portfolio;
use crate::ids::Day;
use crate::pnl::lot::{Class, Lot};
use crate::store::rates::Pair;

/// A session that cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// Index of the session.
    pub(super) session: usize,
    /// The pair, and the date of the rate where it differs from the session's.
    pub(super) rate: String,
}

/// Returns the first session that needs a missing rate, with the first such rate by pair and date.
pub(super) fn first_missing(portfolio: &Portfolio<'_, '_>) -> Option<Missing> {
    let foreign = portfolio
        .lots
        .iter()
        .filter_map(|lot| Some((lot, lot.rates?)));
    let lacking = foreign.flat_map(|(lot, pair)| {
        let lacking = of_lot(lot, pair, portfolio).into_iter().flatten();
        lacking.map(move |(session, day)| (session, pair.name(), day))
    });
    let (session, pair, day) = lacking.min()?;
    let rate = if portfolio.sessions.get(session) == Some(&day.0) {
        pair.to_owned()
    } else {
        format!("{pair} on {day}")
    };
    Some(Missing { session, rate })
}

/// Returns the first session that lacks a rate of a lot, and the date of that: by what needs it.
fn of_lot(lot: &Lot<'_>, pair: &Pair, portfolio: &Portfolio<'_, '_>) -> [Option<(usize, Day)>; 5] {
    let sessions = portfolio.sessions;
    let lacks = |session: usize, day: Day| pair.at(day).is_none().then_some((session, day));
    let held = lot.held(sessions);
    let values = !held.is_empty() && !matches!(lot.class, Class::PrivateAt(_));
    let gap = lot.marks.filter(|_| !held.is_empty()).and_then(|marks| {
        let offset = portfolio.from;
        let (from, to) = (
            held.start.saturating_add(offset),
            held.end.saturating_add(offset),
        );
        let priced = marks.first_priced_since(lot.start, from);
        let session = pair.first_gap(priced, to)?.saturating_sub(offset);
        let day = sessions.get(session).copied()?;
        Some((session, Day(day)))
    });
    // what was held before the first session counts in it, and an end counts in the session after
    // it
    let before = portfolio.start.previous;
    let held_before = before.filter(|&day| lot.is_held(day) && lot.is_priced(day));
    let ended = lot.end.filter(|&end| {
        let counts = held.end < sessions.len() && before.is_none_or(|before| before < end);
        let behind = sessions.get(held.end).is_some_and(|&day| end.0 <= day);
        counts && behind && (held.end > 0 || before.is_some()) && lot.converts_at_end(end)
    });
    [
        values.then(|| lacks(held.start, lot.start)).flatten(),
        gap,
        held_before.and_then(|day| lacks(0, day)),
        held_before.and_then(|_| lacks(0, lot.start)),
        ended.and_then(|end| {
            let exit = lacks(held.end, end);
            [exit, lacks(held.end, lot.start)]
                .into_iter()
                .flatten()
                .min()
        }),
    ]
}
