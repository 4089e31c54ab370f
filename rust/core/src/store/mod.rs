//! Stores: shared data, hashed and sorted once, then only read.

pub mod laid;
pub mod price;
pub mod profile;
pub mod snapshot;

pub use laid::{Close, Laid, PriceColumns};
pub use price::PriceStore;
pub use profile::{DecimalValues, Profile, ProfileColumns, ProfileStore, TextValues};
pub use snapshot::{Amount, Snapshot, SnapshotColumns, SnapshotStore};
