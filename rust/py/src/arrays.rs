//! NumPy arrays and columns of frames in, or an error that names the column.

use batchcore_core::frame::{self, Column, Days, Decimals, Frame, Kind, OfKind, Texts};
use batchcore_core::pnl::inputs::BookFrames;
use batchcore_core::text::Table;
use numpy::{
    Element, IntoPyArray, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray1, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::caches::decimal;
use crate::errors::{InputError, InternalError, to_py};
use crate::guard::guard;

/// Loads the parts of NumPy and `decimal` that calls need, each once.
///
/// A process that is forked while another thread loads it would wait for that thread for ever.
#[pyfunction]
pub(crate) fn load_needed(py: Python<'_>) -> PyResult<()> {
    guard("load_needed", || {
        Vec::<f64>::new().into_pyarray(py).try_readonly()?;
        decimal(py, 0, 0)?;
        Ok(())
    })
}

fn wrong(column: &str, expected: &str, was: &str) -> PyErr {
    InputError::new_err((
        format!("column `{column}`: expected {expected}, was {was}"),
        column.to_owned(),
    ))
}

/// Returns attribute `name` of a frame or column, or an error that names it.
pub(crate) fn attribute<'py>(
    owner: &Bound<'py, PyAny>,
    path: &str,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    owner.getattr(name).map_err(|_| {
        let found = format!("missing on {}", owner.get_type());
        wrong(&format!("{path}.{name}"), "an attribute", &found)
    })
}

fn untyped<'a, 'py>(
    value: &'a Bound<'py, PyAny>,
    path: &str,
) -> PyResult<&'a Bound<'py, PyUntypedArray>> {
    let found = || value.get_type().to_string();
    value
        .cast::<PyUntypedArray>()
        .map_err(|_| wrong(path, "a NumPy array", &found()))
}

/// Returns a contiguous array of exactly `T` and one dimension.
pub(crate) fn column<'py, T: Element>(
    value: &Bound<'py, PyAny>,
    path: &str,
) -> PyResult<PyReadonlyArray1<'py, T>> {
    let array = untyped(value, path)?;
    let (expected, found) = (numpy::dtype::<T>(value.py()), array.dtype());
    if !found.is_equiv_to(&expected) {
        return Err(wrong(path, &expected.to_string(), &found.to_string()));
    }
    if array.ndim() != 1 {
        return Err(wrong(path, "1 dimension", &array.ndim().to_string()));
    }
    if !array.is_contiguous() {
        return Err(wrong(path, "a contiguous array", "a strided one"));
    }
    let typed = value
        .cast::<numpy::PyArray1<T>>()
        .map_err(|_| wrong(path, &expected.to_string(), "another"))?;
    typed
        .try_readonly()
        .map_err(|error| wrong(path, "an array to read", &error.to_string()))
}

/// Returns a flat view of uuids, (n, 16) uint8.
pub(crate) fn uuids<'py>(
    value: &Bound<'py, PyAny>,
    path: &str,
) -> PyResult<PyReadonlyArray1<'py, u8>> {
    let array = untyped(value, path)?;
    if array.ndim() != 2 || array.shape().get(1) != Some(&16) {
        let found = format!("{:?}", array.shape());
        return Err(wrong(path, "shape (n, 16)", &found));
    }
    if !array.is_c_contiguous() {
        return Err(wrong(path, "a contiguous array", "a strided one"));
    }
    column(&value.call_method1("reshape", (-1,))?, path)
}

/// Returns the array `name` of a column.
fn part<'py, T: Element>(
    object: &Bound<'py, PyAny>,
    path: &str,
    name: &str,
) -> PyResult<PyReadonlyArray1<'py, T>> {
    column(&attribute(object, path, name)?, &format!("{path}.{name}"))
}

/// Returns the column `path` of a frame, whose attribute is the part after the last point.
fn member<'py>(frame: &Bound<'py, PyAny>, path: &str) -> PyResult<Bound<'py, PyAny>> {
    let (owner, name) = path.rsplit_once('.').unwrap_or(("", path));
    attribute(frame, owner, name)
}

/// Returns the table of a text column.
pub(crate) fn table(object: &Bound<'_, PyAny>, path: &'static str) -> PyResult<Table> {
    let offsets = part::<i64>(object, path, "offsets")?.as_slice()?.to_vec();
    let data = part::<u8>(object, path, "data")?.as_slice()?.to_vec();
    Table::from_parts(path, offsets, data).map_err(|error| to_py(&error))
}

/// Returns a text of a frame.
pub(crate) fn text(frame: &Bound<'_, PyAny>, path: &'static str) -> PyResult<String> {
    let found = member(frame, path)?;
    let was = found.get_type().to_string();
    found.extract().map_err(|_| wrong(path, "a text", &was))
}

/// The arrays of a column, borrowed for a call.
pub(crate) struct HeldColumn<'py> {
    path: &'static str,
    arrays: ColumnArrays<'py>,
}

type States<'py> = PyReadonlyArray1<'py, u8>;

enum ColumnArrays<'py> {
    Ids(PyReadonlyArray1<'py, u8>),
    Integers(PyReadonlyArray1<'py, i32>),
    Flags(PyReadonlyArray1<'py, bool>),
    Decimals(PyReadonlyArray1<'py, i64>, States<'py>, u32),
    Days(PyReadonlyArray1<'py, i32>, States<'py>),
    Texts(PyReadonlyArray1<'py, u32>, States<'py>, Table),
}

impl<'py> HeldColumn<'py> {
    /// Returns the arrays of a column of a kind.
    pub(crate) fn of(object: &Bound<'py, PyAny>, path: &'static str, kind: Kind) -> PyResult<Self> {
        let state = || part(object, path, "state");
        let arrays = match kind {
            Kind::Ids => ColumnArrays::Ids(uuids(object, path)?),
            Kind::Integers => ColumnArrays::Integers(column(object, path)?),
            Kind::Flags => ColumnArrays::Flags(column(object, path)?),
            Kind::Decimals => {
                let scale = attribute(object, path, "scale")?;
                let fault = |_| wrong(&format!("{path}.scale"), "0 to 18", &scale.to_string());
                let scale = scale.extract().map_err(fault)?;
                ColumnArrays::Decimals(part(object, path, "values")?, state()?, scale)
            }
            Kind::Days => ColumnArrays::Days(part(object, path, "values")?, state()?),
            Kind::Texts => {
                let codes = part(object, path, "codes")?;
                ColumnArrays::Texts(codes, state()?, table(object, path)?)
            }
        };
        Ok(Self { path, arrays })
    }

    fn column(&self) -> PyResult<Column<'_>> {
        let path = self.path;
        let column = match &self.arrays {
            ColumnArrays::Ids(flat) => frame::uuids(path, flat.as_slice()?).map(Column::Ids),
            ColumnArrays::Integers(values) => Ok(Column::Integers(values.as_slice()?)),
            ColumnArrays::Flags(values) => Ok(Column::Flags(values.as_slice()?)),
            ColumnArrays::Decimals(values, state, scale) => {
                let column = Decimals::new(path, values.as_slice()?, state.as_slice()?, *scale);
                column.map(Column::Decimals)
            }
            ColumnArrays::Days(values, state) => {
                Days::new(path, values.as_slice()?, state.as_slice()?).map(Column::Days)
            }
            ColumnArrays::Texts(codes, state, table) => {
                let column = Texts::new(path, codes.as_slice()?, table, state.as_slice()?);
                column.map(Column::Texts)
            }
        };
        column.map_err(|error| to_py(&error))
    }

    /// Returns the column, of the same kind.
    pub(crate) fn borrow<'a, C: OfKind<'a>>(&'a self) -> PyResult<C> {
        C::of(self.column()?).ok_or_else(|| InternalError::new_err("a column of another kind"))
    }
}

/// The columns of a frame.
pub(crate) struct FrameArrays<'py>(Vec<HeldColumn<'py>>);

impl<'py> FrameArrays<'py> {
    /// Returns the columns that frames of this kind have.
    pub(crate) fn of<'a, F: Frame<'a>>(owner: &Bound<'py, PyAny>) -> PyResult<Self> {
        let held = |(path, kind)| HeldColumn::of(&member(owner, path)?, path, kind);
        let columns = F::columns().into_iter().map(held);
        columns.collect::<PyResult<_>>().map(Self)
    }

    /// Returns the columns of the frames of a `native.Book`.
    pub(crate) fn of_book(book: &Bound<'py, PyAny>) -> PyResult<Self> {
        let held = |(path, kind): (&'static str, Kind)| {
            let frame = path.split_once('.').map_or(path, |(frame, _)| frame);
            let column = member(&attribute(book, "book", frame)?, path)?;
            HeldColumn::of(&column, path, kind)
        };
        let columns = BookFrames::columns().into_iter().map(held);
        columns.collect::<PyResult<_>>().map(Self)
    }

    /// Returns the frame, of the same kind.
    pub(crate) fn borrow<'a, F: Frame<'a>>(&'a self) -> PyResult<F> {
        let columns = self.0.iter().map(HeldColumn::column);
        let columns = columns.collect::<PyResult<Vec<_>>>()?;
        F::of(&mut columns.into_iter())
            .ok_or_else(|| InternalError::new_err("a frame of another kind"))
    }
}

/// Returns (codes, offsets, data, state) of a text column that leaves the core.
pub(crate) fn text_out(
    py: Python<'_>,
    codes: Vec<u32>,
    table: Table,
    state: Vec<u8>,
) -> PyResult<Bound<'_, PyTuple>> {
    let (offsets, data) = table.into_parts();
    (
        codes.into_pyarray(py),
        offsets.into_pyarray(py),
        data.into_pyarray(py),
        state.into_pyarray(py),
    )
        .into_pyobject(py)
}
