//! The columns of the current day: provider beta, sectors and concentration (L32 to L34).

use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::fixed::{State, Sum, Wide, decimal_text};
use crate::float::Floats;
use crate::frame::index;
use crate::ids::Day;
use crate::pnl::groups::Owners;
use crate::pnl::inputs::{Betas, Host, Positions, Profiles};
use crate::pnl::legacy::holding::{Class, Holding, weighed_scale, weighed_value};
use crate::pnl::legacy::row::Weights;
use crate::significant::{Significant, wide_power};
use crate::text::{Intern, Table};

/// Columns are numeric(10, 4) or numeric(10, 2): their mantissas have ten digits.
const LIMIT: i64 = 10_000_000_000;

const UNCLASSIFIED: &str = "Unclassified";
const ETFS: &str = "ETFs";

/// Betas and sectors of positions, for the columns of the current day.
#[derive(Debug)]
pub(crate) struct CurrentDay<'a> {
    positions: Positions<'a>,
    has_benchmark: bool,
    /// Decimals of equities.
    scale: u32,
    /// Beta of the profile of each symbol as spelt, NaN if it is not finite.
    profile_beta: Vec<Option<f64>>,
    /// Beta of each position.
    position_beta: Vec<Option<f64>>,
    /// Sector of the profile of each symbol in upper case.
    sector: Vec<Option<u32>>,
    names: Table,
    unclassified: Option<u32>,
}

/// What the profile of a symbol says.
#[derive(Debug, Clone, Copy)]
struct Profile<'a> {
    beta: core::result::Result<i64, State>,
    sector: Option<&'a str>,
    is_etf: bool,
}

/// Returns the profiles by symbol as stored.
fn by_symbol<'a>(profiles: &Profiles<'a>) -> Result<HashMap<&'a [u8], Profile<'a>>> {
    profiles.check()?;
    let mut rows: HashMap<&[u8], usize> = HashMap::new();
    let mut found = HashMap::new();
    for row in 0..profiles.symbol.len() {
        let Some(symbol) = profiles.symbol.bytes(row) else {
            continue;
        };
        if let Some(first) = rows.insert(symbol, row) {
            return Err(Error::Duplicate {
                column: "profiles.symbol",
                row,
                first,
            });
        }
        let sector = profiles.sector.bytes(row);
        found.insert(
            symbol,
            Profile {
                beta: profiles.beta.get(row),
                sector: sector.and_then(|text| core::str::from_utf8(text).ok()),
                is_etf: profiles.is_etf.get(row).copied().unwrap_or_default(),
            },
        );
    }
    Ok(found)
}

/// Names in the order of their bytes, each with its index.
fn ordered<'a>(names: impl Iterator<Item = &'a str>) -> (Table, HashMap<&'a str, u32>) {
    let mut table = Intern::default();
    let names: BTreeSet<&str> = names.collect();
    let codes = names
        .into_iter()
        .filter_map(|name| Some((name, table.code(name.as_bytes())?)))
        .collect();
    (table.into_table(), codes)
}

/// Returns the sector of a profile, or nothing if it is left out (L33).
fn sector<'a>(profile: &Profile<'a>) -> Option<&'a str> {
    if profile.is_etf {
        return Some(ETFS);
    }
    match profile.sector? {
        "" | "Unknown" => None,
        "Basic Materials" => Some("Materials"),
        "Consumer Cyclical" => Some("Consumer Discretionary"),
        "Consumer Defensive" => Some("Consumer Staples"),
        "Financial Services" => Some("Financials"),
        other => Some(other),
    }
}

/// Returns a beta unless it is NULL or 0; NaN if it is not a number.
fn known(beta: core::result::Result<i64, State>, floats: Floats) -> Option<f64> {
    match beta {
        Ok(0) | Err(State::Null) => None,
        Ok(mantissa) => Some(floats.nearest(mantissa)),
        Err(_) => Some(f64::NAN),
    }
}

/// Returns the newest beta of each position, the largest of several; NaN counts as larger.
fn newest(betas: &Betas<'_>, positions: &Positions<'_>) -> Result<Vec<Option<f64>>> {
    betas.check()?;
    let rows = Owners::of("positions.id", positions.id)?;
    let mut newest = vec![None; positions.id.len()];
    for (row, id) in betas.position_id.iter().enumerate() {
        let place = rows.find(id).and_then(|at| newest.get_mut(index(at)));
        let (Some(place), Ok(day)) = (place, betas.day.get(row)) else {
            continue;
        };
        let (is_odd, mantissa) = match betas.beta.get(row) {
            Ok(mantissa) => (false, mantissa),
            Err(State::Null) => continue,
            Err(_) => (true, 0),
        };
        *place = Some((day, is_odd, mantissa)).max(*place);
    }
    let floats = Floats::of_scale(betas.beta.scale());
    let read = |found: Option<(Day, bool, i64)>| match found? {
        (_, true, _) => Some(f64::NAN),
        (_, false, mantissa) => known(Ok(mantissa), floats),
    };
    Ok(newest.into_iter().map(read).collect())
}

impl<'a> CurrentDay<'a> {
    /// Returns the inputs of the current day; `scale` is that of the equities passed to
    /// [`Self::beta`] and [`Self::weights`].
    ///
    /// # Errors
    ///
    /// [`crate::error::Error::Length`] or [`crate::error::Error::Duplicate`] for frames that
    /// contradict themselves.
    pub(crate) fn of(positions: &Positions<'a>, host: &Host<'_>, scale: u32) -> Result<Self> {
        let symbols = positions.symbol.table();
        let profiles = host.profiles.as_ref().map(by_symbol).transpose()?;
        let profiles = profiles.unwrap_or_default();
        let profile = |symbol: &[u8]| profiles.get(symbol).copied();
        let of_upper = |symbol: &[u8]| sector(&profile(&symbol.to_ascii_uppercase())?);
        let sectors: Vec<_> = symbols.iter().map(of_upper).collect();
        let names = sectors.iter().flatten().copied();
        let (names, codes) = ordered(names.chain([UNCLASSIFIED]));
        let floats = Floats::of_scale(host.profiles.map_or(0, |profiles| profiles.beta.scale()));
        let beta = |symbol: &[u8]| known(profile(symbol)?.beta, floats);
        let code = |name: &str| codes.get(name).copied();
        Ok(Self {
            positions: *positions,
            has_benchmark: host.has_benchmark,
            scale,
            profile_beta: symbols.iter().map(beta).collect(),
            position_beta: match &host.betas {
                Some(betas) => newest(betas, positions)?,
                None => Vec::new(),
            },
            sector: sectors.iter().map(|name| name.and_then(code)).collect(),
            unclassified: code(UNCLASSIFIED),
            names,
        })
    }

    /// Returns the names of sectors, ascending.
    pub(crate) fn names(&self) -> &Table {
        &self.names
    }

    /// Returns the provider beta in units of 10^-4, or nothing without a position for it (L32).
    ///
    /// `holdings` are those of one portfolio, in the order in which floats are added up.
    ///
    /// # Errors
    ///
    /// `<column> = <value>` of a value that does not fit.
    pub(crate) fn beta(
        &self,
        holdings: &[Holding],
        equity: Wide,
    ) -> core::result::Result<Option<i64>, String> {
        let floats = Floats::of_scale(self.positions.market_value.scale());
        let term = |holding: &Holding| {
            if holding.exit.is_some() || !holding.is_stock || holding.class != Class::Public {
                return None;
            }
            let value = self.positions.market_value.get(holding.position).ok();
            let value = value.filter(|&value| value != 0)?;
            let own = || self.position_beta.get(holding.position).copied().flatten();
            let beta = self.profile_beta.get(index(holding.symbol)).copied();
            let beta = beta.flatten().or_else(own)?;
            Some((floats.nearest(value), beta))
        };
        let terms: Vec<_> = holdings.iter().filter_map(term).collect();
        if terms.is_empty() || equity <= Wide::ZERO {
            return Ok(None);
        }
        let equity = Floats::of_scale(self.scale).nearest(equity);
        stored("beta_provider_1y", weighted(&terms, equity), 4).map(Some)
    }

    /// Returns sectors and concentration, or nothing if either cannot be computed (L33, L34).
    ///
    /// # Errors
    ///
    /// `<column> = <value>` of a value that does not fit.
    pub(crate) fn weights(
        &self,
        holdings: &[Holding],
        equity: Wide,
    ) -> core::result::Result<Option<Weights>, String> {
        let power = |scale: u32| wide_power(scale).unwrap_or(Wide::ZERO);
        let scale = weighed_scale(&self.positions);
        let mut total = Wide::ZERO;
        let mut sectors: Vec<Option<Wide>> = vec![None; self.names.len()];
        let mut places: HashMap<u32, usize> = HashMap::new();
        let mut symbols: Vec<Wide> = Vec::new();
        for holding in holdings.iter().filter(|holding| holding.exit.is_none()) {
            let Some((size, own)) = weighed_value(holding, &self.positions) else {
                return Ok(None);
            };
            let size = size.times(power(scale.saturating_sub(own)));
            total = total.plus(size);
            let place = *places.entry(holding.symbol).or_insert(symbols.len());
            if place == symbols.len() {
                symbols.push(Wide::ZERO);
            }
            if let Some(sum) = symbols.get_mut(place) {
                *sum = sum.plus(size);
            }
            let sector = if matches!(holding.class, Class::Private | Class::Options) {
                self.unclassified
            } else {
                self.sector.get(index(holding.symbol)).copied().flatten()
            };
            if let Some(sum) = sector.and_then(|code| sectors.get_mut(index(code))) {
                *sum = Some(sum.unwrap_or(Wide::ZERO).plus(size));
            }
        }
        if total == Wide::ZERO || equity == Wide::ZERO || !self.has_benchmark {
            return Ok(None);
        }
        let quotient = |size: Wide, of: Wide| {
            Significant::quotient(size, of).map_or(f64::NAN, Significant::nearest)
        };
        let whole = equity.times(power(scale));
        let share = |sum: Wide| quotient(sum.times(power(self.scale)), whole);
        let sums = (0u32..).zip(sectors);
        let exposure = sums.filter_map(|(code, sum)| Some((code, share(sum?))));
        let exposure = exposure.collect();
        let weights = symbols.iter().map(|&size| quotient(size, total)).collect();
        concentrated(weights, exposure).map(Some)
    }
}

/// Returns the sum of value times beta, in their order, divided by the equity.
#[expect(
    clippy::float_arithmetic,
    reason = "L32 computes in binary64, one after the other"
)]
fn weighted(terms: &[(f64, f64)], equity: f64) -> f64 {
    let terms = terms.iter();
    terms.fold(0.0, |sum, (value, beta)| sum + value * beta) / equity
}

/// Returns the columns of weights of symbols, in the order in which they are added up.
#[expect(
    clippy::float_arithmetic,
    reason = "L34 computes in binary64, one after the other"
)]
fn concentrated(
    mut weights: Vec<f64>,
    sectors: Vec<(u32, f64)>,
) -> core::result::Result<Weights, String> {
    let squares = weights
        .iter()
        .fold(0.0, |sum, weight| sum + weight * weight);
    let hhi = 10_000.0 * squares;
    weights.sort_unstable_by(|a, b| b.total_cmp(a));
    let largest = |count: usize| {
        let weights = weights.iter().take(count);
        weights.fold(0.0, |sum, weight| sum + weight)
    };
    Ok(Weights {
        sectors,
        hhi: stored("hhi", hhi, 4)?,
        effective: stored("effective_num_positions", 10_000.0 / hhi, 2)?,
        top_3: stored("top_3_concentration", largest(3), 4)?,
        top_10: stored("top_10_concentration", largest(10), 4)?,
    })
}

/// Returns the mantissa of a float as a column of ten digits stores its shortest text.
fn stored(column: &str, value: f64, scale: u32) -> core::result::Result<i64, String> {
    let rounded = Significant::shortest(value).and_then(|text| text.half_away(scale));
    match rounded.map(Sum::narrow) {
        Some(Some(mantissa)) if mantissa.saturating_abs() < LIMIT => Ok(mantissa),
        _ => {
            let scale = usize::try_from(scale).unwrap_or_default();
            let text = match rounded {
                Some(rounded) => decimal_text(&rounded.digits(), scale),
                None if value.is_nan() => "NaN".to_owned(),
                None if value.is_finite() => value.to_string(),
                None if value > 0.0 => "Infinity".to_owned(),
                None => "-Infinity".to_owned(),
            };
            Err(format!("{column} = {text}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_is_stored_half_away_from_its_shortest_text() {
        for (value, found) in [
            (0.00005, Ok(1)),
            // the float is below the tie, its text is the tie
            (1.00005, Ok(10_001)),
            (-0.00005, Ok(-1)),
            (999_999.999_94, Ok(9_999_999_999)),
            (999_999.999_95, Err("c = 1000000.0000")),
            (-1e20, Err("c = -100000000000000000000.0000")),
            (f64::NAN, Err("c = NaN")),
            (f64::NEG_INFINITY, Err("c = -Infinity")),
        ] {
            assert_eq!(stored("c", value, 4), found.map_err(str::to_owned));
        }
        let misfit = stored("c", 1e300, 4).unwrap_err();
        assert!(misfit.starts_with("c = 1000000000"));
    }
}
