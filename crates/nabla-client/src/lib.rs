//! Ask, pay, and check the answer without trusting who gave it.
