//! What a column of a query is, the column it becomes, and the builder between them.

use core::fmt::Write as _;

use thiserror::Error;

use super::float8::try_from_float8;
use super::numeric::{self, Cell, Malformed, try_from_numeric};
use super::{EPOCH_MICROSECONDS, NONE};
use crate::fixed::State;
use crate::ids::Day;
use crate::text::{Intern, Table};

/// The longest text taken: a claim beyond it is an error, before its bytes are waited for.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// A column of the query whose bytes are to be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Its name, for errors and for whoever takes the frame apart.
    pub name: String,
    /// How its bytes are to be read.
    pub kind: Kind,
}

/// How the bytes of a column are to be read: binary COPY itself does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `uuid`.
    Uuid,
    /// `date`.
    Date,
    /// `numeric`, read to mantissas in units of `10^-scale`.
    Numeric {
        /// Decimals of the mantissas.
        scale: u32,
    },
    /// `float8`, rounded to mantissas in units of `10^-scale`.
    Float8 {
        /// Decimals of the mantissas.
        scale: u32,
    },
    /// `text`, `varchar`, `char`, `json` and enums, in UTF-8; other bytes are not representable.
    Text,
    /// `bool`.
    Bool,
    /// `int2`.
    Int2,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
    /// `timestamp` and `timestamptz`.
    Timestamp,
}

/// A column that was read: a value and a state for each row.
///
/// `state` holds [`State::byte`]s; where it is not 0, the value is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// Of [`Kind::Uuid`].
    Uuid {
        /// 16 bytes a row.
        values: Vec<u8>,
        /// State of each row.
        state: Vec<u8>,
    },
    /// Of [`Kind::Date`].
    Date {
        /// Days since 1970-01-01.
        values: Vec<i32>,
        /// State of each row.
        state: Vec<u8>,
    },
    /// Of [`Kind::Numeric`].
    Decimal {
        /// Mantissas in units of `10^-scale`.
        values: Vec<i64>,
        /// State of each row.
        state: Vec<u8>,
        /// Decimals of the mantissas.
        scale: u32,
    },
    /// Of [`Kind::Float8`].
    Rounded {
        /// Mantissas in units of `10^-scale`.
        values: Vec<i64>,
        /// State of each row.
        state: Vec<u8>,
        /// Decimals of the mantissas.
        scale: u32,
        /// Rows whose decimals went beyond the scale.
        lost: u64,
    },
    /// Of [`Kind::Text`].
    Text {
        /// Row of the value in `table`; 0 for NULL, even if the table is empty.
        codes: Vec<u32>,
        /// The distinct values, in the order they came.
        table: Table,
        /// State of each row.
        state: Vec<u8>,
    },
    /// Of [`Kind::Bool`].
    Bool {
        /// 0 or 1.
        values: Vec<u8>,
        /// State of each row.
        state: Vec<u8>,
    },
    /// Of [`Kind::Int2`], [`Kind::Int4`] and [`Kind::Int8`].
    Int {
        /// The integers.
        values: Vec<i64>,
        /// State of each row.
        state: Vec<u8>,
    },
    /// Of [`Kind::Timestamp`].
    Timestamp {
        /// Microseconds since 1970-01-01 00:00 (UTC, where the type has a zone).
        values: Vec<i64>,
        /// State of each row.
        state: Vec<u8>,
    },
}

impl Column {
    /// Returns the states, one a row.
    #[must_use]
    pub fn state(&self) -> &[u8] {
        match self {
            Self::Uuid { state, .. }
            | Self::Date { state, .. }
            | Self::Decimal { state, .. }
            | Self::Rounded { state, .. }
            | Self::Text { state, .. }
            | Self::Bool { state, .. }
            | Self::Int { state, .. }
            | Self::Timestamp { state, .. } => state,
        }
    }
}

/// Why bytes are not a field of their column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Fault {
    #[error("expected {expected} bytes, was {actual}")]
    Length { expected: usize, actual: i64 },
    #[error("expected {least} to {most} bytes, was {actual}")]
    Range {
        least: usize,
        most: usize,
        actual: i64,
    },
    #[error("expected bool 0 or 1, was {0}")]
    Bool(u8),
    #[error("expected fewer than 2^32 distinct texts")]
    Texts,
    #[error(transparent)]
    Numeric(#[from] Malformed),
}

/// How far an item of the stream was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes, at least one, are done with.
    Took(usize),
    /// Nothing was done: the item has this many bytes, as far as can be told.
    Needs(usize),
}

/// A column while its rows arrive.
#[derive(Debug)]
pub(super) struct Builder {
    values: Values,
    state: Vec<u8>,
    least: usize,
    most: usize,
}

#[derive(Debug)]
enum Values {
    Uuid(Vec<u8>),
    Date(Vec<i32>),
    Numeric {
        values: Vec<i64>,
        scale: u32,
    },
    Float8 {
        values: Vec<i64>,
        scale: u32,
        lost: u64,
    },
    Text {
        codes: Vec<u32>,
        intern: Intern,
    },
    Bool(Vec<u8>),
    Int2(Vec<i64>),
    Int4(Vec<i64>),
    Int8(Vec<i64>),
    Timestamp(Vec<i64>),
}

impl Builder {
    pub(super) fn from_kind(kind: Kind) -> Self {
        let (values, least, most) = match kind {
            Kind::Uuid => (Values::Uuid(Vec::new()), 16, 16),
            Kind::Date => (Values::Date(Vec::new()), 4, 4),
            Kind::Numeric { scale } => (
                Values::Numeric {
                    values: Vec::new(),
                    scale,
                },
                numeric::HEADER_BYTES,
                numeric::MAX_BYTES,
            ),
            Kind::Float8 { scale } => (
                Values::Float8 {
                    values: Vec::new(),
                    scale,
                    lost: 0,
                },
                8,
                8,
            ),
            Kind::Text => (
                Values::Text {
                    codes: Vec::new(),
                    intern: Intern::default(),
                },
                0,
                MAX_TEXT_BYTES,
            ),
            Kind::Bool => (Values::Bool(Vec::new()), 1, 1),
            Kind::Int2 => (Values::Int2(Vec::new()), 2, 2),
            Kind::Int4 => (Values::Int4(Vec::new()), 4, 4),
            Kind::Int8 => (Values::Int8(Vec::new()), 8, 8),
            Kind::Timestamp => (Values::Timestamp(Vec::new()), 8, 8),
        };
        Self {
            values,
            state: Vec::new(),
            least,
            most,
        }
    }

    /// Takes the field at the start of `bytes`: its length, then its value.
    ///
    /// A length that the column cannot have is refused before its bytes are there.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Step, Fault> {
        let Some((&length, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(Step::Needs(4));
        };
        let length = i32::from_be_bytes(length);
        if length == i32::from(NONE) {
            self.values.push_null();
            self.state.push(State::Null.byte());
            return Ok(Step::Took(4));
        }
        let size = self.size(length)?;
        let Some(value) = rest.get(..size) else {
            return Ok(Step::Needs(4 + size));
        };
        let state = self.values.push(value)?;
        self.state.push(state.byte());
        Ok(Step::Took(4 + size))
    }

    fn size(&self, length: i32) -> Result<usize, Fault> {
        let &Self { least, most, .. } = self;
        match usize::try_from(length) {
            Ok(size) if (least..=most).contains(&size) => Ok(size),
            _ if least == most => Err(Fault::Length {
                expected: most,
                actual: length.into(),
            }),
            _ => Err(Fault::Range {
                least,
                most,
                actual: length.into(),
            }),
        }
    }

    pub(super) fn into_column(self) -> Column {
        let state = self.state;
        match self.values {
            Values::Uuid(values) => Column::Uuid { values, state },
            Values::Date(values) => Column::Date { values, state },
            Values::Numeric { values, scale } => Column::Decimal {
                values,
                state,
                scale,
            },
            Values::Float8 {
                values,
                scale,
                lost,
            } => Column::Rounded {
                values,
                state,
                scale,
                lost,
            },
            Values::Text { codes, intern } => Column::Text {
                codes,
                table: intern.into_table(),
                state,
            },
            Values::Bool(values) => Column::Bool { values, state },
            Values::Int2(values) | Values::Int4(values) | Values::Int8(values) => {
                Column::Int { values, state }
            }
            Values::Timestamp(values) => Column::Timestamp { values, state },
        }
    }
}

impl Values {
    fn push(&mut self, value: &[u8]) -> Result<State, Fault> {
        match self {
            Self::Uuid(values) => {
                values.extend_from_slice(&exactly::<16>(value)?);
                Ok(State::Value)
            }
            Self::Date(values) => Ok(put(values, day(i32::from_be_bytes(exactly(value)?)))),
            Self::Numeric { values, scale } => Ok(put(values, try_from_numeric(value, *scale)?)),
            Self::Float8 {
                values,
                scale,
                lost,
            } => {
                let read = try_from_float8(exactly(value)?, *scale);
                *lost += u64::from(read.is_ok_and(|read| read.lost));
                Ok(put(values, read.map(|read| read.mantissa)))
            }
            Self::Text { codes, intern } => {
                let (code, state) = match intern.find(value) {
                    Some(code) => (code, State::Value),
                    None => distinct(intern, value)?,
                };
                codes.push(code);
                Ok(state)
            }
            Self::Bool(values) => match exactly(value)? {
                [truth @ (0 | 1)] => Ok(put(values, Ok(truth))),
                [other] => Err(Fault::Bool(other)),
            },
            Self::Int2(values) => Ok(put(values, Ok(i16::from_be_bytes(exactly(value)?).into()))),
            Self::Int4(values) => Ok(put(values, Ok(i32::from_be_bytes(exactly(value)?).into()))),
            Self::Int8(values) => Ok(put(values, Ok(i64::from_be_bytes(exactly(value)?)))),
            Self::Timestamp(values) => Ok(put(
                values,
                microseconds(i64::from_be_bytes(exactly(value)?)),
            )),
        }
    }

    fn push_null(&mut self) {
        match self {
            Self::Uuid(values) => values.extend_from_slice(&[0; 16]),
            Self::Date(values) => values.push(0),
            Self::Text { codes, .. } => codes.push(0),
            Self::Bool(values) => values.push(0),
            Self::Numeric { values, .. }
            | Self::Float8 { values, .. }
            | Self::Int2(values)
            | Self::Int4(values)
            | Self::Int8(values)
            | Self::Timestamp(values) => values.push(0),
        }
    }
}

fn put<T: Default>(values: &mut Vec<T>, cell: Cell<T>) -> State {
    let (value, state) = match cell {
        Ok(value) => (value, State::Value),
        Err(state) => (T::default(), state),
    };
    values.push(value);
    state
}

fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], Fault> {
    value.try_into().map_err(|_| Fault::Length {
        expected: N,
        actual: i64::try_from(value.len()).unwrap_or(i64::MAX),
    })
}

/// Returns the code of a text that was not seen before: only these need a look at their UTF-8.
///
/// Bytes that are no UTF-8, which a server without an encoding stores, are not representable; the
/// text keeps them as `\xff`, for whoever has to name the row.
#[cold]
fn distinct(intern: &mut Intern, value: &[u8]) -> Result<(u32, State), Fault> {
    if core::str::from_utf8(value).is_ok() {
        return Ok((intern.code(value).ok_or(Fault::Texts)?, State::Value));
    }
    let mut shown = String::new();
    for chunk in value.utf8_chunks() {
        shown.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    let code = intern.code(shown.as_bytes()).ok_or(Fault::Texts)?;
    Ok((code, State::NotRepresentable))
}

/// Returns the days since 1970 of days since 2000, of which the first and the last are infinite.
fn day(days: i32) -> Cell<i32> {
    match days {
        i32::MIN | i32::MAX => Err(State::NonFinite),
        days => days
            .checked_add(Day::POSTGRES_EPOCH)
            .ok_or(State::NotRepresentable),
    }
}

/// Returns the microseconds since 1970 of those since 2000, of which the ends are infinite.
fn microseconds(since: i64) -> Cell<i64> {
    match since {
        i64::MIN | i64::MAX => Err(State::NonFinite),
        since => since
            .checked_add(EPOCH_MICROSECONDS)
            .ok_or(State::NotRepresentable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_1970() {
        assert_eq!(day(0), Ok(10957));
        assert_eq!(day(-10957), Ok(0));
        assert_eq!(day(i32::MAX), Err(State::NonFinite));
        assert_eq!(day(i32::MIN), Err(State::NonFinite));
        assert_eq!(day(i32::MIN + 1), Ok(i32::MIN + 1 + 10957));
        assert_eq!(day(i32::MAX - 10957), Ok(i32::MAX));
        assert_eq!(day(i32::MAX - 10956), Err(State::NotRepresentable));
    }

    #[test]
    fn microseconds_count_from_1970() {
        // 10957 days of 86400 seconds
        assert_eq!(microseconds(0), Ok(10957 * 86400 * 1_000_000));
        assert_eq!(microseconds(i64::MAX), Err(State::NonFinite));
        assert_eq!(microseconds(i64::MIN), Err(State::NonFinite));
        assert_eq!(microseconds(i64::MAX - 1), Err(State::NotRepresentable));
        assert_eq!(microseconds(i64::MAX - EPOCH_MICROSECONDS), Ok(i64::MAX));
    }

    #[test]
    fn a_length_that_the_kind_cannot_have_is_refused_before_its_bytes_come() {
        let cases = [
            (Kind::Uuid, 15, "expected 16 bytes, was 15"),
            (Kind::Int4, i32::MAX, "expected 4 bytes, was 2147483647"),
            (Kind::Bool, -2, "expected 1 bytes, was -2"),
            (
                Kind::Numeric { scale: 4 },
                7,
                "expected 8 to 131078 bytes, was 7",
            ),
            (
                Kind::Numeric { scale: 4 },
                131_079,
                "expected 8 to 131078 bytes, was 131079",
            ),
            (
                Kind::Text,
                1_048_577,
                "expected 0 to 1048576 bytes, was 1048577",
            ),
        ];
        for (kind, length, message) in cases {
            let fault = Builder::from_kind(kind)
                .take(&length.to_be_bytes())
                .unwrap_err();
            assert_eq!(fault.to_string(), message);
        }
    }

    #[test]
    fn a_field_that_is_not_all_there_tells_what_it_needs() {
        let mut builder = Builder::from_kind(Kind::Text);
        assert_eq!(builder.take(&[]), Ok(Step::Needs(4)));
        assert_eq!(builder.take(&[0, 0, 0]), Ok(Step::Needs(4)));
        assert_eq!(builder.take(&[0, 0, 0, 2, b'a']), Ok(Step::Needs(6)));
        assert_eq!(
            builder.take(&[0, 0, 0, 2, b'a', b'b', b'c']),
            Ok(Step::Took(6))
        );
    }

    #[test]
    fn values_outside_their_type_are_refused() {
        let take = |kind, bytes: &[u8]| Builder::from_kind(kind).take(bytes);
        assert_eq!(take(Kind::Bool, &[0, 0, 0, 1, 7]), Err(Fault::Bool(7)));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_not_representable_and_shown() {
        let mut builder = Builder::from_kind(Kind::Text);
        for text in [&b"a\xff"[..], b"a\\xff", b"\xc3\xa9\xc3", b"a\xff"] {
            let length = u32::try_from(text.len()).unwrap().to_be_bytes();
            builder.take(&[&length, text].concat()).unwrap();
        }
        let Column::Text {
            codes,
            table,
            state,
        } = builder.into_column()
        else {
            panic!("is no text");
        };
        assert_eq!(codes, [0, 0, 1, 0]);
        assert_eq!(state, [3, 0, 3, 3]);
        assert_eq!(table.text(0), Some("a\\xff"));
        assert_eq!(table.text(1), Some("é\\xc3"));
    }
}
