//! Keep bytes under their hash, coded over many nodes, and prove any range of them.
