//! The compiled module `batchcore._core`: converts, calls one core function, converts back.

mod arrays;
mod caches;
mod contributions;
mod errors;
mod guard;
mod marks;
mod pgcopy;
mod pnl;
mod rates;
mod results;
mod returns;
mod store;
mod threads;

use pyo3::prelude::*;

/// The compiled core of batchcore.
// Nothing of it relies on the interpreter's lock: docs/architecture.md has the audit.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // the order of `__all__`, which PyO3 fills
    module.add_class::<guard::CancelFlag>()?;
    module.add_class::<marks::Checks>()?;
    module.add_class::<pgcopy::Decoder>()?;
    module.add_class::<marks::Marks>()?;
    module.add_class::<caches::PriceReader>()?;
    module.add_class::<store::PriceStore>()?;
    module.add_class::<rates::Rates>()?;
    module.add_class::<threads::ThreadGuard>()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    let is_debug = cfg!(debug_assertions);
    module.add("build_profile", if is_debug { "debug" } else { "release" })?;
    module.add_function(wrap_pyfunction!(returns::compound, module)?)?;
    module.add_function(wrap_pyfunction!(contributions::contributions, module)?)?;
    module.add_function(wrap_pyfunction!(pgcopy::encode, module)?)?;
    module.add_function(wrap_pyfunction!(pnl::hold, module)?)?;
    module.add_function(wrap_pyfunction!(arrays::load_needed, module)?)?;
    module.add_function(wrap_pyfunction!(store::locate, module)?)?;
    module.add_function(wrap_pyfunction!(pnl::run, module)?)?;
    module.add_function(wrap_pyfunction!(contributions::sums_by_key, module)?)?;
    module.add_function(wrap_pyfunction!(pnl::value_positions, module)?)
}
