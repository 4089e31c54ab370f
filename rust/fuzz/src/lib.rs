//! What holds for any input of the fuzz targets; tests of the core read bytes by the same functions.

use batchcore_core::error::{Error, Result};
use batchcore_core::fixed::State;
use batchcore_core::pgcopy::{
    Cell, Cells, Column, ColumnSpec, Decoder, Encoder, Field, Frame, Kind, Values, try_from_numeric,
};

/// The kinds that the first bytes of an input stand for.
pub const KINDS: [Kind; 12] = [
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
    for (_, column) in whole.iter().flat_map(|frame| &frame.columns) {
        let rows = whole.as_ref().map(|frame| frame.rows).unwrap_or_default();
        assert_eq!(u64::try_from(column.state.len()), Ok(rows));
        written_again(column);
    }
}

/// Returns the frame of a stream in pieces; each column is called `x`.
///
/// # Errors
///
/// That of the decoder.
pub fn decoded<'a>(kinds: &[Kind], pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Frame> {
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

/// Returns a column as it is written, and the kind that it is read as then.
pub fn written(column: &Column) -> (Field<'_>, Kind) {
    let table = &column.table;
    let (cells, kind) = match (&column.values, column.kind) {
        (Values::Bytes(values), Kind::Bool) => (Cells::Bool(values), Kind::Bool),
        (Values::Bytes(values), _) => (Cells::Uuid(values), Kind::Uuid),
        (Values::Days(values), _) => (Cells::Date(values), Kind::Date),
        (Values::Codes(codes), _) => (Cells::Text { codes, table }, Kind::Text),
        (Values::Integers(values), Kind::Numeric { scale } | Kind::Float8 { scale }) => {
            (Cells::Decimal { values, scale }, Kind::Numeric { scale })
        }
        (Values::Integers(values), _) => (Cells::Int8(values), Kind::Int8),
    };
    let field = Field {
        name: "x",
        cells,
        state: Some(&column.state),
    };
    (field, kind)
}

/// Checks that a column that can be written is read again, and that no other is written.
fn written_again(column: &Column) {
    let (field, kind) = written(column);
    let can_be_written = column.state.iter().all(|&byte| byte <= State::Null.byte());
    match Encoder::new(&[field], column.state.len()) {
        Ok(mut encoder) => {
            assert!(can_be_written, "{:?}", column.state);
            let bytes: Vec<_> = core::iter::from_fn(|| encoder.next_piece(64)).collect();
            let again = decoded(&[kind], [&*bytes.concat()]);
            let column = Column {
                kind,
                lost: 0,
                ..column.clone()
            };
            let columns = again.map(|frame| frame.columns);
            assert_eq!(columns, Ok(vec![("x".to_owned(), column)]));
        }
        Err(error) => assert!(
            !can_be_written && matches!(error, Error::Encode { .. }),
            "{error}"
        ),
    }
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
    let words = bytes.as_chunks().0.iter();
    let words: Vec<u16> = words.map(|&word| u16::from_be_bytes(word)).collect();
    let [_, weight, sign, _, digits @ ..] = words.as_slice() else {
        unreachable!("a value of {} bytes", bytes.len());
    };
    assert_eq!(cell, summed(weight.cast_signed(), *sign, digits, scale));
    if let Ok(mantissa) = cell {
        let value = numeric_bytes(mantissa, scale);
        assert_eq!(try_from_numeric(&value, scale), Ok(Ok(mantissa)));
    }
}

/// Returns the bytes of a NUMERIC that is written, without its length.
pub fn numeric_bytes(mantissa: i64, scale: u32) -> Vec<u8> {
    let values = &[mantissa];
    let fields = [Field {
        name: "x",
        cells: Cells::Decimal { values, scale },
        state: None,
    }];
    let bytes = Encoder::new(&fields, 1).map(|mut encoder| encoder.next_piece(0));
    let bytes = bytes.ok().flatten().unwrap_or_default();
    // header 19, field count 2, length 4; trailer 2
    bytes.get(25..bytes.len() - 2).unwrap_or_default().to_vec()
}

/// Returns the mantissa of base-10000 digits from their decimal digits, one by one.
fn summed(weight: i16, sign: u16, digits: &[u16], scale: u32) -> Cell<i64> {
    if !matches!(sign, 0 | 0x4000) {
        return Err(State::NonFinite);
    }
    let mut sum = 0i128;
    for (at, &digit) in (0..).zip(digits) {
        let unit = (i64::from(weight) - at) * 4 + i64::from(scale);
        let places = [digit / 1000, digit / 100 % 10, digit / 10 % 10, digit % 10];
        for (place, more) in places.into_iter().zip([3, 2, 1, 0]) {
            // more than 10^19 is beyond 64 bits by itself
            match u32::try_from(unit + more) {
                _ if place == 0 => {}
                Ok(power @ ..=19) => sum += i128::from(place) * 10i128.pow(power),
                _ => return Err(State::NotRepresentable),
            }
        }
    }
    i64::try_from(if sign == 0 { sum } else { -sum }).map_err(|_| State::NotRepresentable)
}
