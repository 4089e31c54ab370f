//! Bytes as they arrive, split anywhere, into columns.

use core::mem;

use super::column::{Builder, Column, ColumnSpec, Step};
use super::{HEADER_BYTES, NONE, SIGNATURE};
use crate::error::{Error, Result};

/// Flags that a reader must understand; bit 16, the only one ever used, announces OIDs.
const CRITICAL_FLAGS: u32 = 0xFFFF_0000;

/// The columns of a stream that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Number of rows of each column.
    pub rows: u64,
    /// Name and column, in the order of the specs.
    pub columns: Vec<(String, Column)>,
}

/// Takes the bytes of a binary COPY as they arrive and builds its columns.
///
/// Items that are complete within a pushed slice are decoded in place; only an item (the header, a
/// field count, a field) cut by the end of a slice is kept until its other bytes arrive. After an
/// error the decoder returns that error again.
#[derive(Debug)]
pub struct Decoder {
    columns: Vec<(String, Builder)>,
    rows: u64,
    at: At,
    cut: Vec<u8>,
    fault: Option<Error>,
}

/// The next item of the stream.
#[derive(Debug, Clone, Copy)]
enum At {
    Header,
    /// This many bytes of the header's extension.
    Extension(usize),
    /// The field count of a row, or the trailer.
    Row,
    /// The field of this column.
    Field(usize),
    End,
}

impl Decoder {
    /// Returns a decoder for rows of these columns.
    pub fn new(specs: Vec<ColumnSpec>) -> Self {
        let columns = specs
            .into_iter()
            .map(|s| (s.name, Builder::from_kind(s.kind)))
            .collect();
        Self {
            columns,
            rows: 0,
            at: At::Header,
            cut: Vec::new(),
            fault: None,
        }
    }

    /// Returns the number of complete rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if they cannot be those of the declared columns, and from then on.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let done = self.advance(bytes);
        if let Err(fault) = &done {
            self.fault = Some(fault.clone());
            self.cut = Vec::new();
        }
        done
    }

    /// Returns the columns.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if the trailer is missing, or the error of `push`.
    pub fn finish(self) -> Result<Frame> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let within = match self.at {
            At::End => {
                let columns = self.columns.into_iter();
                let columns = columns.map(|(name, c)| (name, c.into_column())).collect();
                return Ok(Frame {
                    rows: self.rows,
                    columns,
                });
            }
            At::Header | At::Extension(_) => "its header",
            At::Field(_) => "a row",
            At::Row => "its rows",
        };
        Err(self.error(format!("expected a trailer, was cut off within {within}")))
    }

    fn advance(&mut self, mut bytes: &[u8]) -> Result<()> {
        let mut cut = mem::take(&mut self.cut);
        while !cut.is_empty() {
            match self.step(&cut)? {
                // `cut` never holds more than one item, so all of it is consumed.
                Step::Took(_) => cut.clear(),
                Step::Needs(size) => {
                    let missing = size.saturating_sub(cut.len());
                    let Some((head, tail)) = bytes.split_at_checked(missing) else {
                        cut.extend_from_slice(bytes);
                        self.cut = cut;
                        return Ok(());
                    };
                    cut.extend_from_slice(head);
                    bytes = tail;
                }
            }
        }
        while let Step::Took(size) = self.step(bytes)? {
            bytes = bytes.get(size..).unwrap_or_default();
        }
        cut.extend_from_slice(bytes);
        self.cut = cut;
        Ok(())
    }

    fn step(&mut self, bytes: &[u8]) -> Result<Step> {
        match self.at {
            At::Header => self.header(bytes),
            At::Extension(left) => {
                let skipped = left.min(bytes.len());
                self.at = Self::after_extension(left - skipped);
                Ok(if skipped == 0 {
                    Step::Needs(1)
                } else {
                    Step::Took(skipped)
                })
            }
            At::Row => self.row(bytes),
            At::Field(first) => self.fields(first, bytes),
            At::End if bytes.is_empty() => Ok(Step::Needs(1)),
            At::End => Err(self.error("expected no bytes after the trailer".to_owned())),
        }
    }

    fn header(&mut self, bytes: &[u8]) -> Result<Step> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(Step::Needs(HEADER_BYTES));
        };
        let &[signature @ .., f0, f1, f2, f3, e0, e1, e2, e3] = header;
        if signature != SIGNATURE {
            return Err(self.error("expected the signature of a binary copy".to_owned()));
        }
        let flags = u32::from_be_bytes([f0, f1, f2, f3]);
        if flags & CRITICAL_FLAGS != 0 {
            return Err(self.error(format!("expected no critical flags, was {flags:#010x}")));
        }
        let extension = i32::from_be_bytes([e0, e1, e2, e3]);
        let left = usize::try_from(extension).map_err(|_| {
            self.error(format!(
                "expected an extension of 0 or more bytes, was {extension}"
            ))
        })?;
        self.at = Self::after_extension(left);
        Ok(Step::Took(HEADER_BYTES))
    }

    fn after_extension(left: usize) -> At {
        if left == 0 {
            At::Row
        } else {
            At::Extension(left)
        }
    }

    fn row(&mut self, bytes: &[u8]) -> Result<Step> {
        let Some(&count) = bytes.first_chunk() else {
            return Ok(Step::Needs(2));
        };
        let count = i16::from_be_bytes(count);
        if count == i16::from(NONE) {
            self.at = At::End;
        } else if usize::try_from(count) != Ok(self.columns.len()) {
            let expected = self.columns.len();
            return Err(self.error(format!("expected {expected} fields, was {count}")));
        } else if self.columns.is_empty() {
            self.rows += 1;
        } else {
            self.at = At::Field(0);
        }
        Ok(Step::Took(2))
    }

    /// Takes the complete fields from column `first`.
    fn fields(&mut self, first: usize, bytes: &[u8]) -> Result<Step> {
        let mut rest = bytes;
        for (index, (name, column)) in self.columns.iter_mut().enumerate().skip(first) {
            match column.take(rest) {
                Ok(Step::Took(size)) => rest = rest.get(size..).unwrap_or_default(),
                Ok(Step::Needs(size)) => {
                    self.at = At::Field(index);
                    let taken = bytes.len() - rest.len();
                    return Ok(if taken == 0 {
                        Step::Needs(size)
                    } else {
                        Step::Took(taken)
                    });
                }
                Err(fault) => {
                    return Err(Error::Decode {
                        row: self.rows,
                        column: Some(name.clone()),
                        what: fault.to_string(),
                    });
                }
            }
        }
        self.rows += 1;
        self.at = At::Row;
        Ok(Step::Took(bytes.len() - rest.len()))
    }

    fn error(&self, what: String) -> Error {
        Error::Decode {
            row: self.rows,
            column: None,
            what,
        }
    }
}
