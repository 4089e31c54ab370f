//! Result columns: memory for a value of each portfolio and session, and stretches of it that
//! threads fill side by side.

use crate::fixed::State;
use crate::pnl::rows::Row;

/// Columns of 64 bits.
pub const AMOUNTS: usize = 14;
/// Columns of 32 bits beside the marks.
pub const NUMBERS: usize = 5;
/// Columns of states.
pub const STATES: usize = 2;

/// Owned memory of all columns: one block for each width, so that an allocator which keeps what
/// is freed hands the same pages to the next chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    rows: usize,
    amounts: Vec<i64>,
    numbers: Vec<i32>,
    marks: Vec<[i32; 4]>,
    states: Vec<u8>,
}

impl Columns {
    /// Returns columns of `rows` zeros.
    #[must_use]
    pub fn zeroed(rows: usize) -> Self {
        Self {
            rows,
            amounts: vec![0; rows.saturating_mul(AMOUNTS)],
            numbers: vec![0; rows.saturating_mul(NUMBERS)],
            marks: vec![[0; 4]; rows],
            states: vec![0; rows.saturating_mul(STATES)],
        }
    }

    /// Returns the columns to be filled or read.
    pub fn room(&mut self) -> Room<'_> {
        Room::of(
            self.rows,
            &mut self.amounts,
            &mut self.numbers,
            &mut self.marks,
            &mut self.states,
        )
    }
}

macro_rules! room {
    (
        amounts { $($amount:ident: $amount_doc:literal),* $(,)? }
        numbers { $($number:ident: $number_doc:literal),* $(,)? }
        states { $($state:ident: $state_doc:literal),* $(,)? }
    ) => {
        /// A stretch of every result column, for the rows of some portfolios.
        #[derive(Debug, Default)]
        pub struct Room<'a> {
            $(#[doc = $amount_doc] pub $amount: &'a mut [i64],)*
            $(#[doc = $number_doc] pub $number: &'a mut [i32],)*
            /// Four counts a row, see [`Row::marks`].
            pub marks: &'a mut [[i32; 4]],
            $(#[doc = $state_doc] pub $state: &'a mut [u8],)*
        }

        impl<'a> Room<'a> {
            /// Names of the columns of 64 bits, in the order of their block.
            pub const AMOUNTS: [&'static str; AMOUNTS] = [$(stringify!($amount)),*];
            /// Names of the columns of 32 bits, in the order of their block.
            pub const NUMBERS: [&'static str; NUMBERS] = [$(stringify!($number)),*];
            /// Names of the columns of states, in the order of their block.
            pub const STATES: [&'static str; STATES] = [$(stringify!($state)),*];

            /// Returns blocks of `rows` values for each column, one column behind the other, as
            /// columns. What a block lacks is empty.
            #[must_use]
            pub fn of(
                rows: usize,
                amounts: &'a mut [i64],
                numbers: &'a mut [i32],
                marks: &'a mut [[i32; 4]],
                states: &'a mut [u8],
            ) -> Self {
                let length = rows.max(1);
                let mut amounts = amounts.chunks_exact_mut(length);
                let mut numbers = numbers.chunks_exact_mut(length);
                let mut states = states.chunks_exact_mut(length);
                Self {
                    $($amount: amounts.next().unwrap_or_default(),)*
                    $($number: numbers.next().unwrap_or_default(),)*
                    marks: marks.get_mut(..rows).unwrap_or_default(),
                    $($state: states.next().unwrap_or_default(),)*
                }
            }

            /// Returns the first `rows` rows, and those behind them.
            #[must_use]
            pub fn split_at(self, rows: usize) -> (Self, Self) {
                let at = rows.min(self.len());
                $(let $amount = self.$amount.split_at_mut(at);)*
                $(let $number = self.$number.split_at_mut(at);)*
                let marks = self.marks.split_at_mut(at);
                $(let $state = self.$state.split_at_mut(at);)*
                (
                    Self {
                        $($amount: $amount.0,)* $($number: $number.0,)*
                        marks: marks.0, $($state: $state.0,)*
                    },
                    Self {
                        $($amount: $amount.1,)* $($number: $number.1,)*
                        marks: marks.1, $($state: $state.1,)*
                    },
                )
            }

            /// Returns `rows` rows from row `from` on; nothing where there are fewer.
            #[must_use]
            pub fn stretch(&mut self, from: usize, rows: usize) -> Room<'_> {
                let range = from..from.saturating_add(rows);
                Room {
                    $($amount: self.$amount.get_mut(range.clone()).unwrap_or_default(),)*
                    $($number: self.$number.get_mut(range.clone()).unwrap_or_default(),)*
                    marks: self.marks.get_mut(range.clone()).unwrap_or_default(),
                    $($state: self.$state.get_mut(range.clone()).unwrap_or_default(),)*
                }
            }

            /// Moves `rows` rows from row `from` to row `to` on, which is before it.
            pub fn move_down(&mut self, from: usize, rows: usize, to: usize) {
                let end = from.saturating_add(rows);
                if to >= from || end > self.len() {
                    return;
                }
                $(self.$amount.copy_within(from..end, to);)*
                $(self.$number.copy_within(from..end, to);)*
                self.marks.copy_within(from..end, to);
                $(self.$state.copy_within(from..end, to);)*
            }
        }
    };
}

room! {
    amounts {
        equity: "Cents, see [`Row`].",
        daily_pnl: "Cents.",
        daily_realized: "Cents.",
        daily_flow: "Cents.",
        daily_return: "Millionths; 0 where there is none.",
        cumulative_pnl: "Cents.",
        cumulative_realized: "Cents.",
        cumulative_flow: "Cents.",
        unrealized: "Cents; 0 where there is none.",
        long: "Cents.",
        short: "Cents.",
        gross: "Cents.",
        net: "Cents.",
        cash: "Cents.",
    }
    numbers {
        portfolio: "Row of the portfolio in `Opening`.",
        day: "Session.",
        num_positions: "Lots.",
        num_long: "Lots.",
        num_short: "Lots.",
    }
    states {
        daily_return_state: "0, or 1 (NULL) where the return is out of range.",
        unrealized_state:
            "0, 1 (NULL) under a policy without it, or 3 (not representable) beyond 64 bits.",
    }
}

impl Room<'_> {
    /// Returns the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.portfolio.len()
    }

    /// Returns whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.portfolio.is_empty()
    }

    /// Writes one row of a portfolio; nothing beyond the last.
    pub fn put(&mut self, at: usize, portfolio: i32, row: &Row) {
        let daily_return = row.daily_return.map_or(State::Null, |_| State::Value);
        let unrealized = row.unrealized.err().unwrap_or(State::Value);
        set(self.portfolio, at, portfolio);
        set(self.day, at, row.day.0);
        set(self.equity, at, row.equity);
        set(self.daily_pnl, at, row.daily_pnl);
        set(self.daily_realized, at, row.daily_realized);
        set(self.daily_flow, at, row.daily_flow);
        set(self.daily_return, at, row.daily_return.unwrap_or(0));
        set(self.daily_return_state, at, daily_return.byte());
        set(self.cumulative_pnl, at, row.cumulative_pnl);
        set(self.cumulative_realized, at, row.cumulative_realized);
        set(self.cumulative_flow, at, row.cumulative_flow);
        set(self.unrealized, at, row.unrealized.unwrap_or(0));
        set(self.unrealized_state, at, unrealized.byte());
        set(self.long, at, row.long);
        set(self.short, at, row.short);
        set(self.gross, at, row.gross);
        set(self.net, at, row.net);
        set(self.cash, at, row.cash);
        set(self.num_positions, at, row.num_positions);
        set(self.num_long, at, row.num_long);
        set(self.num_short, at, row.num_short);
        set(self.marks, at, row.marks);
    }
}

fn set<T>(column: &mut [T], at: usize, value: T) {
    if let Some(place) = column.get_mut(at) {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_lie_one_behind_the_other() {
        let mut amounts: Vec<i64> = (0..28).collect();
        let mut numbers: Vec<i32> = (0..10).collect();
        let (mut marks, mut states) = ([[0; 4]; 2], [0; 4]);
        let room = Room::of(2, &mut amounts, &mut numbers, &mut marks, &mut states);
        assert_eq!(room.equity, [0, 1]);
        assert_eq!(room.cash, [26, 27]);
        assert_eq!(room.num_short, [8, 9]);
        assert_eq!((Room::AMOUNTS[0], Room::AMOUNTS[13]), ("equity", "cash"));
    }

    #[test]
    fn stretches_are_parts_of_the_same_columns() {
        let mut columns = Columns::zeroed(5);
        let (mut first, second) = columns.room().split_at(2);
        first.day.fill(7);
        first.stretch(1, 1).marks.fill([1; 4]);
        second.day.copy_from_slice(&[8, 9, 10]);
        let mut room = columns.room();
        assert_eq!(room.day, [7, 7, 8, 9, 10]);
        assert_eq!(room.marks[..3], [[0; 4], [1; 4], [0; 4]]);
        assert!(room.stretch(4, 2).is_empty());
        room.move_down(3, 2, 1);
        assert_eq!(room.day[..3], [7, 9, 10]);
    }

    #[test]
    fn no_rows_have_room_for_none() {
        let mut columns = Columns::zeroed(0);
        assert!(columns.room().is_empty());
        assert_eq!(columns.room().split_at(3).0.len(), 0);
    }
}
