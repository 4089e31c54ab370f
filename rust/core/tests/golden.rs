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
use batchcore_core::pgcopy::{
    Cells, Column, ColumnSpec, Decoder, Encoder, Field, Frame, Kind, Values,
};
use serde_json::Value;

#[path = "../../fuzz/src/lib.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "a crate of its own, read here as a module"
)]
mod targets;

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
        let list = |json: &Value| json.as_array().unwrap().clone();
        let cell = |value: &Value| value.as_str().map(str::to_owned);
        let row = |row: &Value| list(row).iter().map(cell).collect();
        Self {
            name: name.to_owned(),
            bytes,
            specs: list(&json["columns"]).iter().map(spec).collect(),
            rows: list(&json["rows"]).iter().map(row).collect(),
        }
    }

    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
        let files = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = files
            .filter_map(|file| file.unwrap().file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".copy").map(str::to_owned))
            .collect();
        names.sort();
        let is_there = names.iter().any(|name| name == "positions");
        assert!(is_there, "golden files are missing: {names:?}");
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
    if ["NaN", "Infinity", "-Infinity", "infinity", "-infinity"].contains(&text) {
        return Err(State::NonFinite);
    }
    match kind {
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
        _ => Ok(text.to_owned()),
    }
    .map_err(|_| State::NotRepresentable)
}

/// What a cell holds, in the same terms.
fn found(column: &Column, row: usize) -> std::result::Result<String, State> {
    let (text, nil) = match &column.values {
        Values::Bytes(values) if column.kind == Kind::Uuid => {
            let id = u128::from_be_bytes(values[row * 16..][..16].try_into().unwrap());
            let digits = format!("{id:032x}");
            let ends = [0..8, 8..12, 12..16, 16..20, 20..32];
            let parts = ends.map(|part| digits[part].to_owned());
            (parts.join("-"), "00000000-0000-0000-0000-000000000000")
        }
        Values::Bytes(values) => {
            let text = ["false", "true"][usize::from(values[row])];
            (text.to_owned(), "false")
        }
        Values::Days(values) => (values[row].to_string(), "0"),
        Values::Integers(values) => (values[row].to_string(), "0"),
        Values::Codes(codes) => {
            let [text, nil] = [codes[row], 0].map(|code| column.table.text(code));
            (text.unwrap_or_default().to_owned(), nil.unwrap_or_default())
        }
    };
    match State::from_byte(column.state[row]).unwrap() {
        State::Value => Ok(text),
        state => {
            assert_eq!(text, nil, "the value of a cell in state {state:?}");
            Err(state)
        }
    }
}

#[test]
fn golden_bytes_decode_to_what_the_server_says() {
    for golden in Golden::all() {
        let frame = golden.decoded([golden.bytes.as_slice()]).unwrap();
        let (rows, columns) = (golden.rows.len(), golden.specs.len());
        let sizes = (usize::try_from(frame.rows).unwrap(), frame.columns.len());
        assert_eq!(sizes, (rows, columns), "{}", golden.name);
        for (at, (spec, (name, column))) in golden.specs.iter().zip(&frame.columns).enumerate() {
            assert_eq!(name, &spec.name);
            assert_eq!(column.state.len(), golden.rows.len(), "{}", golden.name);
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
            let frame = golden.decoded([head, tail]);
            assert_eq!(frame.as_ref(), Ok(&whole), "{} at {at}", golden.name);
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
            let expected = what.starts_with("expected a trailer");
            assert!(expected, "{} at {end}: {what}", golden.name);
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
    let text = "binary copy, row 0: expected 9 fields, was 10";
    assert_eq!(error.to_string(), text);
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
    let text = "binary copy, row 0, column `x`: expected bool 0 or 1, was 2";
    assert_eq!(error.to_string(), text);
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
    for (bytes, what) in [
        (
            with_header(1 << 16, 0, b""),
            "expected no critical flags, was 0x00010000",
        ),
        (
            with_header(0, -1, b""),
            "expected an extension of 0 or more bytes, was -1",
        ),
        (
            b"pgcopy of something else".to_vec(),
            "expected the signature of a binary copy",
        ),
    ] {
        let error = golden.decoded([bytes.as_slice()]).unwrap_err();
        assert_eq!(error.to_string(), format!("binary copy, row 0: {what}"));
    }
}

/// Encodes what the bytes of a file decode to, which other tests compare with its texts.
fn encoded_again(golden: &Golden) -> Vec<u8> {
    let frame = golden.decoded([golden.bytes.as_slice()]).unwrap();
    let columns = || frame.columns.iter().map(|(_, column)| column);
    let int4 = |column: &Column| match &column.values {
        Values::Integers(values) if column.kind == Kind::Int4 => {
            values.iter().map(|&n| n.try_into().unwrap()).collect()
        }
        _ => Vec::new(),
    };
    let narrow: Vec<Vec<i32>> = columns().map(int4).collect();
    let mut fields = Vec::new();
    for (column, narrow) in columns().zip(&narrow) {
        let (mut field, _) = targets::written(column);
        if column.kind == Kind::Int4 {
            field.cells = Cells::Int4(narrow);
        }
        fields.push(field);
    }
    let mut encoder = Encoder::new(&fields, golden.rows.len()).unwrap();
    let pieces: Vec<_> = std::iter::from_fn(|| encoder.next_piece(1000)).collect();
    pieces.concat()
}

#[test]
fn encoding_gives_the_bytes_of_the_server() {
    let kinds = ["written", "uuid", "date_finite", "bool", "int4", "int8"].map(str::to_owned);
    let texts = ["text", "no_columns"].map(str::to_owned);
    let numerics = [0, 1, 2, 3, 4, 18].map(|scale| format!("mantissas_{scale}"));
    for name in kinds.iter().chain(&texts).chain(&numerics) {
        let golden = Golden::from_name(name);
        assert!(encoded_again(&golden) == golden.bytes, "{name}");
    }
}

#[test]
fn constants_are_encoded_as_the_server_does() {
    let golden = Golden::from_name("constants");
    let since_2000 = (1_709_210_096_789_000_i64 - 946_684_800_000_000).to_be_bytes();
    let nulls = vec![1; golden.rows.len()];
    let fields = [
        ("created_at", &since_2000[..], None),
        ("is_complete", &[1], None),
        ("is_late", &[0], None),
        ("label", "größe".as_bytes(), None),
        ("nothing", &[], Some(&*nulls)),
    ]
    .map(|(name, bytes, state)| Field {
        name,
        cells: Cells::Constant(bytes),
        state,
    });
    let mut encoder = Encoder::new(&fields, golden.rows.len()).unwrap();
    assert_eq!(encoder.next_piece(usize::MAX).unwrap(), golden.bytes);
}
