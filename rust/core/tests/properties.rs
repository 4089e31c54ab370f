//! What holds for any input: binary COPY against independent readings of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at what is wrong")]

use std::fs;
use std::iter;
use std::path::Path;

use batchcore_core::fixed::State;
use batchcore_core::pgcopy::{Cells, Column, Encoder, Field, Kind, Values, try_from_numeric};
use batchcore_core::text::Intern;
use proptest::collection::vec;
use proptest::prelude::*;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a crate of its own, read here as a module")]
mod targets;

use targets::{KINDS, decoded, numeric_bytes, written};

const SIGNATURE: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Runs a target on each file of its corpus and returns how many there are.
fn replayed(name: &str, target: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let files = fs::read_dir(folder.join(name)).unwrap();
    files
        .map(|file| target(&fs::read(file.unwrap().path()).unwrap()))
        .count()
}

#[test]
fn the_corpora_of_the_fuzz_targets_hold() {
    assert!(replayed("decoder", targets::decoder) > 20);
    assert!(replayed("numeric", targets::numeric) > 10);
}

/// Returns a column as it is read: 0 in rows of NULL, and texts in the order they come.
fn column(kind: Kind, mut values: Values, texts: &[String], state: Vec<u8>) -> Column {
    fn clear<T: Default>(values: &mut [T], state: &[u8]) {
        let width = values.len().checked_div(state.len()).unwrap_or_default();
        let rows = values.chunks_mut(width.max(1)).zip(state);
        for (row, _) in rows.filter(|&(_, &state)| state == 1) {
            row.fill_with(T::default);
        }
    }
    let mut table = Intern::default();
    match &mut values {
        Values::Bytes(values) => clear(values, &state),
        Values::Days(values) => clear(values, &state),
        Values::Integers(values) => clear(values, &state),
        Values::Codes(codes) => {
            let code = |(text, &state): (&String, &u8)| match state {
                0 => table.code(text.as_bytes()).unwrap(),
                _ => 0,
            };
            *codes = texts.iter().zip(&state).map(code).collect();
        }
    }
    Column {
        kind,
        values,
        state,
        table: table.into_table(),
        lost: 0,
    }
}

fn source(rows: usize) -> impl Strategy<Value = Column> {
    // -infinity is PostgreSQL's i32::MIN, day i32::MIN + 10957 of 1970.
    let day = prop_oneof![-1_000_000..1_000_000, i32::MIN + 10958..=i32::MAX];
    let mantissa = prop_oneof![any::<i64>(), -1_000_000..1_000_000_i64, Just(i64::MIN)];
    let text = prop_oneof!["\\PC{0,30}", "[A-C]"];
    let values = prop_oneof![
        vec(any::<[u8; 16]>(), rows).prop_map(|ids| (Kind::Uuid, Values::Bytes(ids.concat()))),
        vec(0..=1_u8, rows).prop_map(|truths| (Kind::Bool, Values::Bytes(truths))),
        vec(day, rows).prop_map(|days| (Kind::Date, Values::Days(days))),
        (vec(mantissa, rows), 0..40_u32)
            .prop_map(|(values, scale)| (Kind::Numeric { scale }, Values::Integers(values))),
        vec(any::<i64>(), rows).prop_map(|values| (Kind::Int8, Values::Integers(values))),
        Just((Kind::Text, Values::Codes(Vec::new()))),
    ];
    (values, vec(text, rows), vec(0..=1_u8, rows))
        .prop_map(|((kind, values), texts, state)| column(kind, values, &texts, state))
}

fn sources() -> impl Strategy<Value = (usize, Vec<Column>)> {
    (0..12_usize).prop_flat_map(|rows| (Just(rows), vec(source(rows), 0..6)))
}

fn kinds(sources: &[Column]) -> Vec<Kind> {
    sources.iter().map(|source| source.kind).collect()
}

fn encoded(rows: usize, sources: &[Column], at_least: usize) -> Vec<Vec<u8>> {
    let fields: Vec<_> = sources.iter().map(|source| written(source).0).collect();
    let mut encoder = Encoder::new(&fields, rows).unwrap();
    iter::from_fn(|| encoder.next_piece(at_least)).collect()
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
        let frame = decoded(&kinds(&sources), pieces(&bytes, &sizes)).unwrap();
        prop_assert_eq!(frame.rows, u64::try_from(rows).unwrap());
        let found: Vec<_> = frame.columns.into_iter().map(|(_, column)| column).collect();
        prop_assert_eq!(found, sources);
    }

    #[test]
    fn narrow_integers_are_read_as_wide_ones(values in vec(any::<i32>(), 0..12)) {
        let fields = [Field { name: "x", cells: Cells::Int4(&values), state: None }];
        let bytes = Encoder::new(&fields, values.len()).unwrap().next_piece(usize::MAX).unwrap();
        let frame = decoded(&[Kind::Int4], [bytes.as_slice()]).unwrap();
        let values = values.into_iter().map(i64::from).collect();
        prop_assert_eq!(&frame.columns[0].1.values, &Values::Integers(values));
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
        let kinds = kinds(&sources);
        let whole = decoded(&kinds, [bytes.as_slice()]);
        prop_assert_eq!(decoded(&kinds, pieces(&bytes, &sizes)), whole);
    }

    #[test]
    fn what_fuzzing_checks_holds_for_any_fields(
        kinds in vec(any::<u8>(), 0..4),
        piece in 0..16_u8,
        with_header in any::<bool>(),
        fields in vec((prop_oneof![-2..20_i32, any::<i32>()], vec(any::<u8>(), 0..20)), 0..8),
        tail in vec(any::<u8>(), 0..30),
    ) {
        let count = u8::try_from(kinds.len()).unwrap();
        let mut input = [&[piece * 16 + count], kinds.as_slice()].concat();
        // A header and a field count get the bytes past the first checks.
        if with_header {
            input.extend_from_slice(&SIGNATURE);
            input.extend_from_slice(&[0, count]);
        }
        for (length, value) in fields {
            input.extend_from_slice(&length.to_be_bytes());
            input.extend_from_slice(&value);
        }
        input.extend_from_slice(&tail);
        targets::decoder(&input);
    }

    #[test]
    fn what_fuzzing_checks_holds_for_values_of_the_right_length(
        column in 0..KINDS.len(),
        bytes in vec(any::<u8>(), 1..24),
    ) {
        let any = bytes.len();
        let length = [16, 4, any, any, 1, 2, 4, 8, 8, 8, any, any][column];
        let mut input = vec![1, u8::try_from(column).unwrap()];
        input.extend_from_slice(&SIGNATURE);
        input.extend_from_slice(&[0, 1]);
        input.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        input.extend(bytes.iter().cycle().take(length));
        input.extend_from_slice(&[0xff, 0xff]);
        targets::decoder(&input);
    }

    #[test]
    fn numerics_mean_what_their_text_means(decimal in decimal(), scale in 0..20_u32) {
        let parsed = try_from_numeric(&decimal.wire(), scale);
        prop_assert_eq!(parsed, Ok(decimal.mantissa(scale)));
    }

    #[test]
    fn what_fuzzing_checks_holds_for_any_numeric_bytes(input in vec(any::<u8>(), 0..40)) {
        targets::numeric(&input);
    }

    #[test]
    fn mantissas_are_written_without_zero_digits_at_the_ends(
        mantissa in prop_oneof![any::<i64>(), -100_000_000..100_000_000_i64],
        scale in 0..30_u32,
    ) {
        let value = numeric_bytes(mantissa, scale);
        let word = |at: usize| u16::from_be_bytes([value[2 * at], value[2 * at + 1]]);
        let digits: Vec<_> = (4..value.len() / 2).map(word).collect();
        prop_assert_eq!(usize::from(word(0)), digits.len());
        prop_assert!(digits.first() != Some(&0) && digits.last() != Some(&0));
        prop_assert_eq!(u32::from(word(3)), scale);
        prop_assert_eq!(word(2), if mantissa < 0 { 0x4000 } else { 0 });
        prop_assert_eq!(try_from_numeric(&value, scale), Ok(Ok(mantissa)));
    }
}
