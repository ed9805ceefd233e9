//! What happened in the game, for whoever asks over HTTP: a process beside the node reads the session, and is bounded in time,
//! in bytes and in number. This process reads nothing of it, so that no question costs the tick its memory or its turn.

use std::io::{self, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use engine::limits::{PAST_ANSWER_BYTES_MAX, PAST_LINES_MAX, PAST_PROBLEM_BYTES_MAX};
use engine::{AccountId, TableId, unhex};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Lines of an answer, about, if nothing else is asked for.
const LINES: u32 = 50;
/// What a command ends with whose question has no answer in this session: no such table, say.
const EXIT_DATA: i32 = 4;

/// Whose past is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PastOf {
    /// A table's.
    Table(TableId),
    /// One roll of a table: the bets since the roll before, the dice, the payouts.
    Roll(TableId, u32),
    /// An account's, whoever had its number.
    Account(AccountId),
    /// A player's, by public key.
    Player([u8; 32]),
}

/// What is asked for: the newest lines up to a height.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PastQuestion {
    /// Whose past.
    pub of: PastOf,
    /// Lines, about: a height is never cut in two. A roll has all of its own.
    pub lines: u32,
    /// The last height; without it, the last settled one.
    pub to: Option<u64>,
}

/// Why a question is none.
#[derive(Error, PartialEq, Eq, Debug)]
pub enum QuestionError {
    /// Nobody's past is asked for.
    #[error("ask for /api/game/table/N, /api/game/player/N, /api/game/player/KEY or /api/game/roll/TABLE:NUMBER")]
    Of,
    /// A table's number is none.
    #[error("a table is a number, as in /api/game/table/3")]
    Table,
    /// An account is neither a number nor a key.
    #[error("a player is an account's number, or its public key as 64 hex digits")]
    Player,
    /// A roll is none.
    #[error("a roll is TABLE:NUMBER, as in /api/game/roll/3:421")]
    Roll,
    /// A bound is none, or not known.
    #[error(
        "`{0}`: there are limit=1 to {PAST_LINES_MAX} and to=HEIGHT, each once, and neither for a roll, which is shown whole"
    )]
    Bound(String),
}

impl PastQuestion {
    /// What a path and its query ask for.
    ///
    /// # Errors
    /// If they ask for nothing that there could be.
    pub(crate) fn parse(of: &str, which: &str, query: &str) -> Result<Self, QuestionError> {
        let of = match of {
            "table" => PastOf::Table(which.parse().map(TableId).map_err(|_| QuestionError::Table)?),
            "player" => match (which.parse(), unhex(which)) {
                (_, Some(key)) => PastOf::Player(key),
                (account, None) => PastOf::Account(AccountId(account.map_err(|_| QuestionError::Player)?)),
            },
            "roll" => {
                let parts = which.split_once(':');
                let parts = parts.and_then(|(table, number)| Some((table.parse().ok()?, number.parse().ok()?)));
                let (table, number) = parts.ok_or(QuestionError::Roll)?;
                PastOf::Roll(TableId(table), number)
            }
            _ => return Err(QuestionError::Of),
        };
        let (mut lines, mut to) = (None, None);
        for bound in query.split('&').filter(|bound| !bound.is_empty()) {
            let wrong = || QuestionError::Bound(bound.to_owned());
            let (name, value) = bound.split_once('=').ok_or_else(wrong)?;
            let value = value.parse::<u64>().ok().filter(|value| *value > 0).ok_or_else(wrong)?;
            let known = match name {
                _ if matches!(of, PastOf::Roll(..)) => return Err(wrong()),
                "limit" if value <= PAST_LINES_MAX.into() => &mut lines,
                "to" => &mut to,
                _ => return Err(wrong()),
            };
            if known.replace(value).is_some() {
                return Err(wrong());
            }
        }
        Ok(Self { of, lines: lines.map_or(LINES, |lines| lines as u32), to })
    }
}

/// Why a question has no answer.
#[derive(Error, Debug)]
pub enum PastError {
    /// Nothing here reads the session.
    #[error("this node does not say what happened")]
    Nowhere,
    /// Somebody else's is being answered.
    #[error("another question is being answered; ask again in a moment")]
    Busy,
    /// The node is short of memory, and whatever reads the session needs some.
    #[error("memory is scarce: the past is not read now")]
    Scarce,
    /// It takes too long.
    #[error("no answer within {} s; `bitcraps history` takes the time that it needs", PATIENCE.as_secs())]
    Late,
    /// It is too long.
    #[error("the answer is longer than {} MiB; ask for fewer lines, or use `bitcraps history`", PAST_ANSWER_BYTES_MAX >> 20)]
    Long,
    /// There is nothing of that in the session.
    #[error("{0}")]
    None(String),
    /// The process failed.
    #[error("the session could not be read; the node's log says more")]
    Failed(String),
}

/// Makes the command that answers a question with one object of JSON on its standard output. Its exit code is 4, with the reason
/// on its standard error, where the session has nothing of what is asked for.
pub type PastCommand = Box<dyn Fn(&PastQuestion) -> Command + Send + Sync>;

/// Answers questions about the past, one at a time.
pub(crate) struct Past {
    command: PastCommand,
    place: Semaphore,
}

/// A process that reads; dropped, it is ended. It is gone once its memory is, at the lowest priority that there is: the
/// monitor's thread waits for that nowhere.
struct Running(Option<Child>);

impl Running {
    /// Waits for its end on another thread.
    async fn ended(mut self) -> io::Result<ExitStatus> {
        let mut child = self.0.take().expect("it is taken once");
        tokio::task::spawn_blocking(move || child.wait()).await.map_err(io::Error::other)?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        // One that has ended is not there to be ended.
        let _ = child.kill();
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn_blocking(move || child.wait()));
        }
    }
}

impl Past {
    pub(crate) fn new(command: PastCommand) -> Self {
        Self { command, place: Semaphore::new(1) }
    }

    /// The answer, as JSON. Whoever asks and goes away ends it.
    pub(crate) async fn answer(&self, question: &PastQuestion) -> Result<Vec<u8>, PastError> {
        self.answer_within(question, PATIENCE).await
    }

    async fn answer_within(&self, question: &PastQuestion, patience: Duration) -> Result<Vec<u8>, PastError> {
        let _place = self.place.try_acquire().map_err(|_| PastError::Busy)?;
        let failed = |error: io::Error| PastError::Failed(error.to_string());
        let mut command = (self.command)(question);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (out, err) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
        let running = Running(Some(child));
        let reading = tokio::task::spawn_blocking(move || read(out, err));
        let Ok(said) = tokio::time::timeout(patience, reading).await else { return Err(PastError::Late) };
        let (answer, problem) = said.map_err(|error| PastError::Failed(error.to_string()))?.map_err(failed)?;
        if answer.len() as u64 > PAST_ANSWER_BYTES_MAX {
            return Err(PastError::Long);
        }
        judged(running.ended().await.map_err(failed)?, answer, &problem)
    }
}

/// What a process says, and then what is wrong, up to the bounds of each. It is to say less on its standard error than a pipe
/// takes, so that it does not wait for that to be read first.
fn read(out: ChildStdout, err: ChildStderr) -> io::Result<(Vec<u8>, String)> {
    let (mut answer, mut problem) = (Vec::new(), Vec::new());
    out.take(PAST_ANSWER_BYTES_MAX + 1).read_to_end(&mut answer)?;
    if answer.len() as u64 <= PAST_ANSWER_BYTES_MAX {
        err.take(PAST_PROBLEM_BYTES_MAX).read_to_end(&mut problem)?;
    }
    Ok((answer, String::from_utf8_lossy(&problem).trim().to_owned()))
}

fn judged(status: ExitStatus, answer: Vec<u8>, problem: &str) -> Result<Vec<u8>, PastError> {
    match status.code() {
        Some(0) => Ok(answer),
        Some(EXIT_DATA) => Err(PastError::None(problem.strip_prefix("bitcraps: ").unwrap_or(problem).to_owned())),
        // Nothing else of what it says is passed on: a configuration that cannot be read is shown by line.
        _ => Err(PastError::Failed(status.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_is_asked_for_is_read_whole_or_refused() {
        let table = PastOf::Table(TableId(3));
        let asked = |of, which, query| PastQuestion::parse(of, which, query);
        assert_eq!(asked("table", "3", ""), Ok(PastQuestion { of: table, lines: 50, to: None }));
        assert_eq!(asked("table", "3", "to=9&limit=1000"), Ok(PastQuestion { of: table, lines: 1_000, to: Some(9) }));
        let of = |of, which| asked(of, which, "").map(|question| question.of);
        assert_eq!(of("player", "17"), Ok(PastOf::Account(AccountId(17))));
        let key = "0a".repeat(32);
        assert_eq!(of("player", &key), Ok(PastOf::Player([10; 32])));
        assert_eq!(of("roll", "3:421"), Ok(PastOf::Roll(TableId(3), 421)));
        assert_eq!(of("house", "1"), Err(QuestionError::Of));
        for which in ["", "-1", "x", "4294967296", "3 --reindex"] {
            assert_eq!(of("table", which), Err(QuestionError::Table), "{which}");
            assert_eq!(of("player", which), Err(QuestionError::Player), "{which}");
            assert_eq!(of("roll", which), Err(QuestionError::Roll), "{which}");
        }
        for query in
            ["limit", "limit=", "limit=0", "limit=1001", "limit=-1", "to=0", "to=x", "to=1&to=2", "from=1", "a"]
        {
            let Err(QuestionError::Bound(named)) = asked("table", "3", query) else { panic!("{query} is none") };
            assert!(query.ends_with(&named), "{query}: {named}");
        }
        assert!(matches!(asked("roll", "3:421", "limit=5"), Err(QuestionError::Bound(_))));
    }

    /// Answers by what a shell does.
    fn shell(script: &'static str) -> Past {
        Past::new(Box::new(move |_| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            command
        }))
    }

    fn ask(past: &Past, patience: Duration) -> Result<Vec<u8>, PastError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let question = PastQuestion { of: PastOf::Table(TableId(0)), lines: LINES, to: None };
        runtime.block_on(past.answer_within(&question, patience))
    }

    #[test]
    fn a_process_answers_or_says_why_not() {
        let asked = |script| ask(&shell(script), PATIENCE);
        assert_eq!(asked("echo '{}'; echo remark >&2").expect("an answer"), b"{}\n");
        let none = asked("echo 'bitcraps: there is no table 9' >&2; exit 4").expect_err("none");
        assert!(matches!(&none, PastError::None(text) if text == "there is no table 9"), "{none:?}");
        // A configuration that cannot be read is shown by line, and a line of it may be a secret.
        let failed = asked("echo 'webhook = secret' >&2; exit 3").expect_err("none");
        assert!(matches!(failed, PastError::Failed(_)) && !format!("{failed:?}").contains("secret"), "{failed:?}");
        assert!(matches!(asked("kill -9 $$"), Err(PastError::Failed(_))));
        assert!(matches!(asked("exec cat /dev/zero"), Err(PastError::Long)));
        let past = Past::new(Box::new(|_| Command::new("/no/such")));
        assert!(matches!(ask(&past, PATIENCE), Err(PastError::Failed(_))));
    }

    #[test]
    fn what_takes_too_long_is_ended_and_the_next_one_is_answered() {
        let dir = tempfile::tempdir().expect("a directory");
        let pid = dir.path().join("pid");
        let path = pid.clone();
        let past = Past::new(Box::new(move |_| {
            let mut command = Command::new("/bin/sh");
            let script =
                format!("if test -e '{0}'; then echo again; else echo $$ > '{0}'; exec sleep 600; fi", path.display());
            command.args(["-c", &script]);
            command
        }));
        // It may not have begun to write by then; what ends it does not depend on that.
        assert!(matches!(ask(&past, Duration::from_secs(2)), Err(PastError::Late)));
        if let Ok(pid) = std::fs::read_to_string(&pid) {
            // Of a process that has ended there is no command line.
            let command = format!("/proc/{}/cmdline", pid.trim());
            let until = Instant::now() + PATIENCE;
            while !std::fs::read(&command).unwrap_or_default().is_empty() {
                assert!(Instant::now() < until, "it goes on");
                std::thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(ask(&past, PATIENCE).expect("an answer"), b"again\n");
        }
    }

    #[test]
    fn one_at_a_time() {
        let past = shell("echo 1");
        let held = past.place.try_acquire().expect("it is free");
        assert!(matches!(ask(&past, PATIENCE), Err(PastError::Busy)));
        drop(held);
        assert!(ask(&past, PATIENCE).is_ok());
    }
}
