//! The native core of batchcore: binary COPY, price and snapshot stores, lots and the roll-forward.
//!
//! Plain Rust: no Python, no I/O, no clock, no environment. Money is integers with a scale; the
//! rules that the code names (`S4`, `S6`) are those of `docs/semantics.md`.

pub mod digits28;
pub mod error;
pub mod fixed;
pub mod float;
pub mod frame;
pub mod ids;
pub mod pgcopy;
pub mod pnl;
pub mod returns;
#[cfg(test)]
mod samples;
pub mod significant;
pub mod store;
pub mod text;
