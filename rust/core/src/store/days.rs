//! Finds the close of a symbol and day without a search.

use crate::frame::index;
use crate::ids::{Day, SymbolId};
use crate::store::PriceStore;

/// Days that one block has a bit for.
const BLOCK_DAYS: u64 = 64;

/// A bit for each day with a close, and the number of closes of the store before the block.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    days: u64,
    before: usize,
}

/// An index of the closes of a store by symbol and day.
///
/// Look-ups in random order wait for memory. A search over a symbol's days touches several lines of
/// megabytes; the index touches one line of a table that is a tenth as large, and the close itself.
/// Where there are fewer closes than blocks there is no table, and the closes are searched.
#[derive(Debug, Clone, Default)]
pub struct DayIndex {
    first: i64,
    /// Number of blocks of each symbol; 0 where there is no table.
    width: usize,
    blocks: Vec<Block>,
}

impl DayIndex {
    /// Returns the index of `store`.
    pub fn of(store: &PriceStore) -> Self {
        Self::table(store).unwrap_or_default()
    }

    fn table(store: &PriceStore) -> Option<Self> {
        let codes = || (0u32..).take(store.symbols().len()).map(SymbolId);
        let ends = || {
            let days = |code| store.closes(code).0;
            codes().filter_map(move |code| Some((*days(code).first()?, *days(code).last()?)))
        };
        let first = i64::from(ends().map(|(first, _)| first).min()?);
        let last = i64::from(ends().map(|(_, last)| last).max()?);
        let days = u64::try_from(last - first).ok()?;
        let width = usize::try_from(days / BLOCK_DAYS + 1).ok()?;
        let count = width.checked_mul(store.symbols().len())?;
        if count > store.len() {
            return None;
        }
        let mut blocks = Vec::with_capacity(count);
        let mut before = 0usize;
        for code in codes() {
            let mut own = vec![Block::default(); width];
            for &day in store.closes(code).0 {
                let (block, bit) = place(first, day)?;
                own.get_mut(block)?.days |= bit;
            }
            for block in &mut own {
                block.before = before;
                before = before.checked_add(ones(block.days))?;
            }
            blocks.append(&mut own);
        }
        Some(Self {
            first,
            width,
            blocks,
        })
    }

    /// Returns the close of a symbol on `day` itself, in the store of the index.
    pub fn on(&self, store: &PriceStore, symbol: SymbolId, day: Day) -> Option<i64> {
        if self.width == 0 {
            return store.on(symbol, day);
        }
        let (block, bit) = place(self.first, day.0)?;
        if block >= self.width {
            return None;
        }
        let at = index(symbol.0)
            .checked_mul(self.width)?
            .checked_add(block)?;
        let block = self.blocks.get(at)?;
        if block.days & bit == 0 {
            return None;
        }
        let earlier = block.days & bit.wrapping_sub(1);
        store.close_at(block.before.checked_add(ones(earlier))?)
    }

    /// Returns the bytes that the index takes.
    pub fn size_bytes(&self) -> usize {
        size_of_val(self.blocks.as_slice())
    }
}

/// Returns the block of a day and its bit in it; nothing before the first day.
fn place(first: i64, day: i32) -> Option<(usize, u64)> {
    let days = u64::try_from(i64::from(day).checked_sub(first)?).ok()?;
    let block = usize::try_from(days / BLOCK_DAYS).ok()?;
    Some((block, 1 << (days % BLOCK_DAYS)))
}

fn ones(days: u64) -> usize {
    usize::try_from(days.count_ones()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    /// A, B and C have the codes 0, 1 and 2.
    fn store(rows: &[(u32, i32)]) -> PriceStore {
        let name = |code: u32| ["A", "B", "C"][index(code)];
        let rows: Vec<_> = (1..)
            .zip(rows)
            .map(|(close, &(code, day))| (name(code), day, close))
            .collect();
        samples::prices(&rows, 4)
    }

    fn assert_alike(store: &PriceStore, days: &[i32]) {
        let index = DayIndex::of(store);
        for (code, day) in (0..4).flat_map(|code| days.iter().map(move |&day| (code, day))) {
            let (symbol, day) = (SymbolId(code), Day(day));
            assert_eq!(index.on(store, symbol, day), store.on(symbol, day));
        }
    }

    #[test]
    fn closes_are_those_that_a_search_finds() {
        // A on even days, B on none, C on every third day and on the last
        let rows: Vec<_> = (-70..130)
            .flat_map(|day| [(0, day), (2, day)])
            .filter(|&(code, day)| {
                day % if code == 0 { 2 } else { 3 } == 0 || (code, day) == (2, 129)
            })
            .collect();
        let store = store(&rows);
        assert!(DayIndex::of(&store).size_bytes() > 0);
        assert_alike(&store, &(-200..300).collect::<Vec<_>>());
    }

    #[test]
    fn days_far_apart_are_searched() {
        let store = store(&[(0, i32::MIN), (0, 0), (1, i32::MAX), (2, 5)]);
        assert_eq!(DayIndex::of(&store).size_bytes(), 0);
        assert_alike(&store, &[i32::MIN, -1, 0, 5, i32::MAX]);
    }
}
