//! The ledger from outside: each rule kept and broken, money counted, blocks replayed.

mod blocks;
mod money;
mod random;
mod rejects;
mod vectors;
mod world;
