//! The bodies of a decoder give the same bits in every build, and attention does not see how pages are filled.
