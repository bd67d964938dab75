//! The story of the lab, told as it happens.
fn main() {}
