//! Binary COPY: a [`Decoder`] of bytes split anywhere into columns, an [`Encoder`] of columns.
//!
//! | type                  | what it is                                                     |
//! |-----------------------|----------------------------------------------------------------|
//! | [`Decoder`]           | `push` bytes as they arrive, `finish` into a [`Frame`]         |
//! | [`ColumnSpec`]        | name and [`Kind`] of a column: the bytes carry no types        |
//! | [`Column`]            | values and states of a column that was read                    |
//! | [`Encoder`]           | hands out the bytes of [`Field`]s piece by piece               |
//! | [`Cells`]             | what a [`Field`] writes: borrowed values, or a constant        |
//! | [`Objects`]           | a column of JSON objects of [`Numbers`]                        |
//! | [`try_from_numeric`]  | one NUMERIC as a mantissa, exact or a state                    |
//! | [`try_from_float8`]   | one double as a mantissa, rounded half away from zero          |
//!
//! Source: PostgreSQL documentation, COPY, "Binary Format", and the `*_send` functions of the
//! types.

mod column;
mod decode;
mod encode;
mod float8;
mod numeric;
mod object;

pub use column::{Column, ColumnSpec, Kind, Values};
pub use decode::{Decoder, Frame};
pub use encode::{Cells, Encoder, Field};
pub use float8::{Rounded, try_from_float8};
pub use numeric::{Cell, Malformed, try_from_numeric};
pub use object::{Numbers, Objects};

/// The signature of every binary COPY.
const SIGNATURE: [u8; 11] = *b"PGCOPY\n\xff\r\n\0";

/// Signature, flags, and length of the extension.
const HEADER_BYTES: usize = 19;

/// Length of a NULL, and field count of the trailer.
const NONE: i8 = -1;

/// Microseconds from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;
