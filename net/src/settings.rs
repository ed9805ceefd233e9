//! Values of a configuration file: numbers in a range, times, and sizes with their unit.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// What the value of a key may be: a number, bytes of a size, milliseconds of a time, signs of a text, or items of a list. What reads
/// the value and what describes the file (its JSON Schema) ask the same bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The smallest value that is allowed.
    pub least: u64,
    /// The largest value that is allowed; `u64::MAX` for no bound.
    pub most: u64,
    /// Whether 0 may stand beside them, as a word for "none".
    pub or_zero: bool,
}

impl Bounds {
    /// From the least to the most.
    pub const fn new(least: u64, most: u64) -> Self {
        assert!(least <= most);
        Self { least, most, or_zero: false }
    }

    /// At least so much, or 0.
    pub const fn zero_or_from(least: u64) -> Self {
        Self { least, most: u64::MAX, or_zero: true }
    }

    /// Whether a value may be so.
    pub const fn contain(self, value: u64) -> bool {
        self.least <= value && value <= self.most || self.or_zero && value == 0
    }
}

/// Reads a number that must be within bounds.
///
/// # Errors
/// If it is not, or is no such number.
pub fn within<'de, T, D>(deserializer: D, bounds: Bounds) -> Result<T, D::Error>
where
    T: Deserialize<'de> + TryInto<u64> + Copy + Display,
    D: Deserializer<'de>,
{
    let Bounds { least, most, .. } = bounds;
    let value = T::deserialize(deserializer)
        .map_err(|_| D::Error::custom(format!("expected a whole number from {least} to {most}")))?;
    if value.try_into().is_ok_and(|number| bounds.contain(number)) {
        return Ok(value);
    }
    Err(D::Error::custom(format!("{value} is not from {least} to {most}")))
}

/// Reads a number of milliseconds, or a time with its unit such as `30s`, that must be within bounds of milliseconds.
///
/// # Errors
/// If it is not, or is neither.
pub fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D, bounds: Bounds) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a time such as \"30s\" or \"500ms\", or a whole number of milliseconds")]
    enum Time {
        Number(i64),
        Text(String),
    }
    // A negative number is read all the same, so that what is said of it names the bounds.
    let milliseconds = match Time::deserialize(deserializer)? {
        Time::Number(number) => number.into(),
        Time::Text(text) => {
            let time: jiff::SignedDuration =
                text.parse().map_err(|_| D::Error::custom(format!("`{text}` is no time such as 30s or 500ms")))?;
            time.as_millis()
        }
    };
    let Bounds { least, most, .. } = bounds;
    match u64::try_from(milliseconds).ok().filter(|milliseconds| bounds.contain(*milliseconds)) {
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        None => Err(D::Error::custom(format!("{milliseconds} is not from {least} to {most}"))),
    }
}

/// Reads an address: numbers and a port, since a name may come to mean another machine.
///
/// # Errors
/// If it is none.
pub fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let wrong = || D::Error::custom("expected an address in quotes, such as \"127.0.0.1:7400\"");
    let text = String::deserialize(deserializer).map_err(|_| wrong())?;
    parse_address(&text).map_err(D::Error::custom)
}

/// An address of players and nodes from text.
///
/// # Errors
/// If it is none, in words.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    parse_address_like(text, "127.0.0.1:7400")
}

/// An address from text, where `example` is one.
///
/// # Errors
/// If it is none, in words.
pub fn parse_address_like(text: &str, example: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let hint = match text.strip_prefix("localhost:").filter(|port| port.parse::<u16>().is_ok()) {
            Some(port) => format!("; localhost is 127.0.0.1:{port}"),
            None => String::new(),
        };
        format!("`{text}` is no address such as {example}{hint}")
    })
}

/// Writes a time as its number of milliseconds.
///
/// # Errors
/// What the serializer says.
pub fn write_milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Reads a number of bytes, or a size with its unit, that must be within bounds.
///
/// # Errors
/// If it is not, or is neither.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D, bounds: Bounds) -> Result<u64, D::Error> {
    let bytes = any_size(deserializer)?;
    if bounds.contain(bytes) {
        return Ok(bytes);
    }
    let (least, most) = (ByteSize(bounds.least), ByteSize(bounds.most));
    Err(D::Error::custom(format!("{} is not from {least} to {most}", ByteSize(bytes))))
}

/// Reads a number of bytes, or a size with its unit.
///
/// # Errors
/// If it is neither.
pub fn any_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a size such as \"512MB\", or a whole number of bytes")]
    enum Size {
        Number(u64),
        Text(String),
    }
    match Size::deserialize(deserializer)? {
        Size::Number(bytes) => Ok(bytes),
        Size::Text(text) => {
            let size = parse_size(&text).map_err(D::Error::custom)?;
            Ok(size.as_u64())
        }
    }
}

/// A size from text: a number of bytes, or one with its unit.
///
/// # Errors
/// If it is none, in words.
pub fn parse_size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| format!("`{text}` is no size such as 512MB or 2 GiB"))
}

/// Writes a number of bytes as it is read back, to the byte: in the largest unit that divides it.
///
/// # Errors
/// What the serializer says.
pub fn write_size<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    // Only a unit that divides the number is used: a rounded one would be read back as another size.
    let units = [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(bits, _)| bytes >> bits > 0 && bytes.trailing_zeros() >= *bits) {
        Some((bits, name)) => serializer.collect_str(&format_args!("{} {name}", bytes >> bits)),
        None => serializer.collect_str(bytes),
    }
}
