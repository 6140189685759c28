//! Show the network over HTTP against one narrow Backend trait.
