//! A running node's past, which `history` reads in a process of its own: the node gives it no memory and no turn of its
//! own, and it takes none from the node.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use engine::hex;
use node::config::CacheSection;
use operate::past::{PastCommand, PastOf, PastQuestion};
use operate::process::without_secrets;

/// Memory that a state may take which is read beside a node: what 100,000 tables need.
const MEMORY_MAX: &str = "512MiB";

/// Where a node's past is read, whatever its configuration says meanwhile for the next start: in its session, within the
/// budgets of its cache.
fn place(session: &Path, cache: &CacheSection) -> Vec<OsString> {
    // A path may look like an option.
    let mut data = OsString::from("--data=");
    data.push(std::path::absolute(session).unwrap_or_else(|_| session.to_owned()));
    let (memory, disk) = (cache.memory_bytes_max, cache.disk_bytes_max);
    vec![data, "--own".into(), format!("--cache-memory={memory}").into(), format!("--cache-disk={disk}").into()]
}

/// This program: on Linux whatever has taken its place on the disk since.
fn this_program() -> PathBuf {
    match std::env::current_exe() {
        Ok(program) if !cfg!(target_os = "linux") => program,
        _ => "/proc/self/exe".into(),
    }
}

/// What answers questions about the past of a node that has this session.
pub fn past_of(session: &Path, cache: &CacheSection) -> PastCommand {
    let place = place(session, cache);
    Box::new(move |question| {
        let mut command = Command::new(this_program());
        command.args(["history", "--beside-node", "--output=json", "--memory-max", MEMORY_MAX]);
        command.args(&place).args(words(question));
        // It is asked for its answer or one reason, and needs neither the node's passphrase nor its manager.
        command.env("BITCRAPS_LOG", "off");
        without_secrets(&mut command);
        command
    })
}

/// A question, as `history` is asked it.
fn words(question: &PastQuestion) -> Vec<String> {
    let of = match question.of {
        PastOf::Table(table) => format!("--table={table}"),
        PastOf::Account(account) => format!("--player={account}"),
        PastOf::Player(key) => format!("--player={}", hex(&key)),
        PastOf::Roll(table, number) => format!("--roll={table}:{number}"),
    };
    let limit = format!("--limit={}", question.lines);
    [of, limit].into_iter().chain(question.to.map(|to| format!("--to={to}"))).collect()
}

/// Leaves processors and memory to everybody else, and ends with the node that asked.
pub fn stand_back() {
    // Where the system refuses one of these, the answer is the same.
    let _ = rustix::process::setpriority_process(None, 19);
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        // Whose memory the system takes first, where there is no more: this process's, and not the node's.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_read_where_the_node_has_it_and_within_its_budgets() {
        let args = place(Path::new("--a"), &CacheSection { memory_bytes_max: 5, disk_bytes_max: 0 });
        let here = std::env::current_dir().expect("a folder").join("--a");
        assert_eq!(args[0], OsString::from(format!("--data={}", here.display())));
        assert_eq!(args[1..], ["--own", "--cache-memory=5", "--cache-disk=0"]);
    }
}
