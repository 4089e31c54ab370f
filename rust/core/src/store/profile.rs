//! Company profiles by symbol as stored.

use crate::error::{Error, Result};
use crate::fixed::State;
use crate::frame::{DecimalValues, Decimals, TextValues, Texts, frame, index};
use crate::text::Index;

frame! {
    /// The columns that a store is built from.
    ProfileColumns<'a> "profiles" {
        /// Symbol of each row, as stored.
        symbol: Texts<'a>,
        /// `company_name`.
        name: Texts<'a>,
        /// `beta`.
        beta: Decimals<'a>,
        /// `sector`.
        sector: Texts<'a>,
        /// `industry`.
        industry: Texts<'a>,
        /// `country`.
        country: Texts<'a>,
        /// `market_cap`.
        market_cap: Decimals<'a>,
        /// `is_etf`, where NULL is false.
        is_etf: &'a [bool],
    }
}

/// One profile; its texts are `None` where they are NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile<'a> {
    /// `company_name`.
    pub name: Option<&'a str>,
    /// `beta` in the scale of the store, or why there is none.
    pub beta: core::result::Result<i64, State>,
    /// `sector`.
    pub sector: Option<&'a str>,
    /// `industry`.
    pub industry: Option<&'a str>,
    /// `country`.
    pub country: Option<&'a str>,
    /// `market_cap` in the scale of the store, or why there is none.
    pub market_cap: core::result::Result<i64, State>,
    /// `is_etf`.
    pub is_etf: bool,
}

/// Profiles of many symbols.
#[derive(Debug, Clone)]
pub struct ProfileStore {
    symbol: TextValues,
    index: Index,
    /// Row of each symbol of the table.
    rows: Vec<Option<usize>>,
    name: TextValues,
    beta: DecimalValues,
    sector: TextValues,
    industry: TextValues,
    country: TextValues,
    market_cap: DecimalValues,
    is_etf: Vec<bool>,
}

impl ProfileStore {
    /// Returns the store of all rows whose symbol is not NULL.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if the columns differ in length; [`Error::Duplicate`] if a symbol has two
    /// rows.
    pub fn from_columns(columns: &ProfileColumns<'_>) -> Result<Self> {
        let symbol = &columns.symbol;
        columns.check()?;
        let mut rows = vec![None; symbol.table().len()];
        for row in 0..symbol.len() {
            let place = symbol
                .get(row)
                .ok()
                .and_then(|code| rows.get_mut(index(code)));
            if let Some(first) = place.and_then(|place: &mut Option<usize>| {
                let first = *place;
                *place = first.or(Some(row));
                first
            }) {
                return Err(Error::Duplicate {
                    column: "profiles.symbol",
                    row,
                    first,
                });
            }
        }
        Ok(Self {
            symbol: TextValues::of(symbol),
            index: Index::of(symbol.table()),
            rows,
            name: TextValues::of(&columns.name),
            beta: DecimalValues::of(&columns.beta),
            sector: TextValues::of(&columns.sector),
            industry: TextValues::of(&columns.industry),
            country: TextValues::of(&columns.country),
            market_cap: DecimalValues::of(&columns.market_cap),
            is_etf: columns.is_etf.to_vec(),
        })
    }

    /// Returns the row of a symbol, spelt as stored.
    #[must_use]
    pub fn find(&self, symbol: &[u8]) -> Option<usize> {
        let code = self.index.find(&self.symbol.table, symbol)?;
        self.rows.get(index(code)).copied().flatten()
    }

    /// Returns the profile of a symbol, spelt as stored.
    #[must_use]
    pub fn get(&self, symbol: &[u8]) -> Option<Profile<'_>> {
        let row = self.find(symbol)?;
        Some(Profile {
            name: self.name.get(row),
            beta: self.beta.get(row),
            sector: self.sector.get(row),
            industry: self.industry.get(row),
            country: self.country.get(row),
            market_cap: self.market_cap.get(row),
            is_etf: self.is_etf.get(row).copied().unwrap_or_default(),
        })
    }

    /// Returns the decimals of `beta`.
    #[must_use]
    pub fn beta_scale(&self) -> u32 {
        self.beta.scale
    }

    /// Returns the decimals of `market_cap`.
    #[must_use]
    pub fn market_cap_scale(&self) -> u32 {
        self.market_cap.scale
    }

    /// Returns the columns of texts with their names, in the order of the input rows.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, &TextValues)> {
        [
            ("symbol", &self.symbol),
            ("name", &self.name),
            ("sector", &self.sector),
            ("industry", &self.industry),
            ("country", &self.country),
        ]
        .into_iter()
    }

    /// Returns the columns of decimals with their names, in the order of the input rows.
    pub fn decimals(&self) -> impl Iterator<Item = (&'static str, &DecimalValues)> {
        [("beta", &self.beta), ("market_cap", &self.market_cap)].into_iter()
    }

    /// Returns `is_etf`, in the order of the input rows.
    #[must_use]
    pub fn is_etf(&self) -> &[bool] {
        &self.is_etf
    }

    /// Returns the number of profiles.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.iter().flatten().count()
    }

    /// Returns whether there is no profile.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes that the store takes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        [
            self.symbol.size_bytes(),
            self.index.size_bytes(),
            size_of_val(self.rows.as_slice()),
            self.name.size_bytes(),
            self.beta.size_bytes(),
            self.sector.size_bytes(),
            self.industry.size_bytes(),
            self.country.size_bytes(),
            self.market_cap.size_bytes(),
            size_of_val(self.is_etf.as_slice()),
        ]
        .iter()
        .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Intern, Table};

    fn texts(values: &[Option<&str>]) -> (Vec<u32>, Vec<u8>, Table) {
        let mut intern = Intern::default();
        let rows = values.iter().map(|value| {
            let code = value.and_then(|value| intern.code(value.as_bytes()));
            (code.unwrap_or(0), u8::from(code.is_none()))
        });
        let (codes, state) = rows.unzip();
        (codes, state, intern.into_table())
    }

    fn store(
        symbols: &[Option<&str>],
        sector: &[Option<&str>],
        beta: &[i64],
    ) -> Result<ProfileStore> {
        let (symbols, symbol_state, symbol_table) = texts(symbols);
        let (sectors, sector_state, sector_table) = texts(sector);
        let some = vec![0; beta.len()];
        let caps: Vec<i64> = beta.iter().map(|beta| beta * 10).collect();
        let nulls = vec![1; beta.len()];
        let sector = Texts::new("profiles.sector", &sectors, &sector_table, &sector_state)?;
        let etf: Vec<bool> = beta.iter().map(|&beta| beta == 1_0000).collect();
        ProfileStore::from_columns(&ProfileColumns {
            symbol: Texts::new("profiles.symbol", &symbols, &symbol_table, &symbol_state)?,
            name: sector,
            beta: Decimals::new("profiles.beta", beta, &some, 4)?,
            sector,
            industry: sector,
            country: sector,
            market_cap: Decimals::new("profiles.market_cap", &caps, &nulls, 2)?,
            is_etf: &etf,
        })
    }

    #[test]
    fn a_profile_is_found_by_its_symbol_as_spelt() {
        let (symbols, sectors) = ([Some("SPY"), Some("AAPL")], [None, Some("Technology")]);
        let store = store(&symbols, &sectors, &[1_0000, 1_2500]).unwrap();
        let apple = store.get(b"AAPL").unwrap();
        assert_eq!(apple.sector, Some("Technology"));
        assert_eq!((apple.beta, apple.is_etf), (Ok(1_2500), false));
        assert_eq!(apple.market_cap, Err(State::Null));
        let spy = store.get(b"SPY").unwrap();
        assert_eq!((spy.sector, spy.is_etf), (None, true));
        assert_eq!(store.get(b"aapl"), None);
        assert_eq!((store.len(), store.is_empty()), (2, false));
        let beta = DecimalValues {
            values: vec![1_0000, 1_2500],
            scale: 4,
            state: vec![0, 0],
        };
        assert_eq!(store.decimals().next(), Some(("beta", &beta)));
        assert_eq!(store.is_etf(), [true, false]);
    }

    #[test]
    fn a_row_without_symbol_is_left_out() {
        let store = store(&[None, Some("A")], &[None, None], &[1, 2]).unwrap();
        assert_eq!(store.len(), 1);
        assert_eq!(store.get(b"A").unwrap().beta, Ok(2));
    }

    #[test]
    fn two_rows_of_one_symbol_are_refused() {
        let error = store(&[Some("A"), Some("B"), Some("A")], &[None; 3], &[1, 2, 3]).unwrap_err();
        let text = "column `profiles.symbol`, row 2: the same key stands in row 0";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn columns_of_other_lengths_are_refused() {
        let error = store(&[Some("A")], &[None, None], &[1]).unwrap_err();
        let text = "column `profiles.name` has 2 rows, expected 1";
        assert_eq!(error.to_string(), text);
    }
}
