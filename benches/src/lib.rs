//! Measure every step of a paid call, and say how far it is from what it cannot beat.
