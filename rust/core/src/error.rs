//! The one error type of the core: each variant holds facts, its message is made on request.

use thiserror::Error;

/// A result whose error is [`Error`].
pub type Result<T> = core::result::Result<T, Error>;

/// What can be wrong with what the core was handed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// A column is as long as no other of its frame.
    #[error("column `{column}` has {actual} rows, expected {expected}")]
    Length {
        /// Name of the column.
        column: &'static str,
        /// Rows that the frame has.
        expected: usize,
        /// Rows that the column has.
        actual: usize,
    },
    /// A value that its column does not allow.
    #[error("column `{column}`, row {row}: {expected}")]
    Value {
        /// Name of the column.
        column: &'static str,
        /// Index of the row, from 0.
        row: usize,
        /// What would be right.
        expected: &'static str,
    },
    /// The same key stands in two rows.
    #[error("column `{column}`, row {row}: the same key stands in row {first}")]
    Duplicate {
        /// Name of the column.
        column: &'static str,
        /// Index of the later row.
        row: usize,
        /// Index of the earlier row.
        first: usize,
    },
    /// A scale that no 64-bit mantissa can carry.
    #[error("scale of `{column}` is {scale}, expected 0 to {most}")]
    Scale {
        /// Name of the column.
        column: &'static str,
        /// The scale handed in.
        scale: u32,
        /// The largest scale.
        most: u32,
    },
    /// Bytes that are no binary COPY, or not of the columns announced.
    #[error("binary copy, row {row}{}: {what}", column.as_ref().map(|c| format!(", column `{c}`")).unwrap_or_default())]
    Decode {
        /// Index of the row, from 0.
        row: u64,
        /// Name of the column, if the fault is of one.
        column: Option<String>,
        /// What is wrong and what would be right.
        what: String,
    },
    /// A column that cannot be written as binary COPY.
    #[error("column `{column}`{}: {what}", row.map(|r| format!(", row {r}")).unwrap_or_default())]
    Encode {
        /// Name of the column.
        column: String,
        /// Index of the row, from 0, if the fault is of one.
        row: Option<usize>,
        /// What is wrong and what would be right.
        what: String,
    },
    /// The caller's cancel flag was raised.
    #[error("cancelled")]
    Cancelled,
}
