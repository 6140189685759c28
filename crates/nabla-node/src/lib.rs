//! Wire the roles named in one config into a running, stoppable process.
