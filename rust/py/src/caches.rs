//! Look-ups of the price cache: symbols and dates in, exact decimals out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use batchcore_core::fixed::{State, TEXT_BYTES, rescaled, text_in};
use batchcore_core::ids::Day;
use batchcore_core::store::{self as core, Close, DayIndex, PriceOverrides};
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

use crate::arrays::text_out;
use crate::errors::ConfigError;
use crate::guard::guard;
use crate::store::PriceStore;
use crate::threads::ThreadGuard;

static DECIMAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// Returns `mantissa * 10^-scale` as a `decimal.Decimal` of `scale` decimals, exactly.
pub(crate) fn decimal(py: Python<'_>, mantissa: i64, scale: u32) -> PyResult<Bound<'_, PyAny>> {
    let mut buffer = [0; TEXT_BYTES];
    DECIMAL
        .import(py, "decimal", "Decimal")?
        .call1((text_in(&mut buffer, mantissa, scale),))
}

fn wrong_type(option: &str, expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let found = value
        .get_type()
        .name()
        .map_or_else(|_| "another type".to_owned(), |name| name.to_string());
    let message = format!("{option} is of type {found}, expected {expected}");
    ConfigError::new_err((message, option.to_owned()))
}

/// Returns a symbol's text.
pub(crate) fn symbol_text<'a>(symbol: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    let text = symbol
        .cast::<PyString>()
        .map_err(|_| wrong_type("symbol", "str", symbol))?;
    text.to_str().map_err(|_| {
        let message = "symbol is not valid Unicode".to_owned();
        ConfigError::new_err((message, "symbol".to_owned()))
    })
}

/// The state that readers of one cache share: closes set by hand, and counts of look-ups.
#[derive(Default)]
struct Shared {
    /// Nothing until a close is set, so that look-ups need no lock.
    overrides: OnceLock<Mutex<PriceOverrides>>,
    hits: AtomicU64,
    lookback_hits: AtomicU64,
    misses: AtomicU64,
}

impl Shared {
    /// Returns the closes set by hand, if there are any.
    fn overrides(&self) -> Option<MutexGuard<'_, PriceOverrides>> {
        let overrides = self.overrides.get()?;
        Some(overrides.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work` on the closes set by hand, on none where there are none.
    fn with_overrides<T>(&self, work: impl FnOnce(&PriceOverrides) -> T) -> T {
        match self.overrides() {
            Some(overrides) => work(&overrides),
            None => work(&PriceOverrides::default()),
        }
    }

    fn count(&self, hits: u64, misses: u64) {
        self.hits.fetch_add(hits, Ordering::Relaxed);
        self.misses.fetch_add(misses, Ordering::Relaxed);
    }
}

/// Capacity reserved before symbols are counted, as their announced number may be wrong.
const MOST_EXPECTED: usize = 1 << 16;

/// Decimals of the day last asked for, by symbol.
type DayPrices = Mutex<Option<(i32, Py<PyDict>)>>;

/// Prices by symbol and date, of a store and of closes set by hand.
///
/// Look-ups that are a single call enter the guard of the cache here; the cache does so around
/// others.
#[pyclass(frozen, module = "batchcore._core")]
pub(crate) struct PriceReader {
    store: Py<PriceStore>,
    index: DayIndex,
    /// A mapping from date to days since 1970-01-01, which refuses other keys.
    days: Py<PyAny>,
    /// The guard of the cache.
    threads: Py<ThreadGuard>,
    shared: Arc<Shared>,
    last_day: DayPrices,
}

type Found<'py> = (Bound<'py, PyAny>, i32);
type Array<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<u8>>, u32);

#[pymethods]
impl PriceReader {
    #[new]
    fn new(store: Py<PriceStore>, days: Py<PyAny>, threads: Py<ThreadGuard>) -> PyResult<Self> {
        guard("PriceReader", || {
            Ok(Self {
                index: DayIndex::of(&store.get().store),
                store,
                days,
                threads,
                shared: Arc::default(),
                last_day: Mutex::new(None),
            })
        })
    }

    /// Return a reader of another store with the same closes set and the same counts.
    fn over(&self, py: Python<'_>, store: Py<PriceStore>) -> PyResult<Self> {
        guard("PriceReader.over", || {
            Ok(Self {
                index: DayIndex::of(&store.get().store),
                store,
                days: self.days.clone_ref(py),
                threads: self.threads.clone_ref(py),
                shared: Arc::clone(&self.shared),
                last_day: Mutex::new(None),
            })
        })
    }

    /// Return the price of a symbol on a date itself, or None.
    fn get<'py>(
        &self,
        py: Python<'py>,
        symbol: &Bound<'py, PyAny>,
        date: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard("PriceReader.get", || {
            let _inside = self.threads.get().enter()?;
            let day = self.day_of(date)?;
            let Some(close) = self.price_on(symbol_text(symbol)?, day) else {
                self.shared.misses.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            };
            self.shared.hits.fetch_add(1, Ordering::Relaxed);
            self.to_decimal(py, close).map(Some)
        })
    }

    /// Return (price, day) of the latest price of a symbol on a day of ``[date - lookback_days,
    /// date]``, or None.
    fn get_with_lookback<'py>(
        &self,
        py: Python<'py>,
        symbol: &Bound<'py, PyAny>,
        date: &Bound<'py, PyAny>,
        lookback_days: u32,
    ) -> PyResult<Option<Found<'py>>> {
        guard("PriceReader.get_with_lookback", || {
            let _inside = self.threads.get().enter()?;
            let day = self.day_of(date)?;
            let symbol = symbol_text(symbol)?.as_bytes();
            let store = &self.store.get().store;
            let found = self
                .shared
                .with_overrides(|own| own.price_as_of(store, symbol, day, lookback_days));
            let Some((close, found)) = found else {
                self.shared.count(0, 1);
                return Ok(None);
            };
            self.shared.count(1, 0);
            if found != day {
                self.shared.lookback_hits.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Some((self.to_decimal(py, close)?, found.0)))
        })
    }

    /// Return the prices of those of `symbols` that have one on a date itself.
    fn get_batch<'py>(
        &self,
        py: Python<'py>,
        symbols: &Bound<'py, PyAny>,
        date: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        guard("PriceReader.get_batch", || {
            let _inside = self.threads.get().enter()?;
            let day = self.day_of(date)?;
            let known = self.prices_of(py, day);
            let prices = PyDict::new(py);
            let (mut hits, mut misses) = (0, 0);
            for symbol in each(symbols)? {
                let symbol = symbol?;
                let price = match get_item(&known, &symbol)? {
                    Some(price) => Some(price),
                    None => match self.price_on(symbol_text(&symbol)?, day) {
                        Some(close) => {
                            let price = self.to_decimal(py, close)?;
                            known.set_item(&symbol, &price)?;
                            Some(price)
                        }
                        None => None,
                    },
                };
                if let Some(price) = price {
                    prices.set_item(symbol, price)?;
                    hits += 1;
                } else {
                    misses += 1;
                }
            }
            self.shared.count(hits, misses);
            Ok(prices)
        })
    }

    /// Return (mantissas, states, scale) of the prices of `symbols` on a date itself, in order.
    fn get_array<'py>(
        &self,
        py: Python<'py>,
        symbols: &Bound<'py, PyAny>,
        date: &Bound<'py, PyAny>,
    ) -> PyResult<Array<'py>> {
        guard("PriceReader.get_array", || {
            let _inside = self.threads.get().enter()?;
            let day = self.day_of(date)?;
            let scale = self.scale_of_all();
            let expected = symbols.len().unwrap_or_default().min(MOST_EXPECTED);
            let mut values = Vec::with_capacity(expected);
            let mut states = Vec::with_capacity(expected);
            let mut hits = 0;
            for symbol in each(symbols)? {
                let close = self.price_on(symbol_text(&symbol?)?, day);
                let value = close.map(|close| rescaled(close.mantissa, close.scale, scale));
                let state = match value {
                    Some(Some(_)) => State::Value,
                    Some(None) => State::NotRepresentable,
                    None => State::Null,
                };
                hits += u64::from(close.is_some());
                values.push(value.flatten().unwrap_or_default());
                states.push(state.byte());
            }
            let asked = u64::try_from(values.len()).unwrap_or(u64::MAX);
            self.shared.count(hits, asked.saturating_sub(hits));
            // copied, as an array over a Vec costs more to make than a few symbols take
            let values = PyArray1::from_slice(py, &values);
            Ok((values, PyArray1::from_slice(py, &states), scale))
        })
    }

    /// Return whether `get` has a price, without counting.
    fn has(&self, symbol: &Bound<'_, PyAny>, date: &Bound<'_, PyAny>) -> PyResult<bool> {
        guard("PriceReader.has", || {
            let day = self.day_of(date)?;
            Ok(self.price_on(symbol_text(symbol)?, day).is_some())
        })
    }

    /// Return whether a close was set for a symbol and date, 0 too.
    fn is_set(&self, symbol: &Bound<'_, PyAny>, date: &Bound<'_, PyAny>) -> PyResult<bool> {
        guard("PriceReader.is_set", || {
            let day = self.day_of(date)?;
            let symbol = symbol_text(symbol)?.as_bytes();
            Ok(self
                .shared
                .with_overrides(|own| own.on(symbol, day).is_some()))
        })
    }

    /// Set the close of a symbol and date to ``mantissa * 10**-scale``; 0 means none.
    fn set(
        &self,
        py: Python<'_>,
        symbol: &Bound<'_, PyAny>,
        date: &Bound<'_, PyAny>,
        mantissa: i64,
        scale: u32,
    ) -> PyResult<()> {
        guard("PriceReader.set", || {
            let _inside = self.threads.get().enter()?;
            let day = self.day_of(date)?;
            let symbol = symbol_text(symbol)?.as_bytes();
            let overrides = self.shared.overrides.get_or_init(Mutex::default);
            let mut overrides = overrides.lock().unwrap_or_else(PoisonError::into_inner);
            overrides.set(symbol, day, Close { mantissa, scale });
            drop(overrides);
            let kept = self.last_prices().take();
            drop(kept.map(|(_, prices)| prices.into_bound(py)));
            Ok(())
        })
    }

    /// Return the closes as columns of `frames.Prices`, those set in their place or without them.
    #[pyo3(signature = (*, with_set))]
    fn columns<'py>(&self, py: Python<'py>, with_set: bool) -> PyResult<Bound<'py, PyDict>> {
        guard("PriceReader.columns", || {
            let store = &self.store.get().store;
            let columns = if with_set {
                self.shared.with_overrides(|own| own.over(store))
            } else {
                PriceOverrides::default().over(store)
            };
            let out = PyDict::new(py);
            let rows = columns.symbol.len();
            let symbol = text_out(py, columns.symbol, columns.symbols, vec![0; rows])?;
            out.set_item("symbol", symbol)?;
            out.set_item("day", (columns.day.into_pyarray(py),))?;
            let (values, state) = (columns.close, columns.state);
            let close = (
                values.into_pyarray(py),
                columns.scale,
                state.into_pyarray(py),
            );
            out.set_item("close", close)?;
            Ok(out)
        })
    }

    /// Return (prices, distinct days of closes), those set in their place.
    fn spread(&self) -> PyResult<(usize, usize)> {
        guard("PriceReader.spread", || {
            let store = &self.store.get().store;
            Ok(self
                .shared
                .with_overrides(|own| (own.prices_over(store), own.distinct_days_over(store))))
        })
    }

    /// (hits, of them by lookback, misses).
    #[getter]
    fn counts(&self) -> PyResult<(u64, u64, u64)> {
        guard("PriceReader.counts", || {
            Ok((
                self.shared.hits.load(Ordering::Relaxed),
                self.shared.lookback_hits.load(Ordering::Relaxed),
                self.shared.misses.load(Ordering::Relaxed),
            ))
        })
    }

    /// Bytes that the store and the closes set take.
    #[getter]
    fn size_bytes(&self) -> PyResult<usize> {
        guard("PriceReader.size_bytes", || {
            let overrides = self.shared.with_overrides(PriceOverrides::size_bytes);
            let beside = overrides.saturating_add(self.index.size_bytes());
            Ok(self.store.get().store.size_bytes().saturating_add(beside))
        })
    }

    /// Prices of the day of the last batch look-up, by symbol.
    #[getter]
    fn last_batch<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        guard("PriceReader.last_batch", || {
            let kept = self.last_prices();
            Ok(kept.as_ref().map(|(_, prices)| prices.bind(py).clone()))
        })
    }
}

impl PriceReader {
    fn scale_of_all(&self) -> u32 {
        let store = &self.store.get().store;
        self.shared
            .overrides()
            .map_or_else(|| store.scale(), |own| own.scale_over(store))
    }

    fn day_of(&self, date: &Bound<'_, PyAny>) -> PyResult<Day> {
        let py = date.py();
        match self.days.bind(py).get_item(date) {
            Ok(day) => day.extract().map(Day),
            // not hashable
            Err(error) if error.is_instance_of::<PyTypeError>(py) => {
                Err(wrong_type("date", "datetime.date", date))
            }
            Err(error) => Err(error),
        }
    }

    fn price_on(&self, symbol: &str, day: Day) -> Option<Close> {
        let store = &self.store.get().store;
        let symbol = symbol.as_bytes();
        match self.shared.overrides() {
            Some(own) => own.price_on(store, &self.index, symbol, day),
            None => core::price_on(store, &self.index, symbol, day),
        }
    }

    /// Returns a price with the decimals of the column, or its own where it has more.
    fn to_decimal<'py>(&self, py: Python<'py>, close: Close) -> PyResult<Bound<'py, PyAny>> {
        let scale = close.scale.max(self.store.get().store.scale());
        match rescaled(close.mantissa, close.scale, scale) {
            Some(mantissa) => decimal(py, mantissa, scale),
            None => decimal(py, close.mantissa, close.scale),
        }
    }

    fn last_prices(&self) -> MutexGuard<'_, Option<(i32, Py<PyDict>)>> {
        self.last_day.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the Decimals made so far of a day: nightly batches ask one day for every portfolio.
    fn prices_of<'py>(&self, py: Python<'py>, day: Day) -> Bound<'py, PyDict> {
        let kept = self.last_prices();
        if let Some((_, prices)) = kept.as_ref().filter(|(of, _)| *of == day.0) {
            return prices.bind(py).clone();
        }
        // creating or dropping objects may run Python code, which must not wait for this lock
        drop(kept);
        let prices = PyDict::new(py);
        let made = (day.0, prices.clone().unbind());
        let before = self.last_prices().replace(made);
        drop(before.map(|(_, prices)| prices.into_bound(py)));
        prices
    }
}

/// Returns the value of a symbol in a dictionary; an object that cannot be a key is not a symbol.
fn get_item<'py>(
    prices: &Bound<'py, PyDict>,
    symbol: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    prices
        .get_item(symbol)
        .map_err(|error| symbol_text(symbol).err().unwrap_or(error))
}

/// Returns the symbols of an iterable other than a text.
fn each<'py>(
    symbols: &Bound<'py, PyAny>,
) -> PyResult<impl Iterator<Item = PyResult<Bound<'py, PyAny>>>> {
    if symbols.is_instance_of::<PyString>() {
        return Err(wrong_type("symbols", "an iterable of str", symbols));
    }
    symbols
        .try_iter()
        .map_err(|_| wrong_type("symbols", "an iterable of str", symbols))
}
