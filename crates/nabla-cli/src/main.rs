//! Turn words typed by a person into calls, and answers into text.

fn main() {}
