//! Stores: shared data, hashed and sorted once, then only read.

pub mod price;
pub mod snapshot;

pub use price::PriceStore;
pub use snapshot::{Amount, Snapshot, SnapshotColumns, SnapshotStore};
