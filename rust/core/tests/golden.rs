//! Bytes of a real server (`tests/golden`): decoded to what it says they are, and encoded to them.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests stop at what is wrong"
)]

use std::fs;
use std::path::Path;

use batchcore_core::error::{Error, Result};
use batchcore_core::fixed::State;
use batchcore_core::pgcopy::{Cells, Column, ColumnSpec, Decoder, Encoder, Field, Frame, Kind};
use batchcore_core::text::{Intern, Table};
use serde_json::Value;

/// One pair of files.
struct Golden {
    name: String,
    bytes: Vec<u8>,
    specs: Vec<ColumnSpec>,
    rows: Vec<Vec<Option<String>>>,
}

impl Golden {
    fn from_name(name: &str) -> Self {
        let stem = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden")
            .join(name);
        let bytes = fs::read(stem.with_extension("copy")).unwrap();
        let text = fs::read_to_string(stem.with_extension("json")).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let specs = json["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(spec)
            .collect();
        let cell = |value: &Value| value.as_str().map(str::to_owned);
        let row = |row: &Value| row.as_array().unwrap().iter().map(cell).collect();
        let rows = json["rows"].as_array().unwrap().iter().map(row).collect();
        Self {
            name: name.to_owned(),
            bytes,
            specs,
            rows,
        }
    }

    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
        let paths = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = paths
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "copy")
            })
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert!(
            names.iter().any(|name| name == "positions"),
            "golden files are missing: {names:?}"
        );
        names.iter().map(|name| Self::from_name(name)).collect()
    }

    fn decoded<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Frame> {
        let mut decoder = Decoder::new(self.specs.clone());
        for piece in pieces {
            decoder.push(piece)?;
        }
        decoder.finish()
    }
}

fn spec(json: &Value) -> ColumnSpec {
    let kind = match json["kind"].as_str().unwrap() {
        "uuid" => Kind::Uuid,
        "date" => Kind::Date,
        "numeric" => Kind::Numeric {
            scale: json["scale"].as_u64().unwrap().try_into().unwrap(),
        },
        "text" => Kind::Text,
        "bool" => Kind::Bool,
        "int2" => Kind::Int2,
        "int4" => Kind::Int4,
        "int8" => Kind::Int8,
        "timestamp" => Kind::Timestamp,
        other => panic!("no kind is called {other}"),
    };
    ColumnSpec {
        name: json["name"].as_str().unwrap().to_owned(),
        kind,
    }
}

/// What a cell has to hold: text of the value or mantissa, or the state that it has instead.
fn expected(kind: Kind, text: Option<&str>) -> std::result::Result<String, State> {
    let text = text.ok_or(State::Null)?;
    if matches!(
        text,
        "NaN" | "Infinity" | "-Infinity" | "infinity" | "-infinity"
    ) {
        return Err(State::NonFinite);
    }
    match kind {
        Kind::Uuid | Kind::Text | Kind::Bool | Kind::Int2 | Kind::Int4 | Kind::Int8 => {
            Ok(text.to_owned())
        }
        Kind::Date => text.parse::<i32>().map(|days| days.to_string()),
        Kind::Timestamp => text.parse::<i64>().map(|since| since.to_string()),
        Kind::Numeric { scale } => {
            let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
            let decimals = decimals.trim_end_matches('0');
            let missing = usize::try_from(scale).unwrap().checked_sub(decimals.len());
            let zeros = "0".repeat(missing.ok_or(State::NotRepresentable)?);
            format!("{whole}{decimals}{zeros}")
                .parse::<i64>()
                .map(|mantissa| mantissa.to_string())
        }
        Kind::Float8 { .. } => panic!("no file holds doubles"),
    }
    .map_err(|_| State::NotRepresentable)
}

/// What a cell holds, in the same terms.
fn found(column: &Column, row: usize) -> std::result::Result<String, State> {
    let text = match column {
        Column::Uuid { values, .. } => {
            let id = u128::from_be_bytes(values[row * 16..][..16].try_into().unwrap());
            let digits = format!("{id:032x}");
            let parts = [
                &digits[..8],
                &digits[8..12],
                &digits[12..16],
                &digits[16..20],
            ];
            format!("{}-{}", parts.join("-"), &digits[20..])
        }
        Column::Date { values, .. } => values[row].to_string(),
        Column::Decimal { values, .. }
        | Column::Rounded { values, .. }
        | Column::Int { values, .. }
        | Column::Timestamp { values, .. } => values[row].to_string(),
        Column::Text { codes, table, .. } => table.text(codes[row]).unwrap_or_default().to_owned(),
        Column::Bool { values, .. } => ["false", "true"][usize::from(values[row])].to_owned(),
    };
    match State::from_byte(column.state()[row]).unwrap() {
        State::Value => Ok(text),
        state => {
            let nil = match column {
                Column::Uuid { .. } => "00000000-0000-0000-0000-000000000000",
                Column::Bool { .. } => "false",
                Column::Text { codes, .. } => {
                    assert_eq!(codes[row], 0);
                    &text
                }
                _ => "0",
            };
            assert_eq!(text, nil, "the value of a cell in state {state:?}");
            Err(state)
        }
    }
}

#[test]
fn golden_bytes_decode_to_what_the_server_says() {
    for golden in Golden::all() {
        let frame = golden.decoded([golden.bytes.as_slice()]).unwrap();
        assert_eq!(
            frame.rows,
            u64::try_from(golden.rows.len()).unwrap(),
            "{}",
            golden.name
        );
        assert_eq!(frame.columns.len(), golden.specs.len(), "{}", golden.name);
        for (at, (spec, (name, column))) in golden.specs.iter().zip(&frame.columns).enumerate() {
            assert_eq!(name, &spec.name);
            assert_eq!(column.state().len(), golden.rows.len(), "{}", golden.name);
            for (row, cells) in golden.rows.iter().enumerate() {
                let text = cells[at].as_deref();
                let case = format!("{}, column {name}, row {row}: {text:?}", golden.name);
                assert_eq!(found(column, row), expected(spec.kind, text), "{case}");
            }
        }
    }
}

#[test]
fn every_split_of_golden_bytes_gives_the_same_frame() {
    for golden in Golden::all() {
        let whole = golden.decoded([golden.bytes.as_slice()]).unwrap();
        for at in 0..=golden.bytes.len() {
            let (head, tail) = golden.bytes.split_at(at);
            assert_eq!(
                golden.decoded([head, tail]).as_ref(),
                Ok(&whole),
                "{} at {at}",
                golden.name
            );
        }
        for size in 1..30 {
            let frame = golden.decoded(golden.bytes.chunks(size));
            assert_eq!(frame.as_ref(), Ok(&whole), "{} by {size}", golden.name);
        }
    }
}

#[test]
fn golden_bytes_cut_off_anywhere_are_refused() {
    for golden in Golden::all() {
        for end in 0..golden.bytes.len() {
            let error = golden.decoded([&golden.bytes[..end]]).unwrap_err();
            let Error::Decode { what, .. } = error else {
                panic!("{error}")
            };
            assert!(
                what.starts_with("expected a trailer"),
                "{} at {end}: {what}",
                golden.name
            );
        }
    }
}

#[test]
fn bytes_after_the_trailer_are_refused() {
    let golden = Golden::from_name("empty");
    for pieces in [
        [golden.bytes.as_slice(), &[0]],
        [&[golden.bytes.as_slice(), &[0]].concat(), &[]],
    ] {
        let text = "binary copy, row 0: expected no bytes after the trailer";
        assert_eq!(golden.decoded(pieces).unwrap_err().to_string(), text);
    }
}

#[test]
fn columns_of_another_query_are_refused() {
    let mut golden = Golden::from_name("positions");
    golden.specs.pop();
    let error = golden.decoded([golden.bytes.as_slice()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "binary copy, row 0: expected 9 fields, was 10"
    );
    golden.specs.push(ColumnSpec {
        name: "deleted_at".to_owned(),
        kind: Kind::Date,
    });
    let error = golden.decoded([golden.bytes.as_slice()]).unwrap_err();
    // Rows 0 to 3 have a NULL there: `deleted_at` is set where 1 + row is a multiple of 5.
    let text = "binary copy, row 4, column `deleted_at`: expected 4 bytes, was 8";
    assert_eq!(error.to_string(), text);
}

#[test]
fn an_error_stays() {
    let golden = Golden::from_name("bool");
    let mut decoder = Decoder::new(golden.specs.clone());
    let mut bytes = golden.bytes.clone();
    // 19 bytes of header, 2 of field count, 4 of length: the first value is at 25.
    bytes[25] = 2;
    let error = decoder.push(&bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "binary copy, row 0, column `x`: expected bool 0 or 1, was 2"
    );
    assert_eq!(decoder.push(&golden.bytes), Err(error.clone()));
    assert_eq!(decoder.finish(), Err(error));
}

#[test]
fn headers_that_ask_for_more_are_refused_and_extensions_skipped() {
    let golden = Golden::from_name("int4");
    let whole = golden.decoded([golden.bytes.as_slice()]).unwrap();
    let with_header = |flags: u32, extension: i32, skipped: &[u8]| {
        let header = [flags.to_be_bytes(), extension.to_be_bytes()].concat();
        [&golden.bytes[..11], &header, skipped, &golden.bytes[19..]].concat()
    };
    let extended = with_header(0x0000_FFFF, 5, b"extra");
    for size in 1..extended.len() {
        assert_eq!(golden.decoded(extended.chunks(size)).as_ref(), Ok(&whole));
    }
    let refusal = |bytes: Vec<u8>| golden.decoded([bytes.as_slice()]).unwrap_err().to_string();
    assert_eq!(
        refusal(with_header(1 << 16, 0, b"")),
        "binary copy, row 0: expected no critical flags, was 0x00010000"
    );
    assert_eq!(
        refusal(with_header(0, -1, b"")),
        "binary copy, row 0: expected an extension of 0 or more bytes, was -1"
    );
    assert_eq!(
        refusal(b"pgcopy of something else".to_vec()),
        "binary copy, row 0: expected the signature of a binary copy"
    );
}

/// A column of the golden file in the form that the encoder takes.
enum Source {
    Uuid(Vec<u8>),
    Date(Vec<i32>),
    Decimal(Vec<i64>, u32),
    Int4(Vec<i32>),
    Int8(Vec<i64>),
    Bool(Vec<u8>),
    Text(Vec<u32>, Table),
}

impl Source {
    /// Returns the column of texts; a NULL is whatever the text of a 0 is.
    fn from_texts(kind: Kind, texts: &[Option<String>]) -> Self {
        let mantissas = || {
            let parse = |text: &Option<String>| match expected(kind, text.as_deref()) {
                Err(State::Null) => 0,
                value => value.unwrap().parse().unwrap(),
            };
            texts.iter().map(parse).collect::<Vec<i64>>()
        };
        let days = || {
            mantissas()
                .into_iter()
                .map(|day| day.try_into().unwrap())
                .collect()
        };
        match kind {
            Kind::Uuid => {
                let hex = |text: &Option<String>| text.as_deref().unwrap_or("0").replace('-', "");
                let id = |text| u128::from_str_radix(&hex(text), 16).unwrap().to_be_bytes();
                Self::Uuid(texts.iter().flat_map(id).collect())
            }
            Kind::Date => Self::Date(days()),
            Kind::Numeric { scale } => Self::Decimal(mantissas(), scale),
            Kind::Int4 => Self::Int4(days()),
            Kind::Int8 => Self::Int8(mantissas()),
            Kind::Bool => {
                let truth = |text: &Option<String>| u8::from(text.as_deref() == Some("true"));
                Self::Bool(texts.iter().map(truth).collect())
            }
            Kind::Text => {
                let mut intern = Intern::default();
                let code = |text: &Option<String>| {
                    intern
                        .code(text.as_deref().unwrap_or_default().as_bytes())
                        .unwrap()
                };
                Self::Text(texts.iter().map(code).collect(), intern.into_table())
            }
            Kind::Int2 | Kind::Timestamp | Kind::Float8 { .. } => {
                panic!("no such column is written")
            }
        }
    }

    fn cells(&self) -> Cells<'_> {
        match self {
            Self::Uuid(values) => Cells::Uuid(values),
            Self::Date(values) => Cells::Date(values),
            Self::Decimal(values, scale) => Cells::Decimal {
                values,
                scale: *scale,
            },
            Self::Int4(values) => Cells::Int4(values),
            Self::Int8(values) => Cells::Int8(values),
            Self::Bool(values) => Cells::Bool(values),
            Self::Text(codes, table) => Cells::Text { codes, table },
        }
    }
}

fn encoded_again(golden: &Golden) -> Vec<u8> {
    let columns: Vec<_> = golden
        .specs
        .iter()
        .enumerate()
        .map(|(at, spec)| {
            let texts: Vec<_> = golden.rows.iter().map(|row| row[at].clone()).collect();
            let state: Vec<_> = texts.iter().map(|text| u8::from(text.is_none())).collect();
            (
                spec.name.as_str(),
                Source::from_texts(spec.kind, &texts),
                state,
            )
        })
        .collect();
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, source, state)| Field {
            name,
            cells: source.cells(),
            state: Some(state),
        })
        .collect();
    let mut encoder = Encoder::new(&fields, golden.rows.len()).unwrap();
    std::iter::from_fn(|| encoder.next_piece(1000))
        .flatten()
        .collect()
}

#[test]
fn encoding_gives_the_bytes_of_the_server() {
    for name in [
        "written",
        "uuid",
        "date_finite",
        "bool",
        "int4",
        "int8",
        "text",
        "no_columns",
    ] {
        let golden = Golden::from_name(name);
        assert!(encoded_again(&golden) == golden.bytes, "{name}");
    }
}

#[test]
fn numerics_are_encoded_as_the_server_does() {
    for scale in [0, 1, 2, 3, 4, 18] {
        let name = format!("mantissas_{scale}");
        let golden = Golden::from_name(&name);
        assert!(encoded_again(&golden) == golden.bytes, "{name}");
    }
}

#[test]
fn constants_are_encoded_as_the_server_does() {
    let golden = Golden::from_name("constants");
    let fields = [
        ("created_at", Cells::TimestampConst(1_709_210_096_789_000)),
        ("is_complete", Cells::BoolConst(true)),
        ("is_late", Cells::BoolConst(false)),
        ("label", Cells::TextConst("größe")),
        ("nothing", Cells::NullConst),
    ]
    .map(|(name, cells)| Field {
        name,
        cells,
        state: None,
    });
    let mut encoder = Encoder::new(&fields, golden.rows.len()).unwrap();
    assert_eq!(encoder.next_piece(usize::MAX).unwrap(), golden.bytes);
}
