//! Columns into bytes that `COPY ... FROM STDIN (FORMAT binary)` takes.

use super::numeric::Writer;
use super::object::{self, Objects};
use super::{NONE, SIGNATURE};
use crate::error::Error;
use crate::fixed::State;
use crate::frame::index;
use crate::ids::{Day, Uuid};
use crate::text::Table;

/// A column to be written.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Its name, for errors.
    pub name: &'a str,
    /// The values of its rows.
    pub cells: Cells<'a>,
    /// [`State::byte`]s of the rows: 1 is written as NULL, 2 and 3 cannot be written; without
    /// states every row has a value.
    pub state: Option<&'a [u8]>,
}

/// The values of a column to be written, and their type.
#[derive(Debug, Clone, Copy)]
pub enum Cells<'a> {
    /// `uuid`, 16 bytes a row.
    Uuid(&'a [u8]),
    /// `date`, days since 1970-01-01.
    Date(&'a [i32]),
    /// `numeric`, mantissas in units of `10^-scale`; as many decimals are sent.
    Decimal {
        /// The mantissas.
        values: &'a [i64],
        /// Decimals of the mantissas.
        scale: u32,
    },
    /// `int4`.
    Int4(&'a [i32]),
    /// `int8`.
    Int8(&'a [i64]),
    /// `bool`, 0 or 1.
    Bool(&'a [u8]),
    /// `text`, `varchar`, `json` or an enum.
    Text {
        /// Row of each value in `table`.
        codes: &'a [u32],
        /// The distinct values.
        table: &'a Table,
    },
    /// `json` or `jsonb`, an object in each row.
    Objects(Objects<'a>),
    /// The same bytes in every row.
    Constant(&'a [u8]),
}

/// A field of NULL.
const NULL: [u8; 4] = [0xff; 4];

/// Bytes reserved for each field: most need fewer.
const USUAL_BYTES: usize = 32;

/// The row of a column that cannot be written, if it is one, and what is wrong.
pub(super) type Fault = (Option<usize>, String);

/// Hands out the bytes of a binary COPY, from the signature to the trailer, piece by piece.
///
/// Every value is checked before the first piece, so that no stream stops half-way.
#[derive(Debug)]
pub struct Encoder<'a> {
    columns: Vec<(Option<&'a [u8]>, Checked<'a>)>,
    count: i16,
    rows: usize,
    row: usize,
    ended: bool,
}

/// Values that can be written: a whole column of them, or the bytes of a constant field.
#[derive(Debug)]
enum Checked<'a> {
    Uuid(&'a [Uuid]),
    Date(&'a [i32]),
    Decimal(&'a [i64], Writer),
    Int4(&'a [i32]),
    Int8(&'a [i64]),
    Bool(&'a [u8]),
    Text(&'a [u32], &'a Table),
    Objects(object::Writer<'a>),
    Constant(&'a [u8]),
}

impl<'a> Encoder<'a> {
    /// Returns the encoder of `rows` rows of these columns.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] naming column and row: a column of another length; a state of 2 or more;
    /// a value that its type does not hold, or in which it means infinity.
    pub fn new(fields: &[Field<'a>], rows: usize) -> Result<Self, Error> {
        let fault = |field: &Field<'_>, (row, what)| Error::Encode {
            column: field.name.to_owned(),
            row,
            what,
        };
        let count = i16::try_from(fields.len());
        if let (Err(_), Some(last)) = (count, fields.last()) {
            let what = format!("expected at most 32767 columns, was {}", fields.len());
            return Err(fault(last, (None, what)));
        }
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            let checked = check(field, rows).map_err(|found| fault(field, found))?;
            columns.push((field.state, checked));
        }
        Ok(Self {
            columns,
            count: count.unwrap_or(i16::MAX),
            rows,
            row: 0,
            ended: false,
        })
    }

    /// Returns the next bytes, whole rows and not fewer than `at_least` unless they are the last;
    /// nothing after the trailer.
    pub fn next_piece(&mut self, at_least: usize) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        let row_bytes = 2 + self.columns.len() * USUAL_BYTES;
        let left = (self.rows - self.row).saturating_mul(row_bytes);
        let mut out = Vec::with_capacity(at_least.min(left).saturating_add(row_bytes + 32));
        if self.row == 0 {
            out.extend_from_slice(&SIGNATURE);
            out.extend_from_slice(&[0; 8]);
        }
        while self.row < self.rows {
            // At least one row, so that pieces of 0 bytes end, too.
            self.write_row(&mut out);
            self.row += 1;
            if out.len() >= at_least && self.row < self.rows {
                return Some(out);
            }
        }
        out.extend_from_slice(&i16::from(NONE).to_be_bytes());
        self.ended = true;
        Some(out)
    }

    fn write_row(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_be_bytes());
        for (state, cells) in &self.columns {
            if state.is_some_and(|state| state.get(self.row) == Some(&State::Null.byte())) {
                out.extend_from_slice(&NULL);
            } else {
                cells.write(self.row, out);
            }
        }
    }
}

impl Checked<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Uuid(values) => write_bytes(&at(values, row), out),
            Self::Date(values) => {
                let days = at(values, row).wrapping_sub(Day::POSTGRES_EPOCH);
                write_word(days.to_be_bytes(), out);
            }
            Self::Decimal(values, writer) => writer.write(at(values, row), out),
            Self::Int4(values) => write_word(at(values, row).to_be_bytes(), out),
            Self::Int8(values) => {
                write_length(8, out);
                out.extend_from_slice(&at(values, row).to_be_bytes());
            }
            Self::Bool(values) => out.extend_from_slice(&[0, 0, 0, 1, at(values, row)]),
            Self::Text(codes, table) => {
                write_bytes(table.bytes(at(codes, row)).unwrap_or_default(), out);
            }
            Self::Objects(writer) => writer.write(row, out),
            Self::Constant(bytes) => write_bytes(bytes, out),
        }
    }
}

/// Returns the value of a row, which exists: `check` compared the lengths.
fn at<T: Copy + Default>(values: &[T], row: usize) -> T {
    values.get(row).copied().unwrap_or_default()
}

fn write_length(length: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&length.to_be_bytes());
}

fn write_word(word: [u8; 4], out: &mut Vec<u8>) {
    let [a, b, c, d] = word;
    out.extend_from_slice(&[0, 0, 0, 4, a, b, c, d]);
}

/// Appends bytes whose length `check` found to fit.
fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_length(u32::try_from(bytes.len()).unwrap_or_default(), out);
    out.extend_from_slice(bytes);
}

fn check_length(actual: usize, expected: usize, unit: &str) -> Result<(), Fault> {
    if actual == expected {
        return Ok(());
    }
    Err((None, format!("expected {expected} {unit}, was {actual}")))
}

/// Checks every value that will be written; the value of a NULL row is ignored.
fn check_each<T: core::fmt::Display>(
    values: &[T],
    state: Option<&[u8]>,
    right: impl Fn(&T) -> bool,
    expected: &str,
) -> Result<(), Fault> {
    let is_null = |row| state.is_some_and(|state| at(state, row) == State::Null.byte());
    let wrong = |&(row, value): &(usize, &T)| !right(value) && !is_null(row);
    match values.iter().enumerate().find(wrong) {
        None => Ok(()),
        Some((row, value)) => Err((Some(row), format!("expected {expected}, was {value}"))),
    }
}

fn check<'a>(field: &Field<'a>, rows: usize) -> Result<Checked<'a>, Fault> {
    let state = field.state;
    if let Some(state) = state {
        check_length(state.len(), rows, "states")?;
        let right = |&state: &u8| state <= State::Null.byte();
        check_each(state, None, right, "state 0 or 1")?;
    }
    let same_length = |actual| check_length(actual, rows, "rows");
    Ok(match field.cells {
        Cells::Uuid(bytes) => {
            let (values, rest) = bytes.as_chunks();
            if values.len() != rows || !rest.is_empty() {
                let actual = bytes.len();
                let what = format!("expected {rows} rows of 16 bytes, was {actual} bytes");
                return Err((None, what));
            }
            Checked::Uuid(values)
        }
        Cells::Date(values) => {
            same_length(values.len())?;
            // PostgreSQL's i32::MIN is -infinity; its i32::MAX is out of reach.
            let finite = |day: &i32| *day > i32::MIN + Day::POSTGRES_EPOCH;
            check_each(values, state, finite, "a finite date")?;
            Checked::Date(values)
        }
        Cells::Decimal { values, scale } => {
            same_length(values.len())?;
            let fault = || (None, format!("expected a scale up to 16383, was {scale}"));
            let writer = Writer::from_scale(scale).ok_or_else(fault)?;
            Checked::Decimal(values, writer)
        }
        Cells::Int4(values) => {
            same_length(values.len())?;
            Checked::Int4(values)
        }
        Cells::Int8(values) => {
            same_length(values.len())?;
            Checked::Int8(values)
        }
        Cells::Bool(values) => {
            same_length(values.len())?;
            check_each(values, state, |&truth| truth <= 1, "bool 0 or 1")?;
            Checked::Bool(values)
        }
        Cells::Text { codes, table } => {
            same_length(codes.len())?;
            let texts = table.len();
            let known = |&code: &u32| index(code) < texts;
            check_each(codes, state, known, &format!("a code below {texts}"))?;
            table.iter().try_for_each(check_text)?;
            Checked::Text(codes, table)
        }
        Cells::Objects(objects) => Checked::Objects(object::Writer::new(objects, rows)?),
        Cells::Constant(bytes) => {
            check_text(bytes)?;
            Checked::Constant(bytes)
        }
    })
}

fn check_text(text: &[u8]) -> Result<(), Fault> {
    let length = text.len();
    match i32::try_from(length) {
        Ok(_) => Ok(()),
        Err(_) => Err((
            None,
            format!("expected text below 2^31 bytes, was {length}"),
        )),
    }
}
