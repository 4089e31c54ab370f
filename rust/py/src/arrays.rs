//! NumPy arrays and columns of frames in, or an error that names the column.

use batchcore_core::frame::{self, Column, Days, Decimals, Frame, Kind, Texts};
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

/// Loads what calls need of NumPy and of `decimal`, each of which is loaded once.
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
        let found = owner.get_type().to_string();
        wrong(
            &format!("{path}.{name}"),
            "an attribute",
            &format!("missing on {found}"),
        )
    })
}

/// Returns a contiguous array of exactly `T` and one dimension.
pub(crate) fn column<'py, T: Element>(
    value: &Bound<'py, PyAny>,
    path: &str,
) -> PyResult<PyReadonlyArray1<'py, T>> {
    let py = value.py();
    let array = value
        .cast::<PyUntypedArray>()
        .map_err(|_| wrong(path, "a NumPy array", &value.get_type().to_string()))?;
    let expected = numpy::dtype::<T>(py);
    if !array.dtype().is_equiv_to(&expected) {
        return Err(wrong(
            path,
            &expected.to_string(),
            &array.dtype().to_string(),
        ));
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
    let array = value
        .cast::<PyUntypedArray>()
        .map_err(|_| wrong(path, "a NumPy array", &value.get_type().to_string()))?;
    if array.ndim() != 2 || array.shape().get(1) != Some(&16) {
        return Err(wrong(
            path,
            "shape (n, 16)",
            &format!("{:?}", array.shape()),
        ));
    }
    if !array.is_c_contiguous() {
        return Err(wrong(path, "a contiguous array", "a strided one"));
    }
    column(&value.call_method1("reshape", (-1,))?, path)
}

/// A column of a frame: its arrays, held while a call reads them.
pub(crate) struct DecimalColumn<'py> {
    path: &'static str,
    values: PyReadonlyArray1<'py, i64>,
    state: PyReadonlyArray1<'py, u8>,
    scale: u32,
}

pub(crate) struct DayColumn<'py> {
    path: &'static str,
    values: PyReadonlyArray1<'py, i32>,
    state: PyReadonlyArray1<'py, u8>,
}

pub(crate) struct TextColumn<'py> {
    path: &'static str,
    codes: PyReadonlyArray1<'py, u32>,
    table: Table,
    state: PyReadonlyArray1<'py, u8>,
}

/// Returns the column `path` of a frame; the part behind the last point is its attribute.
fn member<'py>(frame: &Bound<'py, PyAny>, path: &'static str) -> PyResult<Bound<'py, PyAny>> {
    let (owner, name) = path.rsplit_once('.').unwrap_or(("", path));
    attribute(frame, owner, name)
}

impl<'py> DecimalColumn<'py> {
    pub(crate) fn of(frame: &Bound<'py, PyAny>, path: &'static str) -> PyResult<Self> {
        Self::from_object(&member(frame, path)?, path)
    }

    pub(crate) fn from_object(object: &Bound<'py, PyAny>, path: &'static str) -> PyResult<Self> {
        let scale = attribute(object, path, "scale")?;
        Ok(Self {
            path,
            values: column(
                &attribute(object, path, "values")?,
                &format!("{path}.values"),
            )?,
            state: column(&attribute(object, path, "state")?, &format!("{path}.state"))?,
            scale: scale
                .extract()
                .map_err(|_| wrong(&format!("{path}.scale"), "0 to 18", &scale.to_string()))?,
        })
    }

    pub(crate) fn borrow(&self) -> PyResult<Decimals<'_>> {
        Decimals::new(
            self.path,
            self.values.as_slice()?,
            self.state.as_slice()?,
            self.scale,
        )
        .map_err(|error| to_py(&error))
    }
}

impl<'py> DayColumn<'py> {
    pub(crate) fn of(frame: &Bound<'py, PyAny>, path: &'static str) -> PyResult<Self> {
        let object = member(frame, path)?;
        Ok(Self {
            path,
            values: column(
                &attribute(&object, path, "values")?,
                &format!("{path}.values"),
            )?,
            state: column(
                &attribute(&object, path, "state")?,
                &format!("{path}.state"),
            )?,
        })
    }

    pub(crate) fn borrow(&self) -> PyResult<Days<'_>> {
        Days::new(self.path, self.values.as_slice()?, self.state.as_slice()?)
            .map_err(|error| to_py(&error))
    }
}

/// Returns the table of a text column.
pub(crate) fn table(object: &Bound<'_, PyAny>, path: &'static str) -> PyResult<Table> {
    let offsets = column::<i64>(
        &attribute(object, path, "offsets")?,
        &format!("{path}.offsets"),
    )?;
    let data = column::<u8>(&attribute(object, path, "data")?, &format!("{path}.data"))?;
    Table::from_parts(
        path,
        offsets.as_slice()?.to_vec(),
        data.as_slice()?.to_vec(),
    )
    .map_err(|error| to_py(&error))
}

impl<'py> TextColumn<'py> {
    pub(crate) fn of(frame: &Bound<'py, PyAny>, path: &'static str) -> PyResult<Self> {
        Self::from_object(&member(frame, path)?, path)
    }

    pub(crate) fn from_object(object: &Bound<'py, PyAny>, path: &'static str) -> PyResult<Self> {
        Ok(Self {
            path,
            codes: column(&attribute(object, path, "codes")?, &format!("{path}.codes"))?,
            table: table(object, path)?,
            state: column(&attribute(object, path, "state")?, &format!("{path}.state"))?,
        })
    }

    pub(crate) fn borrow(&self) -> PyResult<Texts<'_>> {
        Texts::new(
            self.path,
            self.codes.as_slice()?,
            &self.table,
            self.state.as_slice()?,
        )
        .map_err(|error| to_py(&error))
    }
}

/// Returns a text of a frame.
pub(crate) fn text(frame: &Bound<'_, PyAny>, path: &'static str) -> PyResult<String> {
    let found = member(frame, path)?;
    let was = found.get_type().to_string();
    found.extract().map_err(|_| wrong(path, "a text", &was))
}

/// Returns a plain array of a frame.
pub(crate) fn plain<'py, T: Element>(
    frame: &Bound<'py, PyAny>,
    path: &'static str,
) -> PyResult<PyReadonlyArray1<'py, T>> {
    column(&member(frame, path)?, path)
}

/// The columns of a frame, held while a call borrows them.
pub(crate) struct FrameArrays<'py>(Vec<HeldColumn<'py>>);

enum HeldColumn<'py> {
    Ids(&'static str, PyReadonlyArray1<'py, u8>),
    Integers(PyReadonlyArray1<'py, i32>),
    Flags(PyReadonlyArray1<'py, bool>),
    Decimals(DecimalColumn<'py>),
    Days(DayColumn<'py>),
    Texts(TextColumn<'py>),
}

impl HeldColumn<'_> {
    fn borrow(&self) -> PyResult<Column<'_>> {
        Ok(match self {
            Self::Ids(path, flat) => {
                Column::Ids(frame::uuids(path, flat.as_slice()?).map_err(|error| to_py(&error))?)
            }
            Self::Integers(values) => Column::Integers(values.as_slice()?),
            Self::Flags(values) => Column::Flags(values.as_slice()?),
            Self::Decimals(column) => Column::Decimals(column.borrow()?),
            Self::Days(column) => Column::Days(column.borrow()?),
            Self::Texts(column) => Column::Texts(column.borrow()?),
        })
    }
}

impl<'py> FrameArrays<'py> {
    /// Returns the columns that frames of this kind have.
    pub(crate) fn of<'a, F: Frame<'a>>(owner: &Bound<'py, PyAny>) -> PyResult<Self> {
        let held = |&(path, kind)| {
            Ok(match kind {
                Kind::Ids => HeldColumn::Ids(path, uuids(&member(owner, path)?, path)?),
                Kind::Integers => HeldColumn::Integers(plain(owner, path)?),
                Kind::Flags => HeldColumn::Flags(plain(owner, path)?),
                Kind::Decimals => HeldColumn::Decimals(DecimalColumn::of(owner, path)?),
                Kind::Days => HeldColumn::Days(DayColumn::of(owner, path)?),
                Kind::Texts => HeldColumn::Texts(TextColumn::of(owner, path)?),
            })
        };
        let columns = F::COLUMNS.iter().map(held).collect::<PyResult<_>>();
        columns.map(Self)
    }

    /// Returns the frame, of the same kind.
    pub(crate) fn borrow<'a, F: Frame<'a>>(&'a self) -> PyResult<F> {
        let columns = self.0.iter().map(HeldColumn::borrow);
        let columns = columns.collect::<PyResult<Vec<_>>>()?;
        F::of(columns.into_iter()).ok_or_else(|| InternalError::new_err("a frame of another kind"))
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
