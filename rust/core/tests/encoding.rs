//! What an encoder writes, and what it refuses to.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests stop at what is wrong"
)]

use batchcore_core::pgcopy::{Cells, Encoder, Field, Numbers, Objects};
use batchcore_core::text::Table;

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
    let mut encoder = Encoder::new(fields, rows).unwrap();
    let bytes = encoder.next_piece(usize::MAX).unwrap();
    assert!(bytes.starts_with(&HEADER) && bytes.ends_with(&TRAILER));
    bytes[HEADER.len()..bytes.len() - TRAILER.len()].to_vec()
}

fn assert_refused(field: Field<'_>, rows: usize, what: &str) {
    let error = Encoder::new(&[field], rows).unwrap_err();
    assert_eq!(error.to_string(), format!("column `x`{what}"));
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
    let state = Some(&[1, 0][..]);
    let cells = [Cells::Bool(&[0, 1]), Cells::Constant(&[1])];
    let fields = cells.map(|cells| Field {
        state,
        ..field(cells)
    });
    let null = [0xff, 0xff, 0xff, 0xff];
    let truth = [0, 0, 0, 1, 1];
    let rows = [&[0, 2], &null[..], &null, &[0, 2], &truth, &truth].concat();
    assert_eq!(rows_of(&fields, 2), rows);
}

#[test]
fn columns_of_another_length_are_refused() {
    let (values, scale) = (&[1][..], 2);
    for cells in [
        Cells::Date(&[1]),
        Cells::Int4(&[1]),
        Cells::Int8(&[1]),
        Cells::Decimal { values, scale },
        Cells::Bool(&[1]),
    ] {
        assert_refused(field(cells), 2, ": expected 2 rows, was 1");
    }
    let what = ": expected 1 rows of 16 bytes, was 17 bytes";
    assert_refused(field(Cells::Uuid(&[0; 17])), 1, what);
    let short = Field {
        state: Some(&[0]),
        ..field(Cells::Constant(&[]))
    };
    assert_refused(short, 2, ": expected 2 states, was 1");
}

#[test]
fn what_stands_in_a_row_of_null_means_nothing() {
    let (codes, table) = (&[9][..], &Table::default());
    for cells in [
        Cells::Text { codes, table },
        Cells::Date(&[i32::MIN]),
        Cells::Bool(&[2]),
    ] {
        let null = Field {
            state: Some(&[1]),
            ..field(cells)
        };
        assert_eq!(rows_of(&[null], 1), [0, 1, 0xff, 0xff, 0xff, 0xff]);
    }
}

#[test]
fn values_that_cannot_be_written_are_refused() {
    // Day -2147472691 would be i32::MIN of PostgreSQL, which is -infinity; one more is written.
    let days = [0, i32::MIN + 10957];
    let what = ", row 1: expected a finite date, was -2147472691";
    assert_refused(field(Cells::Date(&days)), 2, what);
    assert!(Encoder::new(&[field(Cells::Date(&[i32::MIN + 10958]))], 1).is_ok());
    let what = ", row 0: expected bool 0 or 1, was 2";
    assert_refused(field(Cells::Bool(&[2])), 1, what);
    let odd = Field {
        state: Some(&[3]),
        ..field(Cells::Int4(&[0]))
    };
    assert_refused(odd, 1, ", row 0: expected state 0 or 1, was 3");
    let (codes, table) = (&[0][..], &Table::default());
    let text = Cells::Text { codes, table };
    let what = ", row 0: expected a code below 0, was 0";
    assert_refused(field(text), 1, what);
    let (values, scale) = (&[][..], 16384);
    let what = ": expected a scale up to 16383, was 16384";
    assert_refused(field(Cells::Decimal { values, scale }), 0, what);
}

fn table(names: &[&str]) -> Table {
    let mut offsets = vec![0];
    for name in names {
        offsets.push(offsets.last().unwrap() + i64::try_from(name.len()).unwrap());
    }
    Table::from_parts("names", offsets, names.concat().into_bytes()).unwrap()
}

fn assert_written(objects: Objects<'_>, texts: &[&str]) {
    let row = |text: &&str| {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[0, 1], &length[..], text.as_bytes()].concat()
    };
    let rows: Vec<_> = texts.iter().flat_map(row).collect();
    let found = rows_of(&[field(Cells::Objects(objects))], texts.len());
    assert_eq!(
        String::from_utf8_lossy(&found),
        String::from_utf8_lossy(&rows)
    );
}

#[test]
fn a_row_has_the_names_that_are_present() {
    let objects = Objects {
        names: &table(&["Energy", "ETFs"]),
        numbers: Numbers::Decimals(&[250_000, 750_000, 1, 123_456, 0, 0], 6),
        present: &[1, 1, 0, 1, 0, 0],
        is_jsonb: false,
    };
    let both = r#"{"Energy":0.250000,"ETFs":0.750000}"#;
    assert_written(objects, &[both, r#"{"ETFs":0.123456}"#, "{}"]);
    let nothing = Objects {
        names: &table(&[]),
        numbers: Numbers::Decimals(&[], 6),
        present: &[],
        is_jsonb: false,
    };
    assert_written(nothing, &["{}", "{}"]);
}

#[test]
fn a_jsonb_has_its_version_first() {
    let objects = Objects {
        names: &table(&["a"]),
        numbers: Numbers::Decimals(&[-15], 1),
        present: &[1],
        is_jsonb: true,
    };
    assert_written(objects, &["\u{1}{\"a\":-1.5}"]);
}

#[test]
fn floats_are_written_as_their_shortest_text() {
    let objects = Objects {
        names: &table(&["a", "b"]),
        numbers: Numbers::Floats(&[0.1, 0.1 + 0.2, -1e-7, 0.0, 1e300, f64::NAN]),
        present: &[1, 1, 1, 1, 1, 0],
        is_jsonb: false,
    };
    let texts = [
        r#"{"a":0.1,"b":0.30000000000000004}"#,
        r#"{"a":-1e-7,"b":0.0}"#,
        r#"{"a":1e300}"#,
    ];
    assert_written(objects, &texts);
    let present = &[1, 1, 1, 1, 1, 1];
    let odd = Cells::Objects(Objects { present, ..objects });
    assert_refused(field(odd), 3, ", row 2: expected a finite number, was NaN");
    let what = ": expected 4 values in 2 rows, was 6";
    assert_refused(field(Cells::Objects(objects)), 2, what);
}

#[test]
fn names_are_escaped() {
    let objects = Objects {
        names: &table(&["a\"b\\c\n\u{e9}"]),
        numbers: Numbers::Decimals(&[1], 0),
        present: &[1],
        is_jsonb: false,
    };
    assert_written(objects, &["{\"a\\\"b\\\\c\\u000a\u{e9}\":1}"]);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let right = Objects {
        names: &table(&["a"]),
        numbers: Numbers::Decimals(&[1, 2], 6),
        present: &[1, 0],
        is_jsonb: false,
    };
    let numbers = |values, scale| Objects {
        numbers: Numbers::Decimals(values, scale),
        ..right
    };
    let present = |present| Objects { present, ..right };
    let names = &table(&["a\0"]);
    let zero = "expected names that jsonb can hold, without a zero character";
    for (objects, row, what) in [
        (numbers(&[1], 6), None, "expected 2 values in 2 rows, was 1"),
        (present(&[1]), None, "expected 2 values in 2 rows, was 1"),
        (present(&[1, 2]), Some(1), "expected presence 0 or 1, was 2"),
        (
            numbers(&[1, 2], 19),
            None,
            "expected a scale up to 18, was 19",
        ),
        (Objects { names, ..right }, None, zero),
    ] {
        let place = row.map_or_else(String::new, |row: usize| format!(", row {row}"));
        assert_refused(
            field(Cells::Objects(objects)),
            2,
            &format!("{place}: {what}"),
        );
    }
}
