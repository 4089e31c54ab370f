//! Borrowed columns, as Python passes them: values, and a byte for each row that says why it has
//! none.

use crate::error::{Error, Result};
use crate::fixed::{MAX_SCALE, State};
use crate::ids::{Day, Uuid};
use crate::text::Table;

/// A value and a [`State`] for each row, and the facts that all values share.
#[derive(Debug, Clone, Copy)]
pub struct Cells<'a, T, Shared> {
    values: &'a [T],
    state: &'a [u8],
    shared: Shared,
}

/// Exact decimals of one scale.
pub type Decimals<'a> = Cells<'a, i64, u32>;

/// Dates, in days since 1970-01-01.
pub type Days<'a> = Cells<'a, i32, ()>;

/// Texts as codes into a table.
pub type Texts<'a> = Cells<'a, u32, &'a Table>;

/// The kind of a column of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Keys of 16 bytes.
    Ids,
    /// Days that every row has.
    Integers,
    /// Truth values.
    Flags,
    /// [`Decimals`].
    Decimals,
    /// [`Days`].
    Days,
    /// [`Texts`].
    Texts,
}

/// A column of any kind.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    /// Of [`Kind::Ids`].
    Ids(&'a [Uuid]),
    /// Of [`Kind::Integers`].
    Integers(&'a [i32]),
    /// Of [`Kind::Flags`].
    Flags(&'a [bool]),
    /// Of [`Kind::Decimals`].
    Decimals(Decimals<'a>),
    /// Of [`Kind::Days`].
    Days(Days<'a>),
    /// Of [`Kind::Texts`].
    Texts(Texts<'a>),
}

/// A column of one kind.
pub trait OfKind<'a>: Sized {
    /// The kind.
    const KIND: Kind;

    /// Returns a column if it has this kind.
    fn of(column: Column<'a>) -> Option<Self>;
}

macro_rules! of_kind {
    ($($kind:ident: $type:ty),*) => {$(
        impl<'a> OfKind<'a> for $type {
            const KIND: Kind = Kind::$kind;

            fn of(column: Column<'a>) -> Option<Self> {
                match column {
                    Column::$kind(own) => Some(own),
                    _ => None,
                }
            }
        }
    )*};
}
of_kind!(
    Ids: &'a [Uuid], Integers: &'a [i32], Flags: &'a [bool],
    Decimals: Decimals<'a>, Days: Days<'a>, Texts: Texts<'a>
);

/// Columns identified by their paths.
pub trait Frame<'a>: Sized {
    /// Returns path and kind of each column.
    fn columns() -> Vec<(&'static str, Kind)>;

    /// Returns the frame of the next columns, in their order.
    fn of(columns: &mut impl Iterator<Item = Column<'a>>) -> Option<Self>;
}

/// Declares a frame: borrowed columns, and the check that they have as many rows as the first.
macro_rules! frame {
    (
        $(#[$doc:meta])*
        $frame:ident<$life:lifetime> $prefix:literal {
            $($(#[$column_doc:meta])* $column:ident: $type:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $frame<$life> {
            $($(#[$column_doc])* pub $column: $type,)*
        }

        impl<$life> $crate::frame::Frame<$life> for $frame<$life> {
            fn columns() -> Vec<(&'static str, $crate::frame::Kind)> {
                vec![$((
                    concat!($prefix, ".", stringify!($column)),
                    <$type as $crate::frame::OfKind<$life>>::KIND,
                ),)*]
            }

            fn of(
                columns: &mut impl Iterator<Item = $crate::frame::Column<$life>>,
            ) -> Option<Self> {
                Some(Self { $($column: $crate::frame::OfKind::of(columns.next()?)?,)* })
            }
        }

        impl $frame<'_> {
            /// Checks that all columns have the same length.
            ///
            /// # Errors
            ///
            /// [`crate::error::Error::Length`] naming the first that differs.
            pub fn check(&self) -> $crate::error::Result<()> {
                let rows = [$(self.$column.len()),*];
                let first = rows.first().copied().unwrap_or_default();
                let columns = [$(concat!($prefix, ".", stringify!($column))),*];
                columns.into_iter().zip(rows).try_for_each(|(column, rows)| {
                    $crate::frame::same_length(column, first, rows)
                })
            }
        }
    };
}
pub(crate) use frame;

/// Returns an error unless `actual` is `expected`.
///
/// # Errors
///
/// [`Error::Length`] naming `column`.
pub fn same_length(column: &'static str, expected: usize, actual: usize) -> Result<()> {
    if actual == expected {
        Ok(())
    } else {
        Err(Error::Length {
            column,
            expected,
            actual,
        })
    }
}

fn valued<T: Copy>(values: &[T], state: &[u8], row: usize) -> core::result::Result<T, State> {
    let state = state.get(row).copied().and_then(State::from_byte);
    match (state, values.get(row)) {
        (Some(State::Value), Some(&value)) => Ok(value),
        (Some(State::Value) | None, _) => Err(State::Null),
        (Some(state), _) => Err(state),
    }
}

impl<'a, T: Copy, Shared> Cells<'a, T, Shared> {
    fn checked(
        column: &'static str,
        values: &'a [T],
        state: &'a [u8],
        shared: Shared,
    ) -> Result<Self> {
        same_length(column, values.len(), state.len())?;
        let odd = |&byte: &u8| State::from_byte(byte).is_none();
        match state.iter().position(odd) {
            Some(row) => Err(Error::Value {
                column,
                row,
                expected: "a state from 0 to 3",
            }),
            None => Ok(Self {
                values,
                state,
                shared,
            }),
        }
    }

    fn value(&self, row: usize) -> core::result::Result<T, State> {
        valued(self.values, self.state, row)
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl<'a> Decimals<'a> {
    /// Returns the column of `values` times `10^-scale`.
    ///
    /// # Errors
    ///
    /// [`Error::Length`], [`Error::Value`] for a state beyond 3, [`Error::Scale`] beyond 18.
    pub fn new(
        column: &'static str,
        values: &'a [i64],
        state: &'a [u8],
        scale: u32,
    ) -> Result<Self> {
        let most = MAX_SCALE;
        if scale > most {
            return Err(Error::Scale {
                column,
                scale,
                most,
            });
        }
        Self::checked(column, values, state, scale)
    }

    /// Returns the mantissa of a row, or why it has none.
    ///
    /// # Errors
    ///
    /// The row's [`State`].
    pub fn get(&self, row: usize) -> core::result::Result<i64, State> {
        self.value(row)
    }

    /// Returns the number of decimals of the mantissas.
    pub fn scale(&self) -> u32 {
        self.shared
    }
}

impl<'a> Days<'a> {
    /// Returns the column of days since 1970-01-01.
    ///
    /// # Errors
    ///
    /// [`Error::Length`], [`Error::Value`] for a state beyond 3.
    pub fn new(column: &'static str, values: &'a [i32], state: &'a [u8]) -> Result<Self> {
        Self::checked(column, values, state, ())
    }

    /// Returns the day of a row, or why it has none.
    ///
    /// # Errors
    ///
    /// The row's [`State`].
    pub fn get(&self, row: usize) -> core::result::Result<Day, State> {
        self.value(row).map(Day)
    }
}

impl<'a> Texts<'a> {
    /// Returns the column of `codes` into `table`.
    ///
    /// # Errors
    ///
    /// [`Error::Length`], [`Error::Value`] for a state beyond 3 or a code beyond the table.
    pub fn new(
        column: &'static str,
        codes: &'a [u32],
        table: &'a Table,
        state: &'a [u8],
    ) -> Result<Self> {
        let checked = Self::checked(column, codes, state, table)?;
        let count = u32::try_from(table.len()).unwrap_or(u32::MAX);
        let has_code = [State::Value, State::NotRepresentable].map(State::byte);
        let beyond = |(code, byte): (&u32, &u8)| *code >= count && has_code.contains(byte);
        match codes.iter().zip(state).position(beyond) {
            Some(row) => Err(Error::Value {
                column,
                row,
                expected: "a code of the table",
            }),
            None => Ok(checked),
        }
    }

    /// Returns the code of a row, or why it has none.
    ///
    /// # Errors
    ///
    /// The row's [`State`].
    pub fn get(&self, row: usize) -> core::result::Result<u32, State> {
        self.value(row)
    }

    /// Returns the code of a row for display, even of a text that is not representable; nothing for
    /// NULL.
    pub fn shown(&self, row: usize) -> Option<u32> {
        match self.get(row) {
            Ok(code) => Some(code),
            Err(State::NotRepresentable) => self.values.get(row).copied(),
            Err(_) => None,
        }
    }

    /// Returns the bytes of a row's text, if it has one.
    pub fn bytes(&self, row: usize) -> Option<&'a [u8]> {
        self.shared.bytes(self.get(row).ok()?)
    }

    /// Returns the table of values.
    pub fn table(&self) -> &'a Table {
        self.shared
    }
}

/// Returns the uuids of a flat column of 16 bytes a row.
///
/// # Errors
///
/// [`Error::Length`] if the last row is cut off.
pub fn uuids<'a>(column: &'static str, flat: &'a [u8]) -> Result<&'a [Uuid]> {
    let (rows, rest) = flat.as_chunks::<16>();
    same_length(column, 0, rest.len())?;
    Ok(rows)
}

/// Returns the index of a 32-bit code; beyond every slice where `usize` cannot hold it.
pub fn index(code: u32) -> usize {
    usize::try_from(code).unwrap_or(usize::MAX)
}
