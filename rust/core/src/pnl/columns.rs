//! Result columns: memory for a value of each portfolio and session, and slices of it that threads
//! fill side by side.

/// Declares the columns block by block: their owned memory, slices of it, and one row.
macro_rules! result_columns {
    ($(
        #[$block_doc:meta]
        $block:ident $names:ident: $type:ty { $($name:ident: $doc:literal,)* }
    )*) => {
        $(
            /// Names of the columns of a block, in their order.
            pub const $names: &[&str] = &[$(stringify!($name)),*];
        )*

        /// Owned memory of all columns: one block for each width, so that an allocator that keeps
        /// freed blocks hands the same pages to the next chunk.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Columns {
            rows: usize,
            $(#[$block_doc] pub $block: Vec<$type>,)*
        }

        impl Columns {
            /// Returns columns of `rows` zeros.
            pub fn zeroed(rows: usize) -> Self {
                $(let $block = vec![<$type>::default(); rows.saturating_mul($names.len())];)*
                Self { rows, $($block,)* }
            }

            /// Returns the columns to be filled or read.
            pub fn slices(&mut self) -> ColumnSlices<'_> {
                ColumnSlices::of(self.rows, $(&mut self.$block,)*)
            }
        }

        /// One session of one portfolio.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Row {
            $($(#[doc = $doc] pub $name: $type,)*)*
        }

        /// A slice of every result column, for the rows of some portfolios.
        #[derive(Debug, Default)]
        pub struct ColumnSlices<'a> {
            $($(#[doc = $doc] pub $name: &'a mut [$type],)*)*
        }

        impl<'a> ColumnSlices<'a> {
            /// Returns blocks of `rows` values for each column, one column after the other, as
            /// columns. Columns that a block lacks are empty.
            pub fn of(rows: usize, $($block: &'a mut [$type],)*) -> Self {
                let length = rows.max(1);
                $(let mut $block = $block.chunks_exact_mut(length);)*
                Self { $($($name: $block.next().unwrap_or_default(),)*)* }
            }

            /// Returns the first `rows` rows, and the rest.
            pub fn split_at(self, rows: usize) -> (Self, Self) {
                let at = rows.min(self.len());
                $($(let $name = self.$name.split_at_mut(at);)*)*
                (Self { $($($name: $name.0,)*)* }, Self { $($($name: $name.1,)*)* })
            }

            /// Returns `rows` rows from row `from`; nothing where there are fewer.
            pub fn rows(&mut self, from: usize, rows: usize) -> ColumnSlices<'_> {
                let range = from..from.saturating_add(rows);
                ColumnSlices {
                    $($($name: self.$name.get_mut(range.clone()).unwrap_or_default(),)*)*
                }
            }

            /// Moves `rows` rows from row `from` to row `to`, which is before it.
            pub fn move_down(&mut self, from: usize, rows: usize, to: usize) {
                let end = from.saturating_add(rows);
                if to >= from || end > self.len() {
                    return;
                }
                $($(self.$name.copy_within(from..end, to);)*)*
            }

            /// Writes one row; nothing beyond the last.
            pub fn put(&mut self, at: usize, row: &Row) {
                $($(
                    if let Some(place) = self.$name.get_mut(at) {
                        *place = row.$name;
                    }
                )*)*
            }

            /// Returns one row; nothing beyond the last.
            pub fn row(&self, at: usize) -> Option<Row> {
                Some(Row { $($($name: *self.$name.get(at)?,)*)* })
            }
        }
    };
}

result_columns! {
    /// Columns of 64 bits.
    amounts AMOUNTS: i64 {
        equity_balance: "Cents, S8.",
        daily_pnl: "Cents, S6.",
        daily_realized_pnl: "Cents, S6.",
        daily_capital_flow: "Cents, S7.",
        daily_return: "Millionths, S8; 0 where there is none.",
        cumulative_pnl: "Cents, S8.",
        cumulative_realized_pnl: "Cents, S8.",
        cumulative_capital_flow: "Cents, S8.",
        unrealized_pnl: "`r2(U)` in cents, S6; 0 where there is none.",
        long_value: "Cents, S9.",
        short_value: "Cents, S9.",
        gross_exposure: "Cents, S9.",
        net_exposure: "Cents, S9.",
        cash_value: "Cents, S9.",
    }
    /// Columns of 32 bits.
    numbers NUMBERS: i32 {
        portfolio: "Row of the portfolio in `Opening`.",
        day: "Session.",
        num_positions: "Lots held.",
        num_long_positions: "Lots held with a quantity above 0.",
        num_short_positions: "Lots held with a quantity below 0.",
    }
    /// Four counts a row.
    counts COUNTS: [i32; 4] {
        marks: "Public lots held whose mark is fresh, from lookback, stale, or the entry price.",
    }
    /// Columns of states.
    states STATES: u8 {
        daily_return_state: "0, or 1 (NULL) where the return is out of range, S10.",
        unrealized_pnl_state:
            "0, 1 (NULL) under a policy without it, or 3 (not representable) beyond 64 bits.",
    }
}

impl ColumnSlices<'_> {
    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.portfolio.len()
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.portfolio.is_empty()
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
        let columns = ColumnSlices::of(2, &mut amounts, &mut numbers, &mut marks, &mut states);
        assert_eq!(columns.equity_balance, [0, 1]);
        assert_eq!(columns.cash_value, [26, 27]);
        assert_eq!(columns.num_short_positions, [8, 9]);
        assert_eq!((AMOUNTS[0], AMOUNTS[13]), ("equity_balance", "cash_value"));
        let last = columns.row(1).unwrap();
        assert_eq!((last.daily_pnl, last.day), (3, 3));
        assert_eq!(columns.row(2), None);
    }

    #[test]
    fn slices_are_parts_of_the_same_columns() {
        let mut columns = Columns::zeroed(5);
        let (mut first, second) = columns.slices().split_at(2);
        first.day.fill(7);
        first.rows(1, 1).marks.fill([1; 4]);
        second.day.copy_from_slice(&[8, 9, 10]);
        let mut all = columns.slices();
        assert_eq!(all.day, [7, 7, 8, 9, 10]);
        assert_eq!(all.marks[..3], [[0; 4], [1; 4], [0; 4]]);
        assert!(all.rows(4, 2).is_empty());
        all.move_down(3, 2, 1);
        assert_eq!(all.day[..3], [7, 9, 10]);
    }

    #[test]
    fn no_rows_have_room_for_none() {
        let mut columns = Columns::zeroed(0);
        assert!(columns.slices().is_empty());
        assert_eq!(columns.slices().split_at(3).0.len(), 0);
    }
}
