//! Where a number is in a reading, in short for the lines of the table.

/// A number of the tick, which is always known.
macro_rules! tick {
    ($field:ident) => {
        |reading| Some(reading.tick.$field)
    };
    (now $field:ident) => {
        |reading| Some(reading.tick.$field as f64)
    };
}

/// A number that the system may not tell.
macro_rules! system {
    ($($field:ident).+) => {
        |reading| reading.$($field).+.map(|value| value as f64)
    };
}
