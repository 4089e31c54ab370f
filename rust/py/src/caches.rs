//! Look-ups of the price cache: symbols and dates in, exact decimals out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use batchcore_core::fixed::{State, TEXT_BYTES, text_in};
use batchcore_core::ids::{Day, SymbolId};
use batchcore_core::store::DayIndex;
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

/// Counts of the look-ups of one cache, which its readers share.
#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    lookback_hits: AtomicU64,
    misses: AtomicU64,
}

impl Counts {
    fn add(&self, hits: u64, misses: u64) {
        self.hits.fetch_add(hits, Ordering::Relaxed);
        self.misses.fetch_add(misses, Ordering::Relaxed);
    }
}

/// Capacity reserved before symbols are counted, as their announced number may be wrong.
const MOST_EXPECTED: usize = 1 << 16;

/// Decimals of the day last asked for, by symbol.
type DayPrices = Mutex<Option<(i32, Py<PyDict>)>>;

/// Prices by symbol and date.
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
    counts: Arc<Counts>,
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
                counts: Arc::default(),
                last_day: Mutex::new(None),
            })
        })
    }

    /// Return a reader of another store with the same counts.
    fn over(&self, py: Python<'_>, store: Py<PriceStore>) -> PyResult<Self> {
        guard("PriceReader.over", || {
            Ok(Self {
                index: DayIndex::of(&store.get().store),
                store,
                days: self.days.clone_ref(py),
                threads: self.threads.clone_ref(py),
                counts: Arc::clone(&self.counts),
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
            let found = self.price_on(py, symbol, date)?;
            self.counts
                .add(found.is_some().into(), found.is_none().into());
            Ok(found)
        })
    }

    /// As `get`, without counting and without the guard.
    fn price<'py>(
        &self,
        py: Python<'py>,
        symbol: &Bound<'py, PyAny>,
        date: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard("PriceReader.price", || self.price_on(py, symbol, date))
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
            let found = self.latest(py, symbol, day, lookback_days)?;
            self.counts
                .add(found.is_some().into(), found.is_none().into());
            if found.as_ref().is_some_and(|&(_, found)| found != day.0) {
                self.counts.lookback_hits.fetch_add(1, Ordering::Relaxed);
            }
            Ok(found)
        })
    }

    /// As `get_with_lookback`, of a day, without counting and without the guard.
    fn as_of<'py>(
        &self,
        py: Python<'py>,
        symbol: &Bound<'py, PyAny>,
        day: i32,
        lookback_days: u32,
    ) -> PyResult<Option<Found<'py>>> {
        guard("PriceReader.as_of", || {
            self.latest(py, symbol, Day(day), lookback_days)
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
                    None => match self.close_on(&symbol, day)? {
                        Some(close) => {
                            let price = decimal(py, close, self.store.get().store.scale())?;
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
            self.counts.add(hits, misses);
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
            let expected = symbols.len().unwrap_or_default().min(MOST_EXPECTED);
            let mut values = Vec::with_capacity(expected);
            let mut states = Vec::with_capacity(expected);
            let mut hits = 0;
            for symbol in each(symbols)? {
                let close = self.close_on(&symbol?, day)?;
                let state = close.map_or(State::Null, |_| State::Value);
                hits += u64::from(close.is_some());
                values.push(close.unwrap_or_default());
                states.push(state.byte());
            }
            let asked = u64::try_from(values.len()).unwrap_or(u64::MAX);
            self.counts.add(hits, asked.saturating_sub(hits));
            let scale = self.store.get().store.scale();
            // copied, as an array over a Vec costs more to make than a few symbols take
            let values = PyArray1::from_slice(py, &values);
            Ok((values, PyArray1::from_slice(py, &states), scale))
        })
    }

    /// Return the closes as columns of `frames.Prices`, by symbol and day.
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        guard("PriceReader.columns", || {
            let store = &self.store.get().store;
            let rows = store.len();
            let mut codes = Vec::with_capacity(rows);
            let (mut days, mut closes) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
            for (code, _) in (0u32..).zip(store.symbols().iter()) {
                let (own_days, own_closes) = store.closes(SymbolId(code));
                codes.extend(own_days.iter().map(|_| code));
                days.extend_from_slice(own_days);
                closes.extend_from_slice(own_closes);
            }
            let out = PyDict::new(py);
            let symbol = text_out(py, codes, store.symbols().clone(), vec![0; rows])?;
            out.set_item("symbol", symbol)?;
            out.set_item("day", (days.into_pyarray(py),))?;
            out.set_item("close", (closes.into_pyarray(py), store.scale()))?;
            Ok(out)
        })
    }

    /// Decimals of the prices.
    #[getter]
    fn scale(&self) -> PyResult<u32> {
        guard("PriceReader.scale", || Ok(self.store.get().store.scale()))
    }

    /// (hits, of them by lookback, misses).
    #[getter]
    fn counts(&self) -> PyResult<(u64, u64, u64)> {
        guard("PriceReader.counts", || {
            Ok((
                self.counts.hits.load(Ordering::Relaxed),
                self.counts.lookback_hits.load(Ordering::Relaxed),
                self.counts.misses.load(Ordering::Relaxed),
            ))
        })
    }

    /// Bytes that the store takes.
    #[getter]
    fn size_bytes(&self) -> PyResult<usize> {
        guard("PriceReader.size_bytes", || {
            let store = self.store.get().store.size_bytes();
            Ok(store.saturating_add(self.index.size_bytes()))
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

    /// Returns the price of a symbol on a day itself, a close above 0 (S2).
    fn close_on(&self, symbol: &Bound<'_, PyAny>, day: Day) -> PyResult<Option<i64>> {
        let symbol = symbol_text(symbol)?.as_bytes();
        let store = &self.store.get().store;
        let close = store
            .find(symbol)
            .and_then(|id| self.index.on(store, id, day));
        Ok(close.filter(|&close| close > 0))
    }

    fn price_on<'py>(
        &self,
        py: Python<'py>,
        symbol: &Bound<'py, PyAny>,
        date: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let close = self.close_on(symbol, self.day_of(date)?)?;
        let scale = self.store.get().store.scale();
        close.map(|close| decimal(py, close, scale)).transpose()
    }

    /// Returns the latest price of a symbol on a day of `[day - lookback_days, day]` (S2, S4).
    fn latest<'py>(
        &self,
        py: Python<'py>,
        symbol: &Bound<'py, PyAny>,
        day: Day,
        lookback_days: u32,
    ) -> PyResult<Option<Found<'py>>> {
        let store = &self.store.get().store;
        let (days, closes) = store.closes_of(symbol_text(symbol)?.as_bytes());
        let last = days.partition_point(|&found| found <= day.0);
        let earlier = days.iter().zip(closes).take(last).rev();
        let found = earlier
            .take_while(|&(&found, _)| day.since(Day(found)) <= i64::from(lookback_days))
            .find(|&(_, &close)| close > 0);
        let price =
            |(&found, &close): (&i32, &i64)| Ok((decimal(py, close, store.scale())?, found));
        found.map(price).transpose()
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
