//! Some rows of a binary COPY, byte for byte: no value is decoded.

use super::{HEADER_BYTES, NONE, SIGNATURE};
use crate::error::{Error, Result};

/// Returns the rows of a binary COPY that are kept, as a COPY of their own.
///
/// `pieces` are those of an [`Encoder`](super::Encoder): whole rows, the first with the header and
/// without an extension, the last with the trailer. The result has the same form.
///
/// # Errors
///
/// [`Error::Decode`] for other bytes, or a number of rows other than that of `keep`.
pub fn pick(pieces: &[&[u8]], keep: &[bool]) -> Result<Vec<Vec<u8>>> {
    let mut rows = keep.iter();
    let mut row = 0;
    let fault = |row, what: &str| Error::Decode {
        row,
        column: None,
        what: what.to_owned(),
    };
    let mut picked = Vec::with_capacity(pieces.len());
    let mut ended = false;
    for (number, piece) in pieces.iter().enumerate() {
        let mut out = Vec::new();
        let mut left = *piece;
        if number == 0 {
            let (header, rest) = left
                .split_at_checked(HEADER_BYTES)
                .filter(|(header, _)| header.starts_with(&SIGNATURE))
                .ok_or_else(|| fault(row, "expected the signature of a binary COPY"))?;
            out.extend_from_slice(header);
            left = rest;
        }
        while !left.is_empty() && !ended {
            if left == i16::from(NONE).to_be_bytes() {
                ended = true;
                out.extend_from_slice(left);
                break;
            }
            let length = row_bytes(left).ok_or_else(|| fault(row, "expected a whole row"))?;
            let (bytes, rest) = left.split_at(length);
            let kept = rows
                .next()
                .ok_or_else(|| fault(row, "expected no more rows"))?;
            if *kept {
                out.extend_from_slice(bytes);
            }
            row += 1;
            left = rest;
        }
        if !out.is_empty() {
            picked.push(out);
        }
    }
    if !ended || rows.next().is_some() {
        return Err(fault(row, "expected more rows"));
    }
    Ok(picked)
}

/// Returns the length of the first row in bytes; nothing where it is not complete.
fn row_bytes(bytes: &[u8]) -> Option<usize> {
    let (count, mut left) = bytes.split_first_chunk()?;
    for _ in 0..u16::try_from(i16::from_be_bytes(*count)).ok()? {
        let (length, rest) = left.split_first_chunk()?;
        let length = i32::from_be_bytes(*length);
        left = if length == i32::from(NONE) {
            rest
        } else {
            rest.get(usize::try_from(length).ok()?..)?
        };
    }
    bytes.len().checked_sub(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pgcopy::{Cells, Encoder, Field};

    /// Returns the bytes of days, every other one NULL.
    fn encoded(days: &[i32], state: &[u8], piece_bytes: usize) -> Vec<Vec<u8>> {
        let fields = [
            Field {
                name: "day",
                cells: Cells::Date(days),
                state: Some(state),
            },
            Field {
                name: "note",
                cells: Cells::TextConst("x"),
                state: None,
            },
        ];
        let mut encoder = Encoder::new(&fields, days.len()).unwrap();
        core::iter::from_fn(|| encoder.next_piece(piece_bytes)).collect()
    }

    fn picked(pieces: &[Vec<u8>], keep: &[bool]) -> Result<Vec<u8>> {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        Ok(pick(&pieces, keep)?.concat())
    }

    #[test]
    fn rows_picked_are_those_that_would_have_been_encoded_alone() {
        let (days, state) = ([0, 1, 2, 3, 4], [0, 1, 0, 1, 0]);
        for piece_bytes in [1, 40, usize::MAX] {
            let pieces = encoded(&days, &state, piece_bytes);
            for bits in 0..32_u32 {
                let keep: Vec<bool> = (0..5).map(|row| bits >> row & 1 == 1).collect();
                let of = |values: &[i32]| -> Vec<i32> {
                    let kept = values.iter().zip(&keep).filter(|(_, keep)| **keep);
                    kept.map(|(value, _)| *value).collect()
                };
                let states: Vec<u8> = of(&state.map(i32::from))
                    .into_iter()
                    .map(|state| u8::try_from(state).unwrap())
                    .collect();
                let alone = encoded(&of(&days), &states, usize::MAX).concat();
                assert_eq!(picked(&pieces, &keep).unwrap(), alone);
            }
        }
    }

    #[test]
    fn another_number_of_rows_is_refused() {
        let pieces = encoded(&[0, 1], &[0, 0], usize::MAX);
        for keep in [&[true][..], &[true; 3]] {
            assert!(matches!(picked(&pieces, keep), Err(Error::Decode { .. })));
        }
    }

    #[test]
    fn bytes_cut_anywhere_are_refused() {
        let whole = encoded(&[0, 1], &[0, 1], usize::MAX).concat();
        for end in 0..whole.len() {
            let cut = [whole.get(..end).unwrap().to_vec()];
            assert!(picked(&cut, &[true, true]).is_err(), "{end}");
        }
        assert!(picked(&[], &[]).is_err());
    }
}
