//! Decide whether a claim and its evidence hold.
