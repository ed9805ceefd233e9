//! The formats, against their pages. One binary: each would
//! compile and link the crate again.

mod formats;
mod image_page;
