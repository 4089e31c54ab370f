//! What brings every amount of a portfolio to one common scale.

use crate::fixed::{CENTS, power_of_ten};

/// Decimals of what is added up.
#[derive(Debug, Clone, Copy)]
pub struct Scales {
    /// Of changes of closes.
    pub change: u32,
    /// Of quantities.
    pub quantity: u32,
    /// Of realized amounts.
    pub realized: u32,
    /// Of flows.
    pub flow: u32,
}

/// Factors to the common scale, which is at most 36.
#[derive(Debug, Clone, Copy)]
pub struct Units {
    /// Of a change times a quantity.
    pub change: u128,
    /// Of a realized amount.
    pub realized: u128,
    /// Of a flow.
    pub flow: u128,
    /// Of a cent.
    pub cent: u128,
    /// The common scale.
    pub scale: u32,
}

impl Units {
    /// Returns the factors.
    #[must_use]
    pub fn of(scales: &Scales) -> Self {
        let change = scales.change.saturating_add(scales.quantity);
        let scale = change.max(scales.realized).max(scales.flow).max(CENTS);
        let factor = |own: u32| power_of_ten(scale.saturating_sub(own)).unwrap_or(u128::MAX);
        Self {
            change: factor(change),
            realized: factor(scales.realized),
            flow: factor(scales.flow),
            cent: factor(CENTS),
            scale,
        }
    }
}
