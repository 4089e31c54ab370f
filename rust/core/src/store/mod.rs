//! Stores: shared data, hashed and sorted once, then only read.

pub mod days;
pub mod laid;
pub mod price;
pub mod profile;
pub mod snapshot;

pub use days::DayIndex;
pub use laid::{Close, Laid, PriceColumns, price_on};
pub use price::PriceStore;
pub use profile::{DecimalValues, Profile, ProfileColumns, ProfileStore, TextValues};
pub use snapshot::{Amount, Snapshot, SnapshotColumns, SnapshotStore};
