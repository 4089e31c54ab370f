//! What holds for any input: binary COPY against independent readings of it.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests stop at what is wrong"
)]

use std::iter;

use batchcore_core::error::Result;
use batchcore_core::fixed::State;
use batchcore_core::pgcopy::{
    Cells, Column, ColumnSpec, Decoder, Encoder, Field, Frame, Kind, Uuid7, try_from_numeric,
};
use batchcore_core::text::{Intern, Table};
use proptest::collection::vec;
use proptest::prelude::*;

const SIGNATURE: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

const KINDS: [Kind; 9] = [
    Kind::Uuid,
    Kind::Date,
    Kind::Numeric { scale: 4 },
    Kind::Text,
    Kind::Bool,
    Kind::Int2,
    Kind::Int4,
    Kind::Int8,
    Kind::Timestamp,
];

/// Values of one column and whether each is NULL.
#[derive(Debug, Clone)]
struct Source {
    values: Values,
    state: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Values {
    Uuid(Vec<[u8; 16]>),
    Date(Vec<i32>),
    Decimal(Vec<i64>, u32),
    Int4(Vec<i32>),
    Int8(Vec<i64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

/// A cell as it comes out: bytes or an integer, or nothing for NULL.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Null,
    Bytes(Vec<u8>),
    Integer(i64),
}

/// What [`Cells`] borrow, where that is not what the source has.
enum Laid {
    Bytes(Vec<u8>),
    Codes(Vec<u32>, Table),
    AsIs,
}

impl Source {
    fn kind(&self) -> Kind {
        match self.values {
            Values::Uuid(_) => Kind::Uuid,
            Values::Date(_) => Kind::Date,
            Values::Decimal(_, scale) => Kind::Numeric { scale },
            Values::Int4(_) => Kind::Int4,
            Values::Int8(_) => Kind::Int8,
            Values::Bool(_) => Kind::Bool,
            Values::Text(_) => Kind::Text,
        }
    }

    fn laid(&self) -> Laid {
        match &self.values {
            Values::Uuid(ids) => Laid::Bytes(ids.concat()),
            Values::Bool(truths) => Laid::Bytes(truths.iter().map(|&t| u8::from(t)).collect()),
            Values::Text(texts) => {
                let mut intern = Intern::default();
                let code = |text: &String| intern.code(text.as_bytes()).unwrap();
                Laid::Codes(texts.iter().map(code).collect(), intern.into_table())
            }
            _ => Laid::AsIs,
        }
    }

    fn field<'a>(&'a self, laid: &'a Laid) -> Field<'a> {
        let cells = match (&self.values, laid) {
            (Values::Uuid(_), Laid::Bytes(bytes)) => Cells::Uuid(bytes),
            (Values::Bool(_), Laid::Bytes(bytes)) => Cells::Bool(bytes),
            (Values::Date(values), _) => Cells::Date(values),
            (Values::Decimal(values, scale), _) => Cells::Decimal {
                values,
                scale: *scale,
            },
            (Values::Int4(values), _) => Cells::Int4(values),
            (Values::Int8(values), _) => Cells::Int8(values),
            (_, Laid::Codes(codes, table)) => Cells::Text { codes, table },
            _ => Cells::NullConst,
        };
        Field {
            name: "x",
            cells,
            state: Some(&self.state),
        }
    }

    fn cells(&self) -> Vec<Cell> {
        let integers = |values: &[i32]| values.iter().map(|&v| Cell::Integer(v.into())).collect();
        let cells: Vec<_> = match &self.values {
            Values::Uuid(ids) => ids.iter().map(|id| Cell::Bytes(id.to_vec())).collect(),
            Values::Date(values) | Values::Int4(values) => integers(values),
            Values::Decimal(values, _) | Values::Int8(values) => {
                values.iter().map(|&value| Cell::Integer(value)).collect()
            }
            Values::Bool(truths) => truths.iter().map(|&t| Cell::Integer(t.into())).collect(),
            Values::Text(texts) => texts
                .iter()
                .map(|text| Cell::Bytes(text.clone().into_bytes()))
                .collect(),
        };
        let or_null = |(cell, &state)| if state == 1 { Cell::Null } else { cell };
        cells.into_iter().zip(&self.state).map(or_null).collect()
    }
}

/// Returns the cells of a decoded column in which nothing but NULL lacks a value.
fn cells_of(column: &Column) -> Vec<Cell> {
    let cells: Vec<_> = match column {
        Column::Uuid { values, .. } => values
            .chunks(16)
            .map(|id| Cell::Bytes(id.to_vec()))
            .collect(),
        Column::Date { values, .. } => values.iter().map(|&v| Cell::Integer(v.into())).collect(),
        Column::Bool { values, .. } => values.iter().map(|&v| Cell::Integer(v.into())).collect(),
        Column::Decimal { values, .. }
        | Column::Rounded { values, .. }
        | Column::Int { values, .. }
        | Column::Timestamp { values, .. } => values.iter().map(|&v| Cell::Integer(v)).collect(),
        Column::Text { codes, table, .. } => codes
            .iter()
            .map(|&code| Cell::Bytes(table.bytes(code).unwrap_or_default().to_vec()))
            .collect(),
    };
    let state = column
        .state()
        .iter()
        .map(|&byte| State::from_byte(byte).unwrap());
    cells
        .into_iter()
        .zip(state)
        .map(|(cell, state)| match state {
            State::Null => Cell::Null,
            State::Value => cell,
            State::NonFinite | State::NotRepresentable => unreachable!("{cell:?} is {state:?}"),
        })
        .collect()
}

fn source(rows: usize) -> impl Strategy<Value = Source> {
    // -infinity is PostgreSQL's i32::MIN, day i32::MIN + 10957 of 1970.
    let day = prop_oneof![-1_000_000..1_000_000, i32::MIN + 10958..=i32::MAX];
    let mantissa = prop_oneof![any::<i64>(), -1_000_000..1_000_000_i64, Just(i64::MIN)];
    let values = prop_oneof![
        vec(any::<[u8; 16]>(), rows).prop_map(Values::Uuid),
        vec(day, rows).prop_map(Values::Date),
        (vec(mantissa, rows), 0..40_u32).prop_map(|(values, s)| Values::Decimal(values, s)),
        vec(any::<i32>(), rows).prop_map(Values::Int4),
        vec(any::<i64>(), rows).prop_map(Values::Int8),
        vec(any::<bool>(), rows).prop_map(Values::Bool),
        vec(prop_oneof!["\\PC{0,30}", "[A-C]"], rows).prop_map(Values::Text),
    ];
    (values, vec(0..=1_u8, rows)).prop_map(|(values, state)| Source { values, state })
}

fn sources() -> impl Strategy<Value = (usize, Vec<Source>)> {
    (0..12_usize).prop_flat_map(|rows| (Just(rows), vec(source(rows), 0..6)))
}

fn encoded(rows: usize, sources: &[Source], at_least: usize) -> Vec<Vec<u8>> {
    let laid: Vec<_> = sources.iter().map(Source::laid).collect();
    let fields: Vec<_> = sources
        .iter()
        .zip(&laid)
        .map(|(s, laid)| s.field(laid))
        .collect();
    let mut encoder = Encoder::new(&fields, rows).unwrap();
    iter::from_fn(|| encoder.next_piece(at_least)).collect()
}

fn specs(kinds: impl IntoIterator<Item = Kind>) -> Vec<ColumnSpec> {
    kinds
        .into_iter()
        .map(|kind| ColumnSpec {
            name: "x".to_owned(),
            kind,
        })
        .collect()
}

fn decoded<'a>(
    specs: Vec<ColumnSpec>,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Frame> {
    let mut decoder = Decoder::new(specs);
    for piece in pieces {
        decoder.push(piece)?;
    }
    decoder.finish()
}

/// Cuts bytes into pieces of these sizes, over and over.
fn pieces<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for &size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, tail) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1..8_usize, 1..20), vec(1..200_usize, 1..10)]
}

/// Digits before and after the decimal point, and how many zeros the wire has beyond its need.
#[derive(Debug, Clone)]
struct Decimal {
    negative: bool,
    whole: String,
    decimals: String,
    zeros_before: usize,
    zeros_after: usize,
}

impl Decimal {
    /// Returns the bytes of the NUMERIC, built from its text.
    fn wire(&self) -> Vec<u8> {
        let padding = (4 - self.whole.len() % 4) % 4 + 4 * self.zeros_before;
        let whole = "0".repeat(padding) + &self.whole;
        let padding = (4 - self.decimals.len() % 4) % 4 + 4 * self.zeros_after;
        let decimals = self.decimals.clone() + &"0".repeat(padding);
        let digits = (whole.clone() + &decimals).into_bytes();
        let digit = |four: &[u8]| std::str::from_utf8(four).unwrap().parse::<u16>().unwrap();
        let digits: Vec<_> = digits.chunks(4).map(digit).collect();
        let weight = i16::try_from(whole.len() / 4).unwrap() - 1;
        let sign = if self.negative { 0x4000 } else { 0 };
        let shown = u16::try_from(self.decimals.len()).unwrap();
        let words = [
            u16::try_from(digits.len()).unwrap(),
            weight.cast_unsigned(),
            sign,
            shown,
        ];
        words
            .into_iter()
            .chain(digits)
            .flat_map(u16::to_be_bytes)
            .collect()
    }

    /// Returns the mantissa by way of text.
    fn mantissa(&self, scale: u32) -> std::result::Result<i64, State> {
        let scale = usize::try_from(scale).unwrap();
        let decimals = self.decimals.trim_end_matches('0');
        let zeros = scale
            .checked_sub(decimals.len())
            .ok_or(State::NotRepresentable)?;
        let sign = if self.negative { "-" } else { "" };
        let text = format!("{sign}{}{decimals}{}", self.whole, "0".repeat(zeros));
        // Leading zeros are nothing to `parse`, and digits beyond its range are an error.
        if text.trim_matches(['-', '0']).is_empty() {
            return Ok(0);
        }
        text.parse().map_err(|_| State::NotRepresentable)
    }
}

fn decimal() -> impl Strategy<Value = Decimal> {
    let whole = prop_oneof![
        "[0-9]{0,12}",
        "[0-9]{0,40}",
        "[1-9]0{0,20}",
        "92233720368547758[0-9]{0,4}"
    ];
    let decimals = prop_oneof![
        "[0-9]{0,8}",
        "[0-9]{0,4}0{0,20}",
        "0{0,12}[0-9]{0,8}",
        "5808|5807"
    ];
    (any::<bool>(), whole, decimals, 0..3_usize, 0..3_usize).prop_map(
        |(negative, whole, decimals, zeros_before, zeros_after)| Decimal {
            negative,
            whole,
            decimals,
            zeros_before,
            zeros_after,
        },
    )
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(
        (rows, sources) in sources(),
        at_least in 0..300_usize,
        sizes in sizes(),
    ) {
        let bytes = encoded(rows, &sources, at_least).concat();
        let specs = specs(sources.iter().map(Source::kind));
        let frame = decoded(specs, pieces(&bytes, &sizes)).unwrap();
        prop_assert_eq!(frame.rows, u64::try_from(rows).unwrap());
        let found: Vec<_> = frame.columns.iter().map(|(_, column)| cells_of(column)).collect();
        let expected: Vec<_> = sources.iter().map(Source::cells).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn pieces_join_to_the_same_bytes_whatever_their_size(
        (rows, sources) in sources(),
        at_least in 0..300_usize,
    ) {
        let whole = encoded(rows, &sources, usize::MAX);
        prop_assert_eq!(whole.len(), 1);
        let pieces = encoded(rows, &sources, at_least);
        let (_, all_but_last) = pieces.split_last().unwrap();
        prop_assert!(all_but_last.iter().all(|piece| piece.len() >= at_least.max(1)));
        prop_assert_eq!(pieces.concat(), whole.concat());
    }

    #[test]
    fn damaged_bytes_give_the_same_answer_whatever_the_split(
        (rows, sources) in sources(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        sizes in sizes(),
    ) {
        let mut bytes = encoded(rows, &sources, usize::MAX).concat();
        let length = bytes.len();
        for (at, byte) in damage {
            bytes[at.index(length)] = byte;
        }
        bytes.truncate(cut.map_or(length, |at| at.index(length)));
        let kinds: Vec<_> = sources.iter().map(Source::kind).collect();
        let whole = decoded(specs(kinds.clone()), [bytes.as_slice()]);
        prop_assert_eq!(decoded(specs(kinds), pieces(&bytes, &sizes)), whole);
    }

    #[test]
    fn any_bytes_give_the_same_answer_whatever_the_split(
        kinds in vec(prop::sample::select(KINDS.to_vec()), 0..4),
        with_header in any::<bool>(),
        fields in vec((prop_oneof![-2..20_i32, any::<i32>()], vec(any::<u8>(), 0..20)), 0..8),
        tail in vec(any::<u8>(), 0..30),
        sizes in sizes(),
    ) {
        // A header and a field count get the bytes past the first checks.
        let mut bytes = Vec::new();
        if with_header {
            bytes.extend_from_slice(&SIGNATURE);
            bytes.extend_from_slice(&i16::try_from(kinds.len()).unwrap().to_be_bytes());
        }
        for (length, value) in fields {
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&value);
        }
        bytes.extend_from_slice(&tail);
        let whole = decoded(specs(kinds.clone()), [bytes.as_slice()]);
        prop_assert_eq!(decoded(specs(kinds), pieces(&bytes, &sizes)), whole);
    }

    #[test]
    fn values_of_the_right_length_never_panic(
        column in 0..KINDS.len(),
        bytes in vec(any::<u8>(), 1..24),
    ) {
        let length = [16, 4, bytes.len(), bytes.len(), 1, 2, 4, 8, 8][column];
        let value: Vec<_> = bytes.iter().copied().cycle().take(length).collect();
        let mut stream = SIGNATURE.to_vec();
        stream.extend_from_slice(&[0, 1]);
        stream.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        stream.extend_from_slice(&value);
        stream.extend_from_slice(&[0xff, 0xff]);
        if let Ok(frame) = decoded(specs([KINDS[column]]), [stream.as_slice()]) {
            prop_assert_eq!(frame.rows, 1);
            prop_assert_eq!(frame.columns[0].1.state().len(), 1);
        }
    }

    #[test]
    fn numerics_mean_what_their_text_means(decimal in decimal(), scale in 0..20_u32) {
        let parsed = try_from_numeric(&decimal.wire(), scale);
        prop_assert_eq!(parsed, Ok(decimal.mantissa(scale)));
    }

    #[test]
    fn any_numeric_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..40), scale: u32) {
        // That it returns is the property.
        let _ = try_from_numeric(&bytes, scale);
    }

    #[test]
    fn mantissas_are_written_without_zero_digits_at_the_ends(
        mantissa in prop_oneof![any::<i64>(), -100_000_000..100_000_000_i64],
        scale in 0..30_u32,
    ) {
        let cells = Cells::Decimal { values: &[mantissa], scale };
        let fields = [Field { name: "x", cells, state: None }];
        let bytes = Encoder::new(&fields, 1).unwrap().next_piece(0).unwrap();
        // Header 19, field count 2, length 4; trailer 2.
        let value = &bytes[25..bytes.len() - 2];
        let word = |at: usize| u16::from_be_bytes([value[2 * at], value[2 * at + 1]]);
        let digits: Vec<_> = (4..value.len() / 2).map(word).collect();
        prop_assert_eq!(usize::from(word(0)), digits.len());
        prop_assert!(digits.first() != Some(&0) && digits.last() != Some(&0));
        prop_assert_eq!(u32::from(word(3)), scale);
        prop_assert_eq!(word(2), if mantissa < 0 { 0x4000 } else { 0 });
        prop_assert_eq!(try_from_numeric(value, scale), Ok(Ok(mantissa)));
    }

    #[test]
    fn made_ids_ascend_and_are_of_version_7(
        unix_ms in 0..1_u64 << 48,
        random: [u8; 16],
        at in any::<u64>(),
    ) {
        let ids = Uuid7::from_random(unix_ms, random).unwrap();
        let (first, id, next) = (ids.nth(0), ids.nth(at), ids.nth(at.saturating_add(1)));
        prop_assert!(first <= id && (id < next || at == u64::MAX));
        let time = u64::from_be_bytes([0, 0, id[0], id[1], id[2], id[3], id[4], id[5]]);
        prop_assert_eq!((time, id[6] >> 4, id[8] >> 6), (unix_ms, 7, 0b10));
    }
}
