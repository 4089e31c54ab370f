//! JSON objects of numbers as text, such as `{"Energy":0.250000,"Technology":0.750000}`.

use super::encode::Fault;
use crate::fixed::{MAX_SCALE, TEXT_BYTES, text_in};
use crate::text::Table;

/// Bytes that a number may take: of a float sign, 17 digits, a point and `e-308`.
const MOST_NUMBER_BYTES: usize = TEXT_BYTES;

/// The byte before the text of a `jsonb` on the wire. Source: PostgreSQL,
/// src/backend/utils/adt/jsonb.c, `jsonb_recv`.
const JSONB_VERSION: u8 = 1;

/// A column of JSON objects: each row has some of the names, each with a number.
#[derive(Debug, Clone, Copy)]
pub struct Objects<'a> {
    /// The names, in the order in which they are written.
    pub names: &'a Table,
    /// Row by row, as many in each as there are names.
    pub numbers: Numbers<'a>,
    /// Whether a row has a name, 0 or 1, in the order of `numbers`.
    pub present: &'a [u8],
    /// Whether the column is of type `jsonb`, not `json`.
    pub is_jsonb: bool,
}

/// The numbers of objects.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    /// Mantissas in units of `10^-scale`; as many decimals are written.
    Decimals(&'a [i64], u32),
    /// Floats; the shortest text that reads back as the same float is written.
    Floats(&'a [f64]),
}

/// Writes the objects of a column that was checked.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    /// Each name as written in an object: quoted, with its colon.
    keys: Vec<Vec<u8>>,
    numbers: Numbers<'a>,
    present: &'a [u8],
    is_jsonb: bool,
}

impl Numbers<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Decimals(values, _) => values.len(),
            Self::Floats(values) => values.len(),
        }
    }

    /// Returns the first fault of the cells.
    fn fault(&self, names: usize, present: &[u8]) -> Option<Fault> {
        match self {
            Self::Decimals(_, scale) => (*scale > MAX_SCALE).then(|| {
                let what = format!("expected a scale up to {MAX_SCALE}, was {scale}");
                (None, what)
            }),
            Self::Floats(values) => {
                let mut cells = values.iter().zip(present).enumerate();
                let (at, (value, _)) =
                    cells.find(|(_, (value, truth))| **truth == 1 && !value.is_finite())?;
                let what = format!("expected a finite number, was {value}");
                Some((at.checked_div(names), what))
            }
        }
    }

    fn write(&self, at: usize, out: &mut Vec<u8>) {
        match self {
            Self::Decimals(values, scale) => {
                let value = values.get(at).copied().unwrap_or_default();
                let mut buffer = [0; TEXT_BYTES];
                out.extend_from_slice(text_in(&mut buffer, value, *scale).as_bytes());
            }
            Self::Floats(values) => {
                let value = values.get(at).copied().unwrap_or_default();
                out.extend_from_slice(format!("{value:?}").as_bytes());
            }
        }
    }
}

impl<'a> Writer<'a> {
    /// Returns the writer of `rows` objects.
    pub(super) fn new(objects: Objects<'a>, rows: usize) -> Result<Self, Fault> {
        let Objects {
            names,
            numbers,
            present,
            is_jsonb,
        } = objects;
        let count = names.len();
        if let Some(fault) = numbers.fault(count, present) {
            return Err(fault);
        }
        let expected = rows.saturating_mul(count);
        for actual in [numbers.len(), present.len()] {
            if actual != expected {
                let what = format!("expected {expected} values in {rows} rows, was {actual}");
                return Err((None, what));
            }
        }
        let keys: Vec<_> = names.iter().map(key).collect();
        let bytes = keys.iter().map(|key| key.len() + MOST_NUMBER_BYTES + 1);
        let most = bytes.sum::<usize>();
        if names.iter().any(|name| name.contains(&0)) || i32::try_from(most + 3).is_err() {
            let what = "expected names that jsonb can hold, without a zero character";
            return Err((None, what.to_owned()));
        }
        if let Some((at, truth)) = present.iter().enumerate().find(|&(_, &truth)| truth > 1) {
            let row = at.checked_div(count);
            return Err((row, format!("expected presence 0 or 1, was {truth}")));
        }
        Ok(Self {
            keys,
            numbers,
            present,
            is_jsonb,
        })
    }

    /// Appends the field of a row, its length included.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        if self.is_jsonb {
            out.push(JSONB_VERSION);
        }
        out.push(b'{');
        let first = row.saturating_mul(self.keys.len());
        let cells = first..first.saturating_add(self.keys.len());
        let present = self.present.get(cells).unwrap_or_default();
        let cells = (first..).zip(&self.keys).zip(present);
        let mut comma = &b""[..];
        for ((at, key), _) in cells.filter(|&(_, &truth)| truth == 1) {
            out.extend_from_slice(comma);
            comma = b",";
            out.extend_from_slice(key);
            self.numbers.write(at, out);
        }
        out.push(b'}');
        let length = u32::try_from(out.len() - start - 4).unwrap_or_default();
        if let Some(place) = out.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// Returns a name in quotes, escaped for JSON, with a colon.
fn key(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 3);
    out.push(b'"');
    for &byte in name {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.extend_from_slice(b"\":");
    out
}
