//! Binary COPY of closes: columns to bytes and back.
#![expect(clippy::unwrap_used, reason = "benches stop at what is wrong")]

mod data;

use std::hint::black_box;

use batchcore_core::pgcopy::{Cells, ColumnSpec, Decoder, Encoder, Field, Frame, Kind, Values};
use criterion::{Criterion, Throughput};
use data::{Closes, SCALE};

/// About what a server sends at a time.
const PIECE_BYTES: usize = 1 << 16;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    copy(&mut criterion);
    criterion.final_summary();
}

fn copy(criterion: &mut Criterion) {
    let closes = Closes::of(1000, 100);
    let pieces = encoded(&closes);
    let bytes: usize = pieces.iter().map(Vec::len).sum();
    let frame = decoded(&pieces);
    let store = Closes::store(&closes.columns());
    assert_eq!(usize::try_from(frame.rows), Ok(store.len()));
    let close = frame.columns.iter().find(|(name, _)| name == "close");
    assert_eq!(
        close.map(|(_, column)| &column.values),
        Some(&Values::Integers(closes.values.clone()))
    );

    let mut group = criterion.benchmark_group("copy");
    group.throughput(Throughput::Bytes(u64::try_from(bytes).unwrap()));
    group.bench_function("decode", |bench| bench.iter(|| decoded(black_box(&pieces))));
    group.bench_function("encode", |bench| bench.iter(|| encoded(black_box(&closes))));
    group.finish();
}

fn encoded(closes: &Closes) -> Vec<Vec<u8>> {
    let field = |name, cells| Field {
        name,
        cells,
        state: None,
    };
    let fields = [
        field(
            "symbol",
            Cells::Text {
                codes: &closes.codes,
                table: &closes.table,
            },
        ),
        field("day", Cells::Date(&closes.days)),
        field(
            "close",
            Cells::Decimal {
                values: &closes.values,
                scale: SCALE,
            },
        ),
    ];
    let mut encoder = Encoder::new(&fields, closes.codes.len()).unwrap();
    std::iter::from_fn(|| encoder.next_piece(PIECE_BYTES)).collect()
}

fn decoded(pieces: &[Vec<u8>]) -> Frame {
    let spec = |name: &str, kind| ColumnSpec {
        name: name.to_owned(),
        kind,
    };
    let mut decoder = Decoder::new(vec![
        spec("symbol", Kind::Text),
        spec("day", Kind::Date),
        spec("close", Kind::Numeric { scale: SCALE }),
    ]);
    for piece in pieces {
        decoder.push(piece).unwrap();
    }
    decoder.finish().unwrap()
}
