//! Columns that no other policy has: total value, greeks, and what is of the current day.

use crate::fixed::State;
use crate::text::Table;

/// What a row has beside a [`crate::pnl::rows::Row`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// `total_value` in cents (L23, L25).
    pub total_value: i64,
    /// Whether there are active positions: the greeks are 0, else NULL (L25, L31).
    pub is_active: bool,
    /// `beta_provider_1y` in units of 10^-4 (L32).
    pub beta: Option<i64>,
    /// Sectors and concentration (L33, L34).
    pub weights: Option<Weights>,
}

/// The five columns that are had together or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weights {
    /// Sector and weight, by code in the table of sectors.
    pub sectors: Vec<(u32, f64)>,
    /// `hhi` in units of 10^-4.
    pub hhi: i64,
    /// `effective_num_positions` in units of 10^-2.
    pub effective: i64,
    /// `top_3_concentration` in units of 10^-4.
    pub top_3: i64,
    /// `top_10_concentration` in units of 10^-4.
    pub top_10: i64,
}

/// A value for each row of [`crate::pnl::rows::Rows`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Columns {
    /// Cents.
    pub total_value: Vec<i64>,
    /// [`State`] of the four greeks, whose value is 0.
    pub greeks_state: Vec<u8>,
    /// 10^-4.
    pub beta: Vec<i64>,
    /// [`State`].
    pub beta_state: Vec<u8>,
    /// 10^-4.
    pub hhi: Vec<i64>,
    /// 10^-2.
    pub effective: Vec<i64>,
    /// 10^-4.
    pub top_3: Vec<i64>,
    /// 10^-4.
    pub top_10: Vec<i64>,
    /// [`State`] of the four before and of the sectors.
    pub weights_state: Vec<u8>,
    /// Row of each weight of a sector, ascending.
    pub weight_row: Vec<i64>,
    /// Its sector.
    pub weight_sector: Vec<u32>,
    /// The weight.
    pub weight: Vec<f64>,
    /// Names of sectors, ascending.
    pub sectors: Table,
}

fn state_of<T>(value: Option<T>) -> u8 {
    value.map_or(State::Null, |_| State::Value).byte()
}

impl Columns {
    /// Returns the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.total_value.len()
    }

    /// Returns whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total_value.is_empty()
    }

    /// Makes room for `rows` more rows.
    pub fn reserve(&mut self, rows: usize) {
        for column in [
            &mut self.total_value,
            &mut self.beta,
            &mut self.hhi,
            &mut self.effective,
            &mut self.top_3,
            &mut self.top_10,
        ] {
            column.reserve_exact(rows);
        }
        for column in [
            &mut self.greeks_state,
            &mut self.beta_state,
            &mut self.weights_state,
        ] {
            column.reserve_exact(rows);
        }
    }

    /// Appends a row.
    pub fn push(&mut self, row: &Row) {
        let at = i64::try_from(self.total_value.len()).unwrap_or(i64::MAX);
        self.total_value.push(row.total_value);
        self.greeks_state
            .push(state_of(row.is_active.then_some(())));
        self.beta.push(row.beta.unwrap_or(0));
        self.beta_state.push(state_of(row.beta));
        self.weights_state.push(state_of(row.weights.as_ref()));
        let none = Weights::default();
        let weights = row.weights.as_ref().unwrap_or(&none);
        self.hhi.push(weights.hhi);
        self.effective.push(weights.effective);
        self.top_3.push(weights.top_3);
        self.top_10.push(weights.top_10);
        for &(sector, weight) in &weights.sectors {
            self.weight_row.push(at);
            self.weight_sector.push(sector);
            self.weight.push(weight);
        }
    }

    /// Appends the rows of later portfolios, which follow `rows` others.
    pub fn append(&mut self, mut later: Self, rows: usize) {
        let before = i64::try_from(rows).unwrap_or(i64::MAX);
        let moved = later
            .weight_row
            .iter()
            .map(|row| row.saturating_add(before));
        self.weight_row.extend(moved);
        self.weight_sector.append(&mut later.weight_sector);
        self.weight.append(&mut later.weight);
        self.total_value.append(&mut later.total_value);
        self.greeks_state.append(&mut later.greeks_state);
        self.beta.append(&mut later.beta);
        self.beta_state.append(&mut later.beta_state);
        self.hhi.append(&mut later.hhi);
        self.effective.append(&mut later.effective);
        self.top_3.append(&mut later.top_3);
        self.top_10.append(&mut later.top_10);
        self.weights_state.append(&mut later.weights_state);
    }
}
