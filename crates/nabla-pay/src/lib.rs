//! Price, meter and vouch for work: arithmetic and signatures only.
