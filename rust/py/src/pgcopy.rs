//! Binary COPY in and out.

use batchcore_core::pgcopy as core;
use batchcore_core::pgcopy::{Cells, Column, ColumnSpec, Field, Kind, Numbers, Objects, Values};
use batchcore_core::text::Table;
use numpy::{IntoPyArray, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::arrays::{column, text_out, uuids};
use crate::errors::{InputError, to_py};
use crate::guard::{CancelFlag, detached, guard};

/// Takes the bytes of a binary COPY, split anywhere, and makes columns of them. One task alone uses
/// it.
#[pyclass(module = "batchcore._core")]
pub(crate) struct Decoder {
    decoder: Option<core::Decoder>,
}

fn kind(name: &str, kind: &str, scale: u32) -> PyResult<Kind> {
    Ok(match kind {
        "uuid" => Kind::Uuid,
        "date" => Kind::Date,
        "numeric" => Kind::Numeric { scale },
        "float8" => Kind::Float8 { scale },
        "text" => Kind::Text,
        "bool" => Kind::Bool,
        "int2" => Kind::Int2,
        "int4" => Kind::Int4,
        "int8" => Kind::Int8,
        "timestamptz" => Kind::Timestamp,
        _ => {
            let message = format!("column `{name}`: no type `{kind}` can be decoded");
            return Err(InputError::new_err((message, name.to_owned())));
        }
    })
}

fn spent() -> PyErr {
    InputError::new_err(("the decoder is finished; make another one", None::<String>))
}

#[pymethods]
impl Decoder {
    /// Return a decoder of columns given as (name, type, scale); the scale is that of `numeric` and
    /// `float8`.
    #[new]
    fn new(columns: &Bound<'_, PyList>) -> PyResult<Self> {
        guard("Decoder", || {
            let columns: Vec<(String, String, u32)> = columns.extract()?;
            let specs: PyResult<Vec<ColumnSpec>> = columns
                .into_iter()
                .map(|(name, type_name, scale)| {
                    let kind = kind(&name, &type_name, scale)?;
                    Ok(ColumnSpec { name, kind })
                })
                .collect();
            Ok(Self {
                decoder: Some(core::Decoder::new(specs?)),
            })
        })
    }

    /// Take the next bytes of the stream.
    fn push(&mut self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        guard("Decoder.push", || {
            // after a panic there is none: its columns would not be of one length
            let mut decoder = self.decoder.take().ok_or_else(spent)?;
            let pushed = detached(py, || decoder.push(data));
            self.decoder = Some(decoder);
            pushed
        })
    }

    /// Rows that are complete so far.
    #[getter]
    fn rows(&self) -> PyResult<u64> {
        guard("Decoder.rows", || {
            Ok(self.decoder.as_ref().map_or(0, core::Decoder::rows))
        })
    }

    /// Return the columns by name, as tuples of arrays: `text` (codes, offsets, data, state),
    /// `numeric` (values, scale, state), `float8` (values, scale, state, rows that lost decimals),
    /// others (values, state).
    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard("Decoder.finish", || {
            let decoder = self.decoder.take().ok_or_else(spent)?;
            let frame = detached(py, || decoder.finish())?;
            let columns = PyDict::new(py);
            for (name, column) in frame.columns {
                columns.set_item(name, column_out(py, column)?)?;
            }
            Ok(columns)
        })
    }
}

fn column_out(py: Python<'_>, column: Column) -> PyResult<Bound<'_, PyTuple>> {
    let state = column.state;
    match (column.values, column.kind) {
        (Values::Codes(codes), _) => text_out(py, codes, column.table, state),
        (Values::Bytes(values), _) => {
            (values.into_pyarray(py), state.into_pyarray(py)).into_pyobject(py)
        }
        (Values::Days(values), _) => {
            (values.into_pyarray(py), state.into_pyarray(py)).into_pyobject(py)
        }
        (Values::Integers(values), Kind::Numeric { scale }) => {
            (values.into_pyarray(py), scale, state.into_pyarray(py)).into_pyobject(py)
        }
        (Values::Integers(values), Kind::Float8 { scale }) => {
            let (values, state) = (values.into_pyarray(py), state.into_pyarray(py));
            (values, scale, state, column.lost).into_pyobject(py)
        }
        (Values::Integers(values), _) => {
            (values.into_pyarray(py), state.into_pyarray(py)).into_pyobject(py)
        }
    }
}

/// The array of a field, borrowed for a call.
enum FieldArrays<'py> {
    Bytes(PyReadonlyArray1<'py, u8>),
    Int32(PyReadonlyArray1<'py, i32>),
    Int64(PyReadonlyArray1<'py, i64>, u32),
    Texts(PyReadonlyArray1<'py, u32>, Table),
    Objects(Table, NumberArrays<'py>, PyReadonlyArray1<'py, u8>),
    Constant(Vec<u8>),
}

enum NumberArrays<'py> {
    Decimals(PyReadonlyArray1<'py, i64>, u32),
    Floats(PyReadonlyArray1<'py, f64>),
}

/// Returns the table of texts given by offsets into data.
fn distinct(offsets: &Bound<'_, PyAny>, data: &Bound<'_, PyAny>, name: &str) -> PyResult<Table> {
    let offsets = column::<i64>(offsets, name)?.as_slice()?.to_vec();
    let data = column::<u8>(data, name)?.as_slice()?.to_vec();
    Table::from_parts("text", offsets, data).map_err(|error| to_py(&error))
}

fn held<'py>(name: &str, kind: &str, value: &Bound<'py, PyTuple>) -> PyResult<FieldArrays<'py>> {
    let item = |at: usize| value.get_item(at);
    Ok(match kind {
        "uuid" => FieldArrays::Bytes(uuids(&item(0)?, name)?),
        "date" | "int4" => FieldArrays::Int32(column(&item(0)?, name)?),
        "numeric" => FieldArrays::Int64(column(&item(0)?, name)?, item(1)?.extract()?),
        "text" => FieldArrays::Texts(
            column(&item(0)?, name)?,
            distinct(&item(1)?, &item(2)?, name)?,
        ),
        "json" | "jsonb" => {
            let names = distinct(&item(0)?, &item(1)?, name)?;
            if value.len() == 4 {
                let numbers = NumberArrays::Floats(column(&item(2)?, name)?);
                FieldArrays::Objects(names, numbers, column(&item(3)?, name)?)
            } else {
                let numbers = NumberArrays::Decimals(column(&item(2)?, name)?, item(3)?.extract()?);
                FieldArrays::Objects(names, numbers, column(&item(4)?, name)?)
            }
        }
        "bool" => FieldArrays::Bytes(column(&item(0)?, name)?),
        "constant" => FieldArrays::Constant(item(0)?.extract()?),
        _ => {
            let message = format!("column `{name}`: no type `{kind}` can be encoded");
            return Err(InputError::new_err((message, name.to_owned())));
        }
    })
}

fn cells<'a>(kind: &str, held: &'a FieldArrays<'_>) -> PyResult<Cells<'a>> {
    Ok(match held {
        FieldArrays::Bytes(array) if kind == "bool" => Cells::Bool(array.as_slice()?),
        FieldArrays::Bytes(array) => Cells::Uuid(array.as_slice()?),
        FieldArrays::Int32(array) if kind == "date" => Cells::Date(array.as_slice()?),
        FieldArrays::Int32(array) => Cells::Int4(array.as_slice()?),
        FieldArrays::Int64(array, scale) => Cells::Decimal {
            values: array.as_slice()?,
            scale: *scale,
        },
        FieldArrays::Texts(codes, table) => Cells::Text {
            codes: codes.as_slice()?,
            table,
        },
        FieldArrays::Objects(names, numbers, present) => Cells::Objects(Objects {
            names,
            numbers: match numbers {
                NumberArrays::Decimals(values, scale) => {
                    Numbers::Decimals(values.as_slice()?, *scale)
                }
                NumberArrays::Floats(values) => Numbers::Floats(values.as_slice()?),
            },
            present: present.as_slice()?,
            is_jsonb: kind == "jsonb",
        }),
        FieldArrays::Constant(bytes) => Cells::Constant(bytes),
    })
}

type FieldArguments<'py> = (
    String,
    String,
    Bound<'py, PyTuple>,
    Option<Bound<'py, PyAny>>,
);

/// Return a binary COPY of `rows` rows as pieces of about `piece_bytes`.
///
/// Fields are (name, type, values, state): `uuid` ((n, 16) uint8,), `date` (int32 days,), `int4`
/// (int32,), `numeric` (int64 mantissas, scale), `text` (uint32 codes, int64 offsets, uint8 data),
/// `json` and `jsonb` objects (int64 offsets and uint8 data of the names, int64 mantissas row by
/// row, scale, uint8 whether there) or the same with float64 values and no scale, `bool` (uint8 0 or
/// 1,), `constant` (the bytes of every row,); state is None or uint8. Raises `CancelledError`
/// between two pieces once `cancel` is raised.
#[pyfunction]
#[pyo3(signature = (*, fields, rows, piece_bytes, cancel=None))]
pub(crate) fn encode<'py>(
    py: Python<'py>,
    fields: &Bound<'py, PyList>,
    rows: usize,
    piece_bytes: usize,
    cancel: Option<&CancelFlag>,
) -> PyResult<Bound<'py, PyList>> {
    guard("encode", || {
        let fields: Vec<FieldArguments<'py>> = fields.extract()?;
        let mut arrays = Vec::with_capacity(fields.len());
        for (name, kind, value, state) in &fields {
            let state = state
                .as_ref()
                .map(|state| column::<u8>(state, &format!("{name}.state")))
                .transpose()?;
            arrays.push((name, kind, held(name, kind, value)?, state));
        }
        let mut columns = Vec::with_capacity(arrays.len());
        for (name, kind, held, state) in &arrays {
            let state = state.as_ref().map(|state| state.as_slice()).transpose()?;
            columns.push(Field {
                name: name.as_str(),
                cells: cells(kind, held)?,
                state,
            });
        }
        let pieces = detached(py, || {
            let mut encoder = core::Encoder::new(&columns, rows)?;
            let mut pieces = Vec::new();
            while let Some(piece) = encoder.next_piece(piece_bytes) {
                CancelFlag::check(cancel)?;
                pieces.push(piece);
            }
            Ok(pieces)
        })?;
        PyList::new(py, pieces.iter().map(|piece| PyBytes::new(py, piece)))
    })
}
