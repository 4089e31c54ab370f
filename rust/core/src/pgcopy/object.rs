//! JSON objects of numbers as text, such as `{"Energy":0.250000,"Technology":0.750000}`.

use crate::text::Table;

/// The most decimals that an object's values may have.
const MAX_SCALE: u32 = 18;

/// Bytes that a value may take: sign, 19 digits and a point.
const MAX_VALUE_BYTES: usize = 21;

/// Bytes that a float may take: sign, 17 digits, a point and `e-308`.
const MAX_FLOAT_BYTES: usize = 24;

/// What stands before the text of a `jsonb` on the wire. Source: PostgreSQL,
/// src/backend/utils/adt/jsonb.c, `jsonb_recv`.
const JSONB_VERSION: u8 = 1;

/// A column of JSON objects: each row has some of the names, each with a decimal.
#[derive(Debug, Clone, Copy)]
pub struct Objects<'a> {
    /// The names, in the order in which they are written.
    pub names: &'a Table,
    /// Mantissas in units of `10^-scale`, row by row, as many in each as there are names.
    pub values: &'a [i64],
    /// Decimals of the mantissas; as many are written.
    pub scale: u32,
    /// Whether a row has a name, 0 or 1, in the order of `values`.
    pub present: &'a [u8],
    /// Whether the column is of type `jsonb`, not `json`.
    pub is_jsonb: bool,
}

/// A column of JSON objects like [`Objects`], each name with a float.
#[derive(Debug, Clone, Copy)]
pub struct FloatObjects<'a> {
    /// The names, in the order in which they are written.
    pub names: &'a Table,
    /// Row by row, as many in each as there are names; the shortest text that reads back as the
    /// same float is written.
    pub values: &'a [f64],
    /// Whether a row has a name, 0 or 1, in the order of `values`.
    pub present: &'a [u8],
    /// Whether the column is of type `jsonb`, not `json`.
    pub is_jsonb: bool,
}

/// Writes the objects of a column that was found right.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    /// Each name as it stands in an object: quoted, with its colon.
    keys: Vec<Vec<u8>>,
    numbers: Numbers<'a>,
    present: &'a [u8],
    is_jsonb: bool,
}

/// The values of objects, row by row.
#[derive(Debug)]
enum Numbers<'a> {
    Decimals(&'a [i64], usize),
    Floats(&'a [f64]),
}

impl Numbers<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Decimals(values, _) => values.len(),
            Self::Floats(values) => values.len(),
        }
    }

    fn usual_bytes(&self) -> usize {
        match self {
            Self::Decimals(_, scale) => 3 + scale,
            Self::Floats(_) => 20,
        }
    }

    fn write(&self, at: usize, out: &mut Vec<u8>) {
        match self {
            Self::Decimals(values, scale) => {
                write_decimal(values.get(at).copied().unwrap_or_default(), *scale, out);
            }
            Self::Floats(values) => {
                let value = values.get(at).copied().unwrap_or_default();
                out.extend_from_slice(format!("{value:?}").as_bytes());
            }
        }
    }
}

impl<'a> Writer<'a> {
    /// Returns the writer of `rows` objects, or what is wrong with them: a row, if it is of one.
    pub(super) fn new(objects: Objects<'a>, rows: usize) -> Result<Self, (Option<usize>, String)> {
        let Objects {
            names,
            values,
            scale,
            present,
            is_jsonb,
        } = objects;
        if scale > MAX_SCALE {
            return Err((
                None,
                format!("expected a scale up to {MAX_SCALE}, was {scale}"),
            ));
        }
        let scale = usize::try_from(scale).unwrap_or_default();
        let numbers = Numbers::Decimals(values, scale);
        Self::checked(names, numbers, present, is_jsonb, rows)
    }

    /// Returns the writer of `rows` objects of floats, or what is wrong with them.
    pub(super) fn of_floats(
        objects: FloatObjects<'a>,
        rows: usize,
    ) -> Result<Self, (Option<usize>, String)> {
        let FloatObjects {
            names,
            values,
            present,
            is_jsonb,
        } = objects;
        let wrong = values.iter().zip(present);
        let wrong = wrong
            .enumerate()
            .find(|(_, (value, truth))| **truth == 1 && !value.is_finite());
        if let Some((at, (value, _))) = wrong {
            let row = at.checked_div(names.len());
            return Err((row, format!("expected a finite number, was {value}")));
        }
        Self::checked(names, Numbers::Floats(values), present, is_jsonb, rows)
    }

    fn checked(
        names: &Table,
        numbers: Numbers<'a>,
        present: &'a [u8],
        is_jsonb: bool,
        rows: usize,
    ) -> Result<Self, (Option<usize>, String)> {
        let count = names.len();
        let expected = rows.saturating_mul(count);
        for actual in [numbers.len(), present.len()] {
            if actual != expected {
                let what = format!("expected {expected} values in {rows} rows, was {actual}");
                return Err((None, what));
            }
        }
        let keys: Vec<_> = names.iter().map(key).collect();
        let most = keys
            .iter()
            .map(|key| key.len() + MAX_VALUE_BYTES.max(MAX_FLOAT_BYTES) + 1)
            .sum::<usize>();
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

    /// Returns how many bytes an object is likely to take.
    pub(super) fn usual_bytes(&self) -> usize {
        let value = self.numbers.usual_bytes();
        6 + self
            .keys
            .iter()
            .map(|key| key.len() + value + 1)
            .sum::<usize>()
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
        let mut is_first = true;
        for ((at, key), &truth) in (first..).zip(&self.keys).zip(present) {
            if truth == 0 {
                continue;
            }
            if !is_first {
                out.push(b',');
            }
            is_first = false;
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

/// Returns a name in quotes, what JSON does not allow in them escaped, and a colon.
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

/// Appends a decimal with all its decimals and at least one digit before the point.
fn write_decimal(mantissa: i64, scale: usize, out: &mut Vec<u8>) {
    let mut text = [0; MAX_VALUE_BYTES];
    let mut rest = mantissa.unsigned_abs();
    let unit_place = scale + usize::from(scale > 0);
    let mut written = 0;
    for (place, byte) in text.iter_mut().rev().enumerate() {
        if rest == 0 && place > unit_place {
            break;
        }
        if place == scale && scale > 0 {
            *byte = b'.';
        } else {
            *byte = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        written += 1;
    }
    if mantissa < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(text.get(MAX_VALUE_BYTES - written..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: &[&str]) -> Table {
        let mut offsets = vec![0];
        for name in names {
            offsets.push(offsets.last().unwrap() + i64::try_from(name.len()).unwrap());
        }
        Table::from_parts("names", offsets, names.concat().into_bytes()).unwrap()
    }

    fn text_of(objects: Objects<'_>, rows: usize) -> Vec<String> {
        let writer = Writer::new(objects, rows).unwrap();
        let mut texts = Vec::new();
        for row in 0..rows {
            let mut out = vec![7];
            writer.write(row, &mut out);
            let length = u32::from_be_bytes(*out[1..].first_chunk().unwrap());
            assert_eq!(out.len(), 5 + usize::try_from(length).unwrap());
            texts.push(String::from_utf8(out[5..].to_vec()).unwrap());
        }
        texts
    }

    #[test]
    fn a_row_has_the_names_that_are_present() {
        let names = table(&["Energy", "ETFs"]);
        let objects = Objects {
            names: &names,
            values: &[250_000, 750_000, 1, 123_456, 0, 0],
            scale: 6,
            present: &[1, 1, 0, 1, 0, 0],
            is_jsonb: false,
        };
        assert_eq!(
            text_of(objects, 3),
            [
                r#"{"Energy":0.250000,"ETFs":0.750000}"#,
                r#"{"ETFs":0.123456}"#,
                "{}"
            ]
        );
    }

    #[test]
    fn a_jsonb_has_its_version_first() {
        let names = table(&["a"]);
        let objects = Objects {
            names: &names,
            values: &[-15],
            scale: 1,
            present: &[1],
            is_jsonb: true,
        };
        assert_eq!(text_of(objects, 1), ["\u{1}{\"a\":-1.5}"]);
    }

    #[test]
    fn floats_are_written_as_their_shortest_text() {
        let names = table(&["a", "b"]);
        let objects = FloatObjects {
            names: &names,
            values: &[0.1, 0.1 + 0.2, -1e-7, 0.0, 1e300, f64::NAN],
            present: &[1, 1, 1, 1, 1, 0],
            is_jsonb: false,
        };
        let writer = Writer::of_floats(objects, 3).unwrap();
        let texts = [
            r#"{"a":0.1,"b":0.30000000000000004}"#,
            r#"{"a":-1e-7,"b":0.0}"#,
            r#"{"a":1e300}"#,
        ];
        for (row, text) in texts.into_iter().enumerate() {
            let mut out = Vec::new();
            writer.write(row, &mut out);
            assert_eq!(String::from_utf8(out[4..].to_vec()).unwrap(), text);
        }
        let present = &[1, 1, 1, 1, 1, 1];
        let refusal = Writer::of_floats(FloatObjects { present, ..objects }, 3).unwrap_err();
        let what = "expected a finite number, was NaN".to_owned();
        assert_eq!(refusal, (Some(2), what));
        let (row, what) = Writer::of_floats(objects, 2).unwrap_err();
        assert_eq!((row, &*what), (None, "expected 4 values in 2 rows, was 6"));
    }

    #[test]
    fn decimals_are_written_to_the_last_digit() {
        let cases = [
            (0, 6, "0.000000"),
            (-1, 6, "-0.000001"),
            (1_000_000, 6, "1.000000"),
            (i64::MAX, 0, "9223372036854775807"),
            (i64::MIN, 0, "-9223372036854775808"),
            (i64::MIN, 18, "-9.223372036854775808"),
            (0, 0, "0"),
            (-120, 1, "-12.0"),
        ];
        for (mantissa, scale, text) in cases {
            let mut out = Vec::new();
            write_decimal(mantissa, scale, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(
            key("a\"b\\c\n\u{e9}".as_bytes()),
            "\"a\\\"b\\\\c\\u000a\u{e9}\":".as_bytes()
        );
    }

    #[test]
    fn no_names_make_empty_objects() {
        let names = table(&[]);
        let objects = Objects {
            names: &names,
            values: &[],
            scale: 6,
            present: &[],
            is_jsonb: false,
        };
        assert_eq!(text_of(objects, 2), ["{}", "{}"]);
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let names = table(&["a"]);
        let right = Objects {
            names: &names,
            values: &[1, 2],
            scale: 6,
            present: &[1, 0],
            is_jsonb: false,
        };
        let refusal = |objects| Writer::new(objects, 2).unwrap_err();
        assert_eq!(
            refusal(Objects {
                values: &[1],
                ..right
            }),
            (None, "expected 2 values in 2 rows, was 1".to_owned())
        );
        assert_eq!(
            refusal(Objects {
                present: &[1],
                ..right
            }),
            (None, "expected 2 values in 2 rows, was 1".to_owned())
        );
        assert_eq!(
            refusal(Objects {
                present: &[1, 2],
                ..right
            }),
            (Some(1), "expected presence 0 or 1, was 2".to_owned())
        );
        assert_eq!(
            refusal(Objects { scale: 19, ..right }),
            (None, "expected a scale up to 18, was 19".to_owned())
        );
        let zero = table(&["a\0"]);
        assert!(
            refusal(Objects {
                names: &zero,
                ..right
            })
            .1
            .contains("zero character")
        );
    }
}
