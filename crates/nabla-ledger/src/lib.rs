//! Apply ordered transactions the same way everywhere.
