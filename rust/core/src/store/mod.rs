//! Stores: shared data, hashed and sorted once, then only read.

pub mod days;
pub mod price;
pub mod rates;
pub mod snapshot;

pub use days::DayIndex;
pub use price::{PriceColumns, PriceStore};
pub use rates::Rates;
pub use snapshot::{Amount, Snapshot, SnapshotColumns, SnapshotStore};
