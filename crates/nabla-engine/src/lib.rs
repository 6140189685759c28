//! Run a model on inputs, reproducibly, within stated limits.
