//! The one error type of the core: each variant holds facts, and its message is made on request.

use thiserror::Error;

/// A result whose error is [`enum@Error`].
pub type Result<T> = core::result::Result<T, Error>;

/// The faults of inputs of the core.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// A column whose length differs from that of its frame.
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
        /// The allowed values.
        expected: &'static str,
    },
    /// The same key is in two rows.
    #[error("column `{column}`, row {row}: the same key stands in row {first}")]
    Duplicate {
        /// Name of the column.
        column: &'static str,
        /// Index of the later row.
        row: usize,
        /// Index of the earlier row.
        first: usize,
    },
    /// A scale beyond that of a 64-bit mantissa.
    #[error("scale of `{column}` is {scale}, expected 0 to {most}")]
    Scale {
        /// Name of the column.
        column: &'static str,
        /// The scale given.
        scale: u32,
        /// The largest scale.
        most: u32,
    },
    /// Bytes that are not a binary COPY, or not one of the declared columns.
    #[error("binary copy, row {row}{}: {what}", column.as_ref().map(|c| format!(", column `{c}`")).unwrap_or_default())]
    Decode {
        /// Index of the row, from 0.
        row: u64,
        /// Name of the column, if the fault concerns one.
        column: Option<String>,
        /// What is wrong, and what is allowed.
        what: String,
    },
    /// A column that cannot be written as binary COPY.
    #[error("column `{column}`{}: {what}", row.map(|r| format!(", row {r}")).unwrap_or_default())]
    Encode {
        /// Name of the column.
        column: String,
        /// Index of the row, from 0, if the fault concerns one.
        row: Option<usize>,
        /// What is wrong, and what is allowed.
        what: String,
    },
    /// The caller's cancel flag was raised.
    #[error("cancelled")]
    Cancelled,
}
