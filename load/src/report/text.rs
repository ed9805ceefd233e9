//! Figures and foreign text, as a page or a terminal shows them.

use words::thousands;

/// What stands where nothing was measured.
pub const NOTHING: &str = "–";

/// Text that a page shows as it is.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// A measured figure with about three digits that mean something.
pub fn number(value: f64) -> String {
    let places = match value.abs() {
        size if !size.is_finite() => return NOTHING.into(),
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size > 0.0 => 3,
        _ => return "0".into(),
    };
    fixed(value, places)
}

/// A figure with so many places, thousands apart.
pub fn fixed(value: f64, places: usize) -> String {
    let text = format!("{:.places$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    // What has more digits than a count has is shown as it is.
    let whole = whole.parse().map_or(whole.to_owned(), thousands);
    let negative = value < 0.0 && text.contains(|digit| matches!(digit, '1'..='9'));
    format!("{}{whole}{rest}", if negative { "-" } else { "" })
}

/// A figure with its unit, or that there is none.
pub fn with_unit(value: Option<f64>, unit: &str) -> String {
    match value.filter(|value| value.is_finite()) {
        Some(value) if unit.is_empty() => number(value),
        Some(value) => format!("{} {unit}", number(value)),
        None => NOTHING.into(),
    }
}

/// A share in percent. Not quite all is not rounded to all, nor next to nothing to nothing.
pub fn share(percent: Option<f64>) -> String {
    match percent.filter(|percent| percent.is_finite()) {
        None => NOTHING.into(),
        Some(share) if (99.995..100.0).contains(&share) => "> 99.99 %".into(),
        Some(share) if share > 0.0 && share < 0.005 => "< 0.01 %".into(),
        Some(share) => format!("{} %", fixed(share, 2)),
    }
}

/// Yes or no.
pub fn yes(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}
