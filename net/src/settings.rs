//! Values of a configuration file: numbers in a range, times, and sizes with their unit.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Reads a value that must be in a range.
///
/// # Errors
/// If it is not, or is no such value.
pub fn within<'de, T, D>(deserializer: D, range: RangeInclusive<T>) -> Result<T, D::Error>
where
    T: Deserialize<'de> + PartialOrd + Display,
    D: Deserializer<'de>,
{
    let (low, high) = (range.start(), range.end());
    let value = T::deserialize(deserializer)
        .map_err(|_| D::Error::custom(format!("expected a whole number from {low} to {high}")))?;
    if range.contains(&value) {
        return Ok(value);
    }
    Err(D::Error::custom(format!("{value} is not from {low} to {high}")))
}

/// Reads a number of milliseconds, or a time with its unit such as `30s`, that must be in a range of milliseconds.
///
/// # Errors
/// If it is not, or is neither.
pub fn milliseconds<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: RangeInclusive<u64>,
) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a time such as \"30s\" or \"500ms\", or a whole number of milliseconds")]
    enum Time {
        Number(i64),
        Text(String),
    }
    let milliseconds = match Time::deserialize(deserializer)? {
        Time::Number(number) => number.into(),
        Time::Text(text) => {
            let time: jiff::SignedDuration =
                text.parse().map_err(|_| D::Error::custom(format!("`{text}` is no time such as 30s or 500ms")))?;
            time.as_millis()
        }
    };
    let (low, high) = (range.start(), range.end());
    match u64::try_from(milliseconds).ok().filter(|milliseconds| range.contains(milliseconds)) {
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        None => Err(D::Error::custom(format!("{milliseconds} is not from {low} to {high}"))),
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

/// An address from text.
///
/// # Errors
/// If it is none, in words.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let hint = match text.strip_prefix("localhost:").filter(|port| port.parse::<u16>().is_ok()) {
            Some(port) => format!("; localhost is 127.0.0.1:{port}"),
            None => String::new(),
        };
        format!("`{text}` is no address such as 127.0.0.1:7400{hint}")
    })
}

/// Writes a time as its number of milliseconds.
///
/// # Errors
/// What the serializer says.
pub fn write_milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Reads a number of bytes, or a size with its unit, that must be in a range.
///
/// # Errors
/// If it is not, or is neither.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D, range: RangeInclusive<u64>) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a size such as \"512MB\", or a whole number of bytes")]
    enum Size {
        Number(u64),
        Text(String),
    }
    let bytes = match Size::deserialize(deserializer)? {
        Size::Number(bytes) => bytes,
        Size::Text(text) => {
            let size = text.parse::<ByteSize>();
            size.map_err(|_| D::Error::custom(format!("`{text}` is no size such as 512MB or 2 GiB")))?.as_u64()
        }
    };
    if range.contains(&bytes) {
        return Ok(bytes);
    }
    let (low, high) = (ByteSize(*range.start()), ByteSize(*range.end()));
    Err(D::Error::custom(format!("{} is not from {low} to {high}", ByteSize(bytes))))
}

/// Writes a number of bytes as it is read back, to the byte: in the largest unit that divides it.
///
/// # Errors
/// What the serializer says.
pub fn write_size<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let units = [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(bits, _)| bytes >> bits > 0 && bytes.trailing_zeros() >= *bits) {
        Some((bits, name)) => serializer.collect_str(&format_args!("{} {name}", bytes >> bits)),
        None => serializer.collect_str(bytes),
    }
}
