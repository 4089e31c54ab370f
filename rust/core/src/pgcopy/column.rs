//! The specification of a column of a query, the column read, and its builder.

use core::fmt::Write as _;

use thiserror::Error;

use super::float8::try_from_float8;
use super::numeric::{self, Cell, Malformed, try_from_numeric};
use super::{EPOCH_MICROSECONDS, NONE};
use crate::fixed::State;
use crate::ids::Day;
use crate::text::{Intern, Table};

/// The longest text taken: a claim beyond it is an error, before its bytes are waited for.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// A column of the query whose bytes are to be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Its name, for errors and for the caller.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The kind that its bytes were read as.
    pub kind: Kind,
    /// The values; 0 in rows whose state is not 0.
    pub values: Values,
    /// [`State::byte`] of each row.
    pub state: Vec<u8>,
    /// The distinct texts of [`Kind::Text`], in the order of arrival.
    pub table: Table,
    /// Rows of [`Kind::Float8`] with decimals beyond the scale.
    pub lost: u64,
}

/// The values of a column by their type in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// 16 bytes a row of [`Kind::Uuid`]; 0 or 1 of [`Kind::Bool`].
    Bytes(Vec<u8>),
    /// Days since 1970-01-01 of [`Kind::Date`].
    Days(Vec<i32>),
    /// Rows of the column's table, of [`Kind::Text`].
    Codes(Vec<u32>),
    /// Mantissas in units of `10^-scale`; integers; microseconds since 1970-01-01 00:00 (UTC, where
    /// the type has a zone).
    Integers(Vec<i64>),
}

/// Why bytes are not a field of the column.
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

/// How much of an item of the stream was consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// This many bytes, at least one, were consumed.
    Took(usize),
    /// Nothing was consumed: the item has at least this many bytes.
    Needs(usize),
}

/// A column while its rows arrive.
#[derive(Debug)]
pub(super) struct Builder {
    kind: Kind,
    /// Length of a field in bytes.
    least: usize,
    most: usize,
    values: Values,
    state: Vec<u8>,
    texts: Intern,
    lost: u64,
}

impl Builder {
    pub(super) fn from_kind(kind: Kind) -> Self {
        let (values, least, most) = match kind {
            Kind::Uuid => (Values::Bytes(Vec::new()), 16, 16),
            Kind::Bool => (Values::Bytes(Vec::new()), 1, 1),
            Kind::Date => (Values::Days(Vec::new()), 4, 4),
            Kind::Text => (Values::Codes(Vec::new()), 0, MAX_TEXT_BYTES),
            Kind::Numeric { .. } => {
                let (least, most) = (numeric::HEADER_BYTES, numeric::MAX_BYTES);
                (Values::Integers(Vec::new()), least, most)
            }
            Kind::Int2 => (Values::Integers(Vec::new()), 2, 2),
            Kind::Int4 => (Values::Integers(Vec::new()), 4, 4),
            Kind::Int8 | Kind::Timestamp | Kind::Float8 { .. } => {
                (Values::Integers(Vec::new()), 8, 8)
            }
        };
        Self {
            kind,
            least,
            most,
            values,
            state: Vec::new(),
            texts: Intern::default(),
            lost: 0,
        }
    }

    /// Takes the field at the start of `bytes`: its length, then its value.
    ///
    /// An impossible length is refused before the bytes have arrived.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Step, Fault> {
        let Some((&length, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(Step::Needs(4));
        };
        let length = i32::from_be_bytes(length);
        if length == i32::from(NONE) {
            self.push_null();
            self.state.push(State::Null.byte());
            return Ok(Step::Took(4));
        }
        let size = self.size(length)?;
        let Some(value) = rest.get(..size) else {
            return Ok(Step::Needs(4 + size));
        };
        let state = self.push(value)?;
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
        Column {
            kind: self.kind,
            values: self.values,
            state: self.state,
            table: self.texts.into_table(),
            lost: self.lost,
        }
    }

    fn push(&mut self, value: &[u8]) -> Result<State, Fault> {
        let values = match &mut self.values {
            Values::Bytes(ids) if self.kind == Kind::Uuid => {
                ids.extend_from_slice(&exactly::<16>(value)?);
                return Ok(State::Value);
            }
            Values::Bytes(truths) => match exactly(value)? {
                [truth @ (0 | 1)] => return Ok(put(truths, Ok(truth))),
                [other] => return Err(Fault::Bool(other)),
            },
            Values::Days(days) => return Ok(put(days, day(i32::from_be_bytes(exactly(value)?)))),
            Values::Codes(codes) => {
                let (code, state) = match self.texts.find(value) {
                    Some(code) => (code, State::Value),
                    None => distinct(&mut self.texts, value)?,
                };
                codes.push(code);
                return Ok(state);
            }
            Values::Integers(values) => values,
        };
        let cell = match self.kind {
            Kind::Numeric { scale } => try_from_numeric(value, scale)?,
            Kind::Float8 { scale } => {
                let read = try_from_float8(exactly(value)?, scale);
                self.lost += u64::from(read.is_ok_and(|read| read.lost));
                read.map(|read| read.mantissa)
            }
            Kind::Int2 => Ok(i16::from_be_bytes(exactly(value)?).into()),
            Kind::Int4 => Ok(i32::from_be_bytes(exactly(value)?).into()),
            Kind::Timestamp => microseconds(i64::from_be_bytes(exactly(value)?)),
            Kind::Int8 | Kind::Uuid | Kind::Bool | Kind::Date | Kind::Text => {
                Ok(i64::from_be_bytes(exactly(value)?))
            }
        };
        Ok(put(values, cell))
    }

    fn push_null(&mut self) {
        match &mut self.values {
            Values::Bytes(bytes) => bytes.resize(bytes.len() + self.most, 0),
            Values::Days(days) => days.push(0),
            Values::Codes(codes) => codes.push(0),
            Values::Integers(values) => values.push(0),
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

/// Returns the code of a text not seen before: only these are checked as UTF-8.
///
/// Bytes that are not UTF-8, which a server without an encoding stores, are not representable; the
/// text keeps them as `\xff`, for messages about the row.
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

/// Converts days since 2000 to days since 1970; the first and the last are infinite.
fn day(days: i32) -> Cell<i32> {
    if matches!(days, i32::MIN | i32::MAX) {
        return Err(State::NonFinite);
    }
    let days = days.checked_add(Day::POSTGRES_EPOCH);
    days.ok_or(State::NotRepresentable)
}

/// Converts microseconds since 2000 to those since 1970; both ends are infinite.
fn microseconds(since: i64) -> Cell<i64> {
    if matches!(since, i64::MIN | i64::MAX) {
        return Err(State::NonFinite);
    }
    let since = since.checked_add(EPOCH_MICROSECONDS);
    since.ok_or(State::NotRepresentable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_the_kind_cannot_have_is_refused_before_its_bytes_come() {
        let numeric = Kind::Numeric { scale: 4 };
        let cases = [
            (Kind::Uuid, 15, "expected 16 bytes, was 15"),
            (Kind::Int4, i32::MAX, "expected 4 bytes, was 2147483647"),
            (Kind::Bool, -2, "expected 1 bytes, was -2"),
            (numeric, 7, "expected 8 to 131078 bytes, was 7"),
            (numeric, 131_079, "expected 8 to 131078 bytes, was 131079"),
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
        for (bytes, step) in [
            (&[][..], Step::Needs(4)),
            (&[0, 0, 0], Step::Needs(4)),
            (&[0, 0, 0, 2, b'a'], Step::Needs(6)),
            (&[0, 0, 0, 2, b'a', b'b', b'c'], Step::Took(6)),
        ] {
            assert_eq!(builder.take(bytes), Ok(step));
        }
    }

    #[test]
    fn values_outside_their_type_are_refused() {
        let taken = Builder::from_kind(Kind::Bool).take(&[0, 0, 0, 1, 7]);
        assert_eq!(taken, Err(Fault::Bool(7)));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_not_representable_and_shown() {
        let mut builder = Builder::from_kind(Kind::Text);
        for text in [&b"a\xff"[..], b"a\\xff", b"\xc3\xa9\xc3", b"a\xff"] {
            let length = u32::try_from(text.len()).unwrap().to_be_bytes();
            builder.take(&[&length, text].concat()).unwrap();
        }
        let Column {
            values,
            state,
            table,
            ..
        } = builder.into_column();
        assert_eq!(values, Values::Codes(vec![0, 0, 1, 0]));
        assert_eq!(state, [3, 0, 3, 3]);
        assert_eq!(table.text(0), Some("a\\xff"));
        assert_eq!(table.text(1), Some("é\\xc3"));
    }
}
