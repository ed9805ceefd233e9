//! Numbers as people read them.

/// A whole number with its thousands apart.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something that has its plural by an `s`: `1 row`, `1,200 rows`.
pub fn counted(count: u64, one: &str) -> String {
    format!("{} {one}{}", thousands(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_of_something_is_not_several() {
        assert_eq!([0, 1, 1_200].map(|count| counted(count, "row")), ["0 rows", "1 row", "1,200 rows"]);
    }
}
