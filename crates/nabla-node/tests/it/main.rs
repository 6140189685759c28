//! Whole networks inside this process, and what people with money and bad intentions do to them.

mod attacks;
mod chats;
mod models;
mod money;
mod network;
mod small;
