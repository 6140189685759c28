//! Paid calls from outside: the router against a network in memory whose providers sign real receipts.

mod chats;
mod client;
mod concurrency;
mod fake;
mod flow;
mod hostile;
mod liars;
mod money;
mod talker;
