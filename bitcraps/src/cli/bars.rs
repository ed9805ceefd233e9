//! Lines that stand on standard error while something runs, and go when it ends.

use std::io::{self, Write};
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// All bars that stand on standard error, so that whoever writes a line there can take them away first.
static SHOWN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A bar of a length, or none where nobody watches.
///
/// # Panics
/// If the template is none: templates are fixed.
pub fn bar(watched: bool, length: u64, template: &'static str) -> ProgressBar {
    in_style(watched, ProgressBar::new(length), template)
}

/// A sign of what goes on and has no length, or none where nobody watches.
///
/// # Panics
/// As [`bar`].
pub fn spinner(watched: bool, template: &'static str) -> ProgressBar {
    in_style(watched, ProgressBar::new_spinner(), template)
}

fn in_style(watched: bool, bar: ProgressBar, template: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("a fixed template");
    if watched { SHOWN.add(bar.with_style(style)) } else { ProgressBar::hidden() }
}

/// Standard error for lines that come while bars may stand there: they make room, and are drawn again below at their next
/// turn.
#[derive(Clone, Copy, Default)]
pub struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A terminal that has gone cannot be cleared, which must not end whoever has something to log.
        let _ = SHOWN.clear();
        io::stderr().lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// A spinner while a session is opened, which says what that is at.
pub struct Opening(ProgressBar);

impl Opening {
    pub fn new() -> Self {
        let bar = spinner(true, "{spinner} {wide_msg}");
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        Self(bar)
    }

    pub fn on_step(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let bar = self.0.clone();
        move |what| bar.set_message(what.to_owned())
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
