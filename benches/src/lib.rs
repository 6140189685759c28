//! Measure every step of a paid call, and say how far it is from what it cannot beat.
//!
//! A [`Group`] holds steps and limits (a copy of the same bytes, one hash of them, one signature) that are
//! measured in turn, run after run, so that a slow moment of the machine hits all of them alike. Each step
//! comes out as a [`Row`] of the one [`table`]. `table/main.rs` says what is measured. [`Turns`] compares with a
//! [`Worker`], a peer in a process of its own.
//!
//! # Rules
//! - A run repeats its body until it lasts; a row gives the median over all runs and their spread.
//! - A ratio to a limit is the median of the ratios within each run, by the unit of work.
//! - Work of one thread is counted in its CPU time, which other processes disturb least; work that waits for
//!   disk, network or other threads by the clock on the wall. The table says which.
//! - What prepares a run is not timed: the body times its own part ([`Watch::time`]).

pub mod clock;
pub mod group;
pub mod machine;
pub mod table;
pub mod turns;
pub mod worker;

pub use clock::{Clock, Watch};
pub use group::{Case, Group, Settings, Work};
pub use table::Row;
pub use turns::Turns;
pub use worker::Worker;
