//! What the fuzz targets check, on every input that their runs found worth keeping.
#![expect(clippy::unwrap_used, reason = "helpers of tests stop at what is wrong")]

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a crate of its own, read here as a module")]
mod targets;

/// Runs a target on each file of its corpus and returns how many there are.
fn replayed(name: &str, target: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let files = fs::read_dir(folder.join(name)).unwrap();
    files
        .map(|file| target(&fs::read(file.unwrap().path()).unwrap()))
        .count()
}

#[test]
fn the_corpus_of_the_decoder_holds() {
    assert!(replayed("decoder", targets::decoder) > 20);
}

#[test]
fn the_corpus_of_the_numeric_parser_holds() {
    assert!(replayed("numeric", targets::numeric) > 10);
}
