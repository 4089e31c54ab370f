//! The columns that only this policy has: total value, greeks, and those of the current day.

/// The columns of a row beyond the [`columns`](crate::pnl::columns) of every policy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LegacyRow {
    /// `total_value` in cents (L23, L25).
    pub total_value: i64,
    /// Whether there are active positions: the greeks are 0, else NULL (L25, L31).
    pub is_active: bool,
    /// `beta_provider_1y` in units of 10^-4 (L32).
    pub beta: Option<i64>,
    /// Sectors and concentration (L33, L34).
    pub weights: Option<Box<Weights>>,
}

/// The five columns that a row has all or none of.
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
