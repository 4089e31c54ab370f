//! Columns into bytes that `COPY ... FROM STDIN (FORMAT binary)` takes.

use super::numeric::Writer;
use super::object::{self, Objects};
use super::uuid7::Uuid7;
use super::{EPOCH_MICROSECONDS, NONE, SIGNATURE};
use crate::error::Error;
use crate::fixed::State;
use crate::ids::{Day, Uuid};
use crate::text::Table;

/// A column to be written.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Its name, for errors.
    pub name: &'a str,
    /// What its rows hold.
    pub cells: Cells<'a>,
    /// [`State::byte`]s of the rows: 1 is written as NULL, 2 and 3 cannot be written; without
    /// states every row has a value.
    pub state: Option<&'a [u8]>,
}

/// The values of a column to be written, and the type that its bytes are of.
#[derive(Debug, Clone, Copy)]
pub enum Cells<'a> {
    /// `uuid`, 16 bytes a row.
    Uuid(&'a [u8]),
    /// `uuid`, made while writing.
    Uuid7 {
        /// Milliseconds since 1970-01-01.
        unix_ms: u64,
        /// Where the counter starts, see [`Uuid7::from_random`].
        random: [u8; 16],
    },
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
    /// `bool`, the same in every row.
    BoolConst(bool),
    /// `timestamp` or `timestamptz`, microseconds since 1970-01-01, the same in every row.
    TimestampConst(i64),
    /// `text`, `varchar`, `json` or an enum, the same in every row.
    TextConst(&'a str),
    /// NULL of any type in every row.
    NullConst,
}

/// Hands out the bytes of a binary COPY, from the signature to the trailer, piece by piece.
///
/// Every value is checked before the first piece, so that no stream stops half-way for one.
#[derive(Debug)]
pub struct Encoder<'a> {
    columns: Vec<(Option<&'a [u8]>, Checked<'a>)>,
    count: i16,
    rows: usize,
    row: usize,
    row_bytes: usize,
    ended: bool,
}

/// Values that can be written: a whole column of them, or the bytes of a constant field.
#[derive(Debug)]
enum Checked<'a> {
    Uuid(&'a [Uuid]),
    Uuid7(Uuid7),
    Date(&'a [i32]),
    Decimal(&'a [i64], Writer),
    Int4(&'a [i32]),
    Int8(&'a [i64]),
    Bool(&'a [u8]),
    Text(&'a [u32], &'a Table),
    Objects(object::Writer<'a>),
    Constant(Vec<u8>),
}

impl<'a> Encoder<'a> {
    /// Returns the encoder of `rows` rows of these columns.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] naming column and row: a column of another length; a state of 2 or more;
    /// a value that its type does not hold, or that stands for an infinity in it.
    pub fn new(fields: &[Field<'a>], rows: usize) -> Result<Self, Error> {
        let count = i16::try_from(fields.len()).map_err(|_| Error::Encode {
            column: fields
                .last()
                .map(|field| field.name.to_owned())
                .unwrap_or_default(),
            row: None,
            what: format!("expected at most 32767 columns, was {}", fields.len()),
        })?;
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            let checked =
                check_state(field.state, rows).and_then(|()| check(field.cells, field.state, rows));
            let checked = checked.map_err(|Fault { row, what }| Error::Encode {
                column: field.name.to_owned(),
                row,
                what,
            })?;
            columns.push((field.state, checked));
        }
        let row_bytes = columns
            .iter()
            .map(|(_, cells)| cells.usual_bytes())
            .sum::<usize>()
            + 2;
        Ok(Self {
            columns,
            count,
            rows,
            row: 0,
            row_bytes,
            ended: false,
        })
    }

    /// Returns the next bytes, whole rows and not fewer than `at_least` unless they are the last;
    /// nothing after the trailer.
    pub fn next_piece(&mut self, at_least: usize) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        let left = (self.rows - self.row).saturating_mul(self.row_bytes);
        let mut out = Vec::with_capacity(at_least.min(left).saturating_add(self.row_bytes + 32));
        if self.row == 0 {
            out.extend_from_slice(&SIGNATURE);
            out.extend_from_slice(&[0; 8]);
        }
        while self.row < self.rows {
            // At least one row, so that pieces of no bytes come to an end, too.
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
                write_null(out);
            } else {
                cells.write(self.row, out);
            }
        }
    }
}

impl Checked<'_> {
    /// Returns how many bytes a field takes, or is likely to.
    fn usual_bytes(&self) -> usize {
        match self {
            Self::Uuid(_) | Self::Uuid7(_) => 20,
            Self::Date(_) | Self::Int4(_) => 8,
            Self::Decimal(..) => 40,
            Self::Int8(_) => 12,
            Self::Bool(_) => 5,
            Self::Text(..) => 24,
            Self::Objects(writer) => writer.usual_bytes(),
            Self::Constant(bytes) => bytes.len(),
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Uuid(values) => write_uuid(&at(values, row), out),
            Self::Uuid7(ids) => write_uuid(&ids.nth(u64::try_from(row).unwrap_or(u64::MAX)), out),
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
            Self::Constant(bytes) => out.extend_from_slice(bytes),
        }
    }
}

/// Returns the value of a row that is there: `check` compared the lengths.
fn at<T: Copy + Default>(values: &[T], row: usize) -> T {
    values.get(row).copied().unwrap_or_default()
}

fn write_null(out: &mut Vec<u8>) {
    out.extend_from_slice(&i32::from(NONE).to_be_bytes());
}

fn write_length(length: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&length.to_be_bytes());
}

fn write_word(word: [u8; 4], out: &mut Vec<u8>) {
    let [a, b, c, d] = word;
    out.extend_from_slice(&[0, 0, 0, 4, a, b, c, d]);
}

fn write_uuid(id: &Uuid, out: &mut Vec<u8>) {
    write_length(16, out);
    out.extend_from_slice(id);
}

/// Appends a text whose length `check` found to fit.
fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_length(u32::try_from(bytes.len()).unwrap_or_default(), out);
    out.extend_from_slice(bytes);
}

struct Fault {
    row: Option<usize>,
    what: String,
}

impl Fault {
    fn of_column(what: impl Into<String>) -> Self {
        Self {
            row: None,
            what: what.into(),
        }
    }
}

fn check_state(state: Option<&[u8]>, rows: usize) -> Result<(), Fault> {
    let Some(state) = state else { return Ok(()) };
    check_length(state.len(), rows, "states")?;
    let right = |&state: &u8| state <= State::Null.byte();
    check_each(state, None, right, "state 0 or 1")
}

fn check_length(actual: usize, expected: usize, unit: &str) -> Result<(), Fault> {
    if actual == expected {
        return Ok(());
    }
    Err(Fault::of_column(format!(
        "expected {expected} {unit}, was {actual}"
    )))
}

/// Checks every value that will be written; the value in a row of NULL means nothing.
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
        Some((row, value)) => Err(Fault {
            row: Some(row),
            what: format!("expected {expected}, was {value}"),
        }),
    }
}

fn check<'a>(cells: Cells<'a>, state: Option<&[u8]>, rows: usize) -> Result<Checked<'a>, Fault> {
    let same_length = |actual| check_length(actual, rows, "rows");
    Ok(match cells {
        Cells::Uuid(bytes) => {
            let (values, rest) = bytes.as_chunks();
            if values.len() != rows || !rest.is_empty() {
                let actual = bytes.len();
                let what = format!("expected {rows} rows of 16 bytes, was {actual} bytes");
                return Err(Fault::of_column(what));
            }
            Checked::Uuid(values)
        }
        Cells::Uuid7 { unix_ms, random } => Uuid7::from_random(unix_ms, random)
            .map(Checked::Uuid7)
            .ok_or_else(|| Fault::of_column(format!("expected 48 bits of time, was {unix_ms}")))?,
        Cells::Date(values) => {
            same_length(values.len())?;
            // PostgreSQL's i32::MIN is -infinity; its i32::MAX is out of reach.
            let finite = |day: &i32| *day > i32::MIN + Day::POSTGRES_EPOCH;
            check_each(values, state, finite, "a finite date")?;
            Checked::Date(values)
        }
        Cells::Decimal { values, scale } => {
            same_length(values.len())?;
            let writer = Writer::from_scale(scale);
            let fault = || Fault::of_column(format!("expected a scale up to 16383, was {scale}"));
            Checked::Decimal(values, writer.ok_or_else(fault)?)
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
            let known = |&code: &u32| usize::try_from(code).is_ok_and(|code| code < texts);
            check_each(codes, state, known, &format!("a code below {texts}"))?;
            table.iter().try_for_each(check_text)?;
            Checked::Text(codes, table)
        }
        Cells::Objects(objects) => object::Writer::new(objects, rows)
            .map(Checked::Objects)
            .map_err(|(row, what)| Fault { row, what })?,
        Cells::BoolConst(truth) => Checked::Constant(vec![0, 0, 0, 1, u8::from(truth)]),
        Cells::TimestampConst(since) => {
            let finite = since
                .checked_sub(EPOCH_MICROSECONDS)
                .filter(|&since| since > i64::MIN);
            let fault = || Fault::of_column(format!("expected a finite timestamp, was {since}"));
            let mut out = vec![0, 0, 0, 8];
            out.extend_from_slice(&finite.ok_or_else(fault)?.to_be_bytes());
            Checked::Constant(out)
        }
        Cells::TextConst(text) => {
            check_text(text.as_bytes())?;
            let mut out = Vec::with_capacity(4 + text.len());
            write_bytes(text.as_bytes(), &mut out);
            Checked::Constant(out)
        }
        Cells::NullConst => {
            let mut out = Vec::with_capacity(4);
            write_null(&mut out);
            Checked::Constant(out)
        }
    })
}

fn check_text(text: &[u8]) -> Result<(), Fault> {
    if i32::try_from(text.len()).is_ok() {
        return Ok(());
    }
    Err(Fault::of_column(format!(
        "expected text below 2^31 bytes, was {}",
        text.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    const TRAILER: [u8; 2] = [0xff, 0xff];

    fn field(cells: Cells<'_>) -> Field<'_> {
        Field {
            name: "x",
            cells,
            state: None,
        }
    }

    fn rows_of(fields: &[Field<'_>], rows: usize) -> Vec<u8> {
        let bytes = Encoder::new(fields, rows)
            .unwrap()
            .next_piece(usize::MAX)
            .unwrap();
        assert!(bytes.starts_with(&HEADER) && bytes.ends_with(&TRAILER));
        bytes[HEADER.len()..bytes.len() - TRAILER.len()].to_vec()
    }

    fn refusal(field: Field<'_>, rows: usize) -> String {
        Encoder::new(&[field], rows).unwrap_err().to_string()
    }

    #[test]
    fn no_rows_are_a_header_and_a_trailer() {
        let mut encoder = Encoder::new(&[field(Cells::Date(&[]))], 0).unwrap();
        assert_eq!(
            encoder.next_piece(1).unwrap(),
            [HEADER.as_slice(), &TRAILER].concat()
        );
        assert_eq!(encoder.next_piece(1), None);
    }

    #[test]
    fn state_1_is_null_in_any_column() {
        let state = [1, 0];
        let nullable = |cells| Field {
            name: "x",
            cells,
            state: Some(&state),
        };
        let null = [0xff, 0xff, 0xff, 0xff];
        let fields = [
            nullable(Cells::Bool(&[0, 1])),
            nullable(Cells::BoolConst(true)),
        ];
        let truth = [0, 0, 0, 1, 1];
        let rows = [&[0, 2], &null[..], &null, &[0, 2], &truth, &truth].concat();
        assert_eq!(rows_of(&fields, 2), rows);
    }

    #[test]
    fn columns_of_another_length_are_refused() {
        let one = Cells::Decimal {
            values: &[1],
            scale: 2,
        };
        let integers = [Cells::Date(&[1]), Cells::Int4(&[1]), Cells::Int8(&[1])];
        for cells in integers.into_iter().chain([one, Cells::Bool(&[1])]) {
            let text = "column `x`: expected 2 rows, was 1";
            assert_eq!(refusal(field(cells), 2), text);
        }
        let text = "column `x`: expected 1 rows of 16 bytes, was 17 bytes";
        assert_eq!(refusal(field(Cells::Uuid(&[0; 17])), 1), text);
        let short = Field {
            name: "x",
            cells: Cells::NullConst,
            state: Some(&[0]),
        };
        assert_eq!(refusal(short, 2), "column `x`: expected 2 states, was 1");
    }

    #[test]
    fn what_stands_in_a_row_of_null_means_nothing() {
        let table = Table::default();
        let cells = [
            Cells::Text {
                codes: &[9],
                table: &table,
            },
            Cells::Date(&[i32::MIN]),
            Cells::Bool(&[2]),
        ];
        for cells in cells {
            let null = Field {
                name: "x",
                cells,
                state: Some(&[1]),
            };
            assert_eq!(rows_of(&[null], 1), [0, 1, 0xff, 0xff, 0xff, 0xff]);
        }
    }

    #[test]
    fn values_that_cannot_be_written_are_refused() {
        // Day -2147472691 would be i32::MIN of PostgreSQL, which is -infinity; one more is written.
        let days = [0, i32::MIN + 10957];
        let text = "column `x`, row 1: expected a finite date, was -2147472691";
        assert_eq!(refusal(field(Cells::Date(&days)), 2), text);
        assert!(Encoder::new(&[field(Cells::Date(&[i32::MIN + 10958]))], 1).is_ok());
        let text = "column `x`, row 0: expected bool 0 or 1, was 2";
        assert_eq!(refusal(field(Cells::Bool(&[2])), 1), text);
        let state = Field {
            name: "x",
            cells: Cells::Int4(&[0]),
            state: Some(&[3]),
        };
        assert_eq!(
            refusal(state, 1),
            "column `x`, row 0: expected state 0 or 1, was 3"
        );
        let text = Cells::Text {
            codes: &[0],
            table: &Table::default(),
        };
        let what = "column `x`, row 0: expected a code below 0, was 0";
        assert_eq!(refusal(field(text), 1), what);
        let fine = Cells::Decimal {
            values: &[],
            scale: 16384,
        };
        let what = "column `x`: expected a scale up to 16383, was 16384";
        assert_eq!(refusal(field(fine), 0), what);
        assert!(Encoder::new(&[field(Cells::TimestampConst(i64::MIN))], 0).is_err());
        let late = Cells::Uuid7 {
            unix_ms: 1 << 48,
            random: [0; 16],
        };
        assert!(Encoder::new(&[field(late)], 0).is_err());
    }
}
