//! What several commands say in the same words.

use std::io;
use std::sync::LazyLock;

use super::out::line_columns;

/// What a person reads while the disk has no room.
pub fn disk_full(problem: &str) -> String {
    format!("the disk is full ({problem}): nothing is lost, no intents are taken; it goes on when there is room")
}

/// A summary for programs, with everything that was counted.
pub fn with_counts(mut summary: serde_json::Value, totals: &::node::totals::Totals) -> serde_json::Value {
    let fields = summary.as_object_mut().expect("a summary is an object");
    fields.extend(totals.list().map(|(name, count)| (name.to_owned(), count.into())));
    summary
}

/// How this program was called, for the commands it suggests: one that was started by its path is not found by its name.
pub fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        let by = std::env::args_os().next().map(|by| by.to_string_lossy().into_owned());
        called(std::env::var_os("CARGO").is_some(), by.as_deref())
    });
    &PROGRAM
}

fn called(by_cargo: bool, by: Option<&str>) -> String {
    match by {
        _ if by_cargo => "cargo run --release --".into(),
        Some(path) if path.contains('/') && path.contains(' ') => format!("'{path}'"),
        Some(path) if path.contains('/') => path.into(),
        _ => "bitcraps".into(),
    }
}

/// Prints commands that could come next, and what each is for: beside it where the terminal has room for all, else below.
pub fn try_next(next: &[(String, &str)]) -> io::Result<()> {
    say!("\nTry next:");
    let program = program();
    let width = next.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    let words = next.iter().map(|(_, what)| what.len()).max().unwrap_or(0);
    let fits = "  ".len() + program.len() + " ".len() + width + "   ".len() + words <= line_columns();
    for (command, what) in next {
        if fits {
            say!("  {program} {command:<width$}   {what}");
        } else {
            say!("  {program} {command}\n      {what}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::called;

    #[test]
    fn what_was_started_by_its_path_is_suggested_by_it() {
        assert_eq!(called(false, Some("target/release/bitcraps")), "target/release/bitcraps");
        assert_eq!(called(false, Some("/opt/my games/bitcraps")), "'/opt/my games/bitcraps'");
        assert_eq!(called(false, Some("bitcraps")), "bitcraps");
        assert_eq!(called(true, Some("target/release/bitcraps")), "cargo run --release --");
    }
}
