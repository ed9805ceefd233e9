//! What a panic said.

use std::any::Any;

/// The words of a panic that was caught; nothing where it was begun with something else than words.
pub fn words(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
}

#[cfg(test)]
mod tests {
    use std::panic::{catch_unwind, panic_any, resume_unwind};

    use super::*;

    #[test]
    fn a_panic_is_told_by_its_words_if_it_has_any() {
        let said = |panics: fn()| words(&*catch_unwind(panics).expect_err("it panics")).map(str::to_owned);
        assert_eq!(said(|| resume_unwind(Box::new("plain"))), Some("plain".into()));
        assert_eq!(said(|| resume_unwind(Box::new("height 7".to_owned()))), Some("height 7".into()));
        assert_eq!(said(|| panic_any(7)), None);
    }
}
