//! What holds for any input of the fuzz targets; a test of the core replays their corpora by it.

use batchcore_core::error::{Error, Result};
use batchcore_core::fixed::State;
use batchcore_core::pgcopy::{
    Cell, Cells, Column, ColumnSpec, Decoder, Encoder, Field, Frame, Kind, try_from_numeric,
};

const KINDS: [Kind; 12] = [
    Kind::Uuid,
    Kind::Date,
    Kind::Numeric { scale: 4 },
    Kind::Text,
    Kind::Bool,
    Kind::Int2,
    Kind::Int4,
    Kind::Int8,
    Kind::Timestamp,
    Kind::Float8 { scale: 4 },
    Kind::Numeric { scale: 18 },
    Kind::Numeric { scale: 0 },
];

/// Columns of one stream at most.
const MOST_COLUMNS: usize = 15;

/// The decoder: any bytes are rows or an error, the same however they are cut, and rows that can be
/// written are read again as they were.
///
/// The first byte says how many columns there are, and how long the pieces; each next one is the
/// kind of a column; then comes the stream.
///
/// # Panics
///
/// If that does not hold.
pub fn decoder(input: &[u8]) {
    let Some((&first, rest)) = input.split_first() else {
        return;
    };
    let (count, piece) = (
        usize::from(first) % (MOST_COLUMNS + 1),
        usize::from(first) / (MOST_COLUMNS + 1) + 1,
    );
    let Some((kinds, stream)) = rest.split_at_checked(count) else {
        return;
    };
    let kind = |&byte: &u8| KINDS.get(usize::from(byte) % KINDS.len()).copied();
    let kinds: Vec<Kind> = kinds.iter().filter_map(kind).collect();
    let whole = decoded(&kinds, [stream]);
    assert_eq!(decoded(&kinds, stream.chunks(piece)), whole);
    if let Ok(frame) = whole {
        for (_, column) in &frame.columns {
            assert_eq!(u64::try_from(column.state().len()), Ok(frame.rows));
        }
        written_again(&frame);
    }
}

fn decoded<'a>(kinds: &[Kind], pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Frame> {
    let spec = |&kind| ColumnSpec {
        name: "x".to_owned(),
        kind,
    };
    let mut decoder = Decoder::new(kinds.iter().map(spec).collect());
    for piece in pieces {
        decoder.push(piece)?;
    }
    decoder.finish()
}

/// Checks that the columns that can be written are read again, and that no others are written.
fn written_again(frame: &Frame) {
    let rows = usize::try_from(frame.rows).unwrap_or(usize::MAX);
    for (_, column) in &frame.columns {
        let (cells, kind) = match column {
            Column::Uuid { values, .. } => (Cells::Uuid(values), Kind::Uuid),
            Column::Date { values, .. } => (Cells::Date(values), Kind::Date),
            Column::Decimal { values, scale, .. } | Column::Rounded { values, scale, .. } => (
                Cells::Decimal {
                    values,
                    scale: *scale,
                },
                Kind::Numeric { scale: *scale },
            ),
            Column::Text { codes, table, .. } => (Cells::Text { codes, table }, Kind::Text),
            Column::Bool { values, .. } => (Cells::Bool(values), Kind::Bool),
            Column::Int { values, .. } | Column::Timestamp { values, .. } => {
                (Cells::Int8(values), Kind::Int8)
            }
        };
        let state = column.state();
        let fields = [Field {
            name: "x",
            cells,
            state: Some(state),
        }];
        let can_be_written = state.iter().all(|&byte| byte <= State::Null.byte());
        match Encoder::new(&fields, rows) {
            Ok(mut encoder) => {
                assert!(can_be_written, "{state:?}");
                let bytes: Vec<u8> = core::iter::from_fn(|| encoder.next_piece(64))
                    .flatten()
                    .collect();
                let again = decoded(&[kind], [bytes.as_slice()]);
                let again = again.map(|frame| frame.columns.into_iter().next());
                assert_eq!(
                    again.map(|column| column.map(plain)),
                    Ok(Some(plain_of(column)))
                );
            }
            Err(error) => assert!(
                !can_be_written && matches!(error, Error::Encode { .. }),
                "{error}"
            ),
        }
    }
}

/// Returns a column by what it holds, whatever its type: values as text, and states.
fn plain_of(column: &Column) -> (String, Vec<u8>) {
    let values = match column {
        Column::Uuid { values, .. } | Column::Bool { values, .. } => format!("{values:?}"),
        Column::Date { values, .. } => format!("{values:?}"),
        Column::Decimal { values, .. }
        | Column::Rounded { values, .. }
        | Column::Int { values, .. }
        | Column::Timestamp { values, .. } => format!("{values:?}"),
        Column::Text {
            codes,
            table,
            state,
        } => {
            let text = |(&code, &state): (&u32, &u8)| table.text(code).filter(|_| state == 0);
            format!(
                "{:?}",
                codes.iter().zip(state).map(text).collect::<Vec<_>>()
            )
        }
    };
    (values, column.state().to_vec())
}

fn plain((_, column): (String, Column)) -> (String, Vec<u8>) {
    plain_of(&column)
}

/// The parser of NUMERIC: what it returns is what a sum of the digits says, and the bytes of that
/// mantissa mean it again.
///
/// The first byte is the scale; then come the bytes of the value.
///
/// # Panics
///
/// If that does not hold.
pub fn numeric(input: &[u8]) {
    let Some((&scale, bytes)) = input.split_first() else {
        return;
    };
    let scale = u32::from(scale) % 24;
    let Ok(cell) = try_from_numeric(bytes, scale) else {
        return;
    };
    let words: Vec<u16> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|&w| u16::from_be_bytes(w))
        .collect();
    let [_, weight, sign, _, digits @ ..] = words.as_slice() else {
        unreachable!("a value of {} bytes", bytes.len());
    };
    assert_eq!(cell, summed(weight.cast_signed(), *sign, digits, scale));
    if let Ok(mantissa) = cell {
        let cells = Cells::Decimal {
            values: &[mantissa],
            scale,
        };
        let fields = [Field {
            name: "x",
            cells,
            state: None,
        }];
        let bytes = Encoder::new(&fields, 1).map(|mut encoder| encoder.next_piece(0));
        let bytes = bytes.ok().flatten().unwrap_or_default();
        // header 19, field count 2, length 4; trailer 2
        let value = bytes.get(25..bytes.len() - 2).unwrap_or_default();
        assert_eq!(try_from_numeric(value, scale), Ok(Ok(mantissa)));
    }
}

/// Returns the mantissa of base-10000 digits from their decimal digits, one by one.
fn summed(weight: i16, sign: u16, digits: &[u16], scale: u32) -> Cell<i64> {
    if !matches!(sign, 0 | 0x4000) {
        return Err(State::NonFinite);
    }
    let decimal = |(at, &digit): (i64, &u16)| {
        let unit = (i64::from(weight) - at) * 4 + i64::from(scale);
        let places = [digit / 1000, digit / 100 % 10, digit / 10 % 10, digit % 10];
        places
            .into_iter()
            .zip([3, 2, 1, 0])
            .map(move |(place, more)| (place, unit + more))
    };
    let mut sum = 0i128;
    for (place, power) in (0..)
        .zip(digits)
        .flat_map(decimal)
        .filter(|&(place, _)| place != 0)
    {
        // more than 10^19 is beyond 64 bits by itself
        let unit = u32::try_from(power)
            .ok()
            .filter(|&power| power <= 19)
            .map(|power| 10i128.pow(power))
            .ok_or(State::NotRepresentable)?;
        sum += i128::from(place) * unit;
    }
    i64::try_from(if sign == 0 { sum } else { -sum }).map_err(|_| State::NotRepresentable)
}
