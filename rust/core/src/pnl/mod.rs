//! Profit and loss: from frames to result rows, all portfolios on all cores.
//!
//! | module              | what it owns                                                    |
//! |---------------------|-----------------------------------------------------------------|
//! | [`inputs`]          | the borrowed frames                                             |
//! | [`marks`]           | valid closes and their marks on the sessions (S2, S4)           |
//! | `lot`               | positions become lots (S3)                                      |
//! | `groups`            | rows by their owner                                             |
//! | [`splits`]          | quantities from one basis to another (C3, C4)                   |
//! | `book`              | positions, events and flows by portfolio                        |
//! | `value`             | quantity times multiplier times price                           |
//! | [`policy`]          | the policy trait, and the roll of every portfolio by a policy   |
//! | [`rollforward`]     | the policy of `docs/semantics.md` (S5 to S10)                   |
//! | [`legacy`]          | the policy of `docs/legacy.md` (L1 to L34)                      |
//! | [`holdings`]        | the lots held on some sessions, as floats                       |
//! | [`position_values`] | market values of positions on one session                       |
//! | [`checks`]          | findings about closes, and who holds them (C1, C2)              |
//! | `batches`           | threads                                                         |
//! | [`contributions`]   | the contribution of each lot to a P&L                           |
//! | [`issue`]           | the issues that a run reports                                   |
//! | [`columns`]         | result columns, and slices of them                              |
//! | [`report`]          | everything about a run but its rows                             |
//!
//! Portfolios are independent of each other, and results are collected in input order, so that
//! neither threads nor the order of rows matter (S11).

mod batches;
mod book;
pub mod checks;
pub mod columns;
pub mod contributions;
mod groups;
pub mod holdings;
pub mod inputs;
pub mod issue;
pub mod legacy;
mod lot;
pub mod marks;
pub mod policy;
pub mod position_values;
pub mod report;
pub mod rollforward;
pub mod splits;
mod value;
