//! Whole networks inside this process, and what people with money and bad intentions do to them.

mod attacks;
mod money;
mod network;
