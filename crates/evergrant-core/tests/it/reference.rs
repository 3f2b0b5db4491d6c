//! The page of all causes says what the code says.
