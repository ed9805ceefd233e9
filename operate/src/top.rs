//! `top`: the values of a running node in a terminal, as its dashboard has them.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use engine::limits::MONITOR_EVENT_BYTES_MAX;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::Value;
use thiserror::Error;
use words::text::wrap;

use crate::ask::{PATIENCE, open};
use crate::tiles::{LimitKind, SECTIONS, Section, Tile};

/// Values of each tile that are drawn.
const SPARKS: usize = 24;
/// Lines of what is wrong that are shown.
const ALERT_LINES: usize = 6;
/// How long nothing may come from a node that tells something every second, or every other where it takes no readings.
const SILENCE: Duration = Duration::from_secs(5);

/// Why a node cannot be watched.
#[derive(Error, Debug)]
pub enum TopError {
    /// Nobody answers there, or not any more.
    #[error("no node's monitor at {address}: {problem}; `monitoring.listen` of its configuration says where it is")]
    Unreachable {
        /// The address.
        address: SocketAddr,
        /// What happened.
        problem: String,
    },
    /// There is no terminal.
    #[error("`top` draws in a terminal, and there is none; for programs http://{0}/api/now has the same")]
    NoTerminal(SocketAddr),
    /// The terminal cannot be had.
    #[error("the terminal: {0}")]
    Terminal(#[from] std::io::Error),
}

/// What is drawn.
#[derive(Default)]
pub struct View {
    event: Value,
    /// When it came.
    heard: Option<Instant>,
    sparks: Vec<VecDeque<f64>>,
    /// The first row that is shown.
    from: usize,
    /// Rows that there was room for.
    room: usize,
}

/// The rows of some sections: the title of each, and its tiles.
fn rows_of(sections: &'static [Section]) -> impl Iterator<Item = (&'static str, Option<&'static Tile>)> {
    sections.iter().flat_map(|section| {
        let tiles = section.tiles.iter().map(|tile| (section.title, Some(tile)));
        std::iter::once((section.title, None)).chain(tiles)
    })
}

/// Columns of the longest title of a tile.
fn title_columns() -> usize {
    SECTIONS.iter().flat_map(|section| section.tiles).map(|tile| tile.title.len()).max().unwrap_or(0)
}

impl View {
    /// Takes what the node said last.
    pub fn take(&mut self, event: Value) {
        let tiles = || SECTIONS.iter().flat_map(|section| section.tiles);
        self.sparks.resize_with(tiles().count(), VecDeque::new);
        for (sparks, tile) in self.sparks.iter_mut().zip(tiles()) {
            if sparks.len() == SPARKS {
                sparks.pop_front();
            }
            sparks.push_back(event["values"][tile.id].as_f64().unwrap_or(0.0));
        }
        self.event = event;
        self.heard = Some(Instant::now());
    }

    /// Draws it.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let mut alerts = self.alerts(frame.area().width.into());
        if alerts.len() > ALERT_LINES {
            // The worst stand first, and whoever sees six lines must not take them for all there is.
            let left = alerts.split_off(ALERT_LINES - 1).len();
            alerts.push(Line::styled(format!("{left} more lines: /api/now has all of them"), BOLD.fg(Color::Red)));
        }
        let rows = u16::try_from(alerts.len()).expect("a few lines");
        let [head, told, body] =
            Layout::vertical([Constraint::Length(1), Constraint::Length(rows), Constraint::Fill(1)])
                .areas(frame.area());
        frame.render_widget(Paragraph::new(alerts), told);
        let room = usize::from(body.height);
        let (count, of_each) = if frame.area().width >= 120 { (2, SECTIONS.len() / 2) } else { (1, SECTIONS.len()) };
        let longest = SECTIONS.chunks(of_each).map(|sections| rows_of(sections).count()).max().unwrap_or(0);
        // A terminal that has grown shows what was scrolled away, as far as there is room.
        self.room = room;
        self.from = self.from.min(longest.saturating_sub(room));
        let (mut first, mut above, mut below) = (0, 0, 0);
        let areas = Layout::horizontal(vec![Constraint::Fill(1); count]).split(body);
        for (sections, area) in SECTIONS.chunks(of_each).zip(areas.iter()) {
            let mut lines = Vec::new();
            for (number, (title, tile)) in rows_of(sections).enumerate() {
                let is_shown = number.checked_sub(self.from).is_some_and(|at| at < room);
                above += usize::from(tile.is_some() && number < self.from);
                below += usize::from(tile.is_some() && number >= self.from + room);
                if is_shown {
                    lines.push(tile.map_or_else(|| Line::styled(title, BOLD), |tile| self.line(tile, first)));
                }
                first += usize::from(tile.is_some());
            }
            frame.render_widget(Paragraph::new(lines), *area);
        }
        frame.render_widget(Paragraph::new(self.head(above, below)), head);
    }

    /// Scrolls by so many rows; as far as there are any, when it is drawn next.
    fn scroll(&mut self, key: KeyCode) {
        let page = self.room.max(1);
        self.from = match key {
            KeyCode::Down | KeyCode::Char('j') => self.from + 1,
            KeyCode::Up | KeyCode::Char('k') => self.from.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.from + page,
            KeyCode::PageUp => self.from.saturating_sub(page),
            KeyCode::Home => 0,
            KeyCode::End => usize::MAX / 2,
            _ => self.from,
        };
    }

    fn head(&self, above: usize, below: usize) -> Line<'_> {
        let ready = self.event["ready"].as_bool().unwrap_or(false);
        // A machine that hangs ends no connection: only that nothing comes any more tells of it.
        let quiet = self.heard.map_or(Duration::ZERO, |heard| heard.elapsed());
        let (word, color) = match (quiet > SILENCE, ready) {
            (true, _) => (format!("NO WORD for {} s, what follows is old:", quiet.as_secs()), Color::Red),
            (false, true) => ("ready".into(), Color::Green),
            (false, false) => ("NOT READY".into(), Color::Red),
        };
        let up = self.event["uptime_s"].as_u64().unwrap_or(0);
        let lacks = match above + below {
            0 => String::new(),
            _ => format!("; Up, Down: {above} above, {below} below"),
        };
        Line::from(vec![
            Span::styled(word, BOLD.fg(color)),
            Span::raw(format!("  up {} h {:02} min {:02} s   q ends{lacks}", up / 3_600, up / 60 % 60, up % 60)),
        ])
    }

    /// What is wrong, each in as many lines as so many columns need.
    fn alerts(&self, columns: usize) -> Vec<Line<'static>> {
        let list = |name: &str| self.event[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let reasons = list("reasons").iter().filter_map(Value::as_str).map(|reason| format!("not ready: {reason}"));
        let alerts = list("alerts").iter().map(|alert| {
            let text = |field: &str| alert[field].as_str().unwrap_or("");
            format!("{}: {} ({}); docs/{}", text("level"), text("title"), text("why"), text("page"))
        });
        let lines = reasons.chain(alerts).flat_map(|text| wrap(&text, columns, 2, |part| part.chars().count()));
        let all: Vec<Line<'_>> = lines.map(|text| Line::styled(text, Color::Red)).collect();
        if all.is_empty() { vec![Line::raw("no alert is on")] } else { all }
    }

    fn line(&self, tile: &Tile, place: usize) -> Line<'_> {
        let of = |field: &str| self.event[field][tile.id].as_f64();
        let per = if tile.per_second { "/s" } else { "" };
        let written = |value: f64| format!("{}{per}", tile.unit.written(value));
        let value = of("values").map_or("-".into(), written);
        let limit = match (&tile.limit, of("limits")) {
            (Some(limit), Some(bound)) if limit.kind == LimitKind::Target => format!("target {}", written(bound)),
            (Some(_), Some(bound)) => format!("of {}", written(bound)),
            _ => String::new(),
        };
        let style = match (&tile.limit, of("values"), of("limits")) {
            (Some(limit), Some(value), Some(bound)) => match limit.kind {
                LimitKind::Target if value > bound => Style::new().fg(Color::Yellow),
                LimitKind::Most if value > 0.95 * bound => Style::new().fg(Color::Red),
                LimitKind::Most if value > 0.8 * bound => Style::new().fg(Color::Yellow),
                _ => Style::new(),
            },
            _ => Style::new(),
        };
        let sparks = self.sparks.get(place).map_or(String::new(), spark);
        Line::from(vec![
            Span::raw(format!("  {:<1$} ", tile.title, title_columns())),
            Span::styled(format!("{value:>12} "), style.add_modifier(Modifier::BOLD)),
            Span::raw(format!("{limit:<18}")),
            Span::styled(sparks, Color::Blue),
        ])
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Values as a row of bars.
fn spark(values: &VecDeque<f64>) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().fold(0.0, |most: f64, value| most.max(*value));
    let bar = |value: &f64| if most > 0.0 { BARS[((value / most).max(0.0) * 7.0).round() as usize] } else { BARS[0] };
    values.iter().map(bar).collect()
}

/// Shows a node until `q` is pressed, or it is gone.
///
/// # Errors
/// If nobody answers, or the terminal cannot be had.
pub fn run(address: SocketAddr) -> Result<(), TopError> {
    if !std::io::stdout().is_terminal() {
        return Err(TopError::NoTerminal(address));
    }
    let (events_in, events) = bounded(8);
    let thread = std::thread::Builder::new().name("top".into()).spawn(move || follow(address, &events_in))?;
    let failed = |problem: &str| TopError::Unreachable { address, problem: problem.into() };
    let first = first(&events, PATIENCE).map_err(|problem| failed(&problem))?;
    let mut terminal = ratatui::try_init()?;
    let mut view = View::default();
    view.take(first);
    let ended = show(&mut terminal, &mut view, &events).map_err(TopError::from);
    ratatui::restore();
    // A thread that waits for a node ends with the process.
    drop((events, thread));
    ended?.map_or(Ok(()), |problem| Err(failed(&problem)))
}

/// The first event, if it comes in time: an address may take a connection, or swallow it, and never say a word.
fn first(events: &Receiver<Result<Value, String>>, patience: Duration) -> Result<Value, String> {
    match events.recv_timeout(patience) {
        Ok(event) => event,
        Err(RecvTimeoutError::Timeout) => Err(format!("no answer within {} s", patience.as_secs())),
        Err(RecvTimeoutError::Disconnected) => Err("no answer".into()),
    }
}

/// Draws what comes until `q` is pressed; why it ended, if the node did.
fn show(
    terminal: &mut ratatui::DefaultTerminal,
    view: &mut View,
    events: &Receiver<Result<Value, String>>,
) -> std::io::Result<Option<String>> {
    loop {
        terminal.draw(|frame| view.draw(frame))?;
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()? {
                let is_end = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
                if is_end || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)) {
                    return Ok(None);
                }
                view.scroll(key.code);
            }
        }
        match events.recv_timeout(Duration::from_millis(100)) {
            Ok(Ok(event)) => view.take(event),
            Ok(Err(problem)) => return Ok(Some(problem)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(Some("it ended".into())),
        }
    }
}

/// Hears a node's events until nobody listens, and why there are none any more.
fn follow(address: SocketAddr, events: &Sender<Result<Value, String>>) {
    let followed = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(hear(address, events)));
    if let Err(problem) = followed {
        let _ = events.send(Err(problem));
    }
}

async fn hear(address: SocketAddr, events: &Sender<Result<Value, String>>) -> Result<(), String> {
    let answer = open(address, "/events").await?;
    if !answer.status().is_success() {
        return Err(format!("it answered {}", answer.status()));
    }
    pass_on(answer.into_body(), events).await
}

async fn pass_on(mut body: Incoming, events: &Sender<Result<Value, String>>) -> Result<(), String> {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        text.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let Some(data) = line.strip_prefix(b"data: ") else { continue };
            let event = serde_json::from_slice(data).map_err(|error| format!("no event of a node: {error}"))?;
            if events.send(Ok(event)).is_err() {
                return Ok(());
            }
        }
        if text.len() > MONITOR_EVENT_BYTES_MAX {
            return Err("no event of a node: it has no end".into());
        }
    }
    Err("the node ended".into())
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn drawn(width: u16, height: u16, event: Value) -> String {
        let mut view = View::default();
        view.take(event);
        drawn_of(&mut view, width, height)
    }

    fn drawn_of(view: &mut View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a test terminal");
        terminal.draw(|frame| view.draw(frame)).expect("a test terminal");
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(width.into());
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn all_sections_are_there_at_either_width() {
        let event = json!({
            "ready": false, "uptime_s": 3_723, "reasons": ["the disk is full"], "values": { "height": 42.0, "cpu": 1.5 },
            "limits": { "cpu": 2.0 },
            "alerts": [{ "level": "critical", "title": "the disk has no room", "why": "1", "page": "runbook/disk-full.md" }],
        });
        let small = drawn(70, 24, event.clone());
        assert!(small.contains("Up, Down: 0 above, "), "{small}");
        for (width, height) in [(80, 60), (160, 40)] {
            let text = drawn(width, height, event.clone());
            for part in SECTIONS.iter().map(|section| section.title).chain([
                "NOT READY",
                "up 1 h 02 min 03 s",
                "the disk is full",
                "critical: the disk has no room",
                "42",
                "of 2",
            ]) {
                assert!(text.contains(part), "{part} at {width}x{height}:\n{text}");
            }
            assert!(!text.contains("Up, Down"), "{width}x{height}:\n{text}");
        }
    }

    #[test]
    fn a_node_that_says_nothing_any_more_is_not_shown_as_ready() {
        let mut view = View::default();
        view.take(json!({ "ready": true, "uptime_s": 60 }));
        let head = |view: &mut View| drawn_of(view, 80, 24).lines().next().expect("a row").to_owned();
        assert!(head(&mut view).starts_with("ready  up"), "{}", head(&mut view));
        view.heard = Instant::now().checked_sub(Duration::from_secs(7));
        assert!(view.heard.is_some(), "this machine is up for longer");
        assert!(head(&mut view).starts_with("NO WORD for 7 s"), "{}", head(&mut view));
        assert!(!head(&mut view).contains("ready"), "{}", head(&mut view));
        view.take(json!({ "ready": true, "uptime_s": 61 }));
        assert!(head(&mut view).starts_with("ready  up"), "{}", head(&mut view));
    }

    #[test]
    fn what_is_wrong_beyond_the_lines_that_are_shown_is_counted() {
        let alert = |title: &str| {
            let why = "100.0 %: 2 of 4 validators are heard, a quorum is 3; critical is above 99.0 % for 30 s";
            json!({ "level": "critical", "title": title, "why": why, "page": "runbook/validators-away.md" })
        };
        let event = |titles: &[&str]| {
            let alerts: Vec<Value> = titles.iter().map(|title| alert(title)).collect();
            json!({ "ready": true, "uptime_s": 60, "alerts": alerts })
        };
        let five = event(&["the first", "the second", "the third", "the fourth", "the fifth"]);
        let lines = View { event: five.clone(), ..View::default() }.alerts(80).len();
        let text = drawn(80, 24, five);
        assert!(text.contains("the first") && !text.contains("the fifth"), "{text}");
        // Each takes two lines or more, and five are shown of all.
        assert!(lines >= 10 && text.contains(&format!("{} more lines: /api/now has all", lines - 5)), "{text}");
        let two = drawn(80, 24, event(&["the first", "the second"]));
        assert!(two.contains("the second") && !two.contains("more lines"), "{two}");
    }

    #[test]
    fn nobody_waits_for_ever_for_the_first_word() {
        let (said, events) = bounded(1);
        let patience = Duration::from_millis(20);
        assert_eq!(first(&events, patience), Err("no answer within 0 s".into()));
        said.send(Ok(json!(1))).expect("there is room");
        assert_eq!(first(&events, patience), Ok(json!(1)));
        drop(said);
        assert_eq!(first(&events, patience), Err("no answer".into()));
    }

    #[test]
    fn every_value_is_reached_in_80_columns_and_24_rows() {
        let title = "validators are away, so that what is left of them is no quorum";
        let alert =
            json!({ "level": "critical", "title": title, "why": "100 %", "page": "runbook/validators-away.md" });
        let mut view = View::default();
        view.take(json!({ "ready": true, "uptime_s": 3_600_000, "values": { "behind": 1.0 }, "alerts": [alert] }));
        let mut seen = drawn_of(&mut view, 80, 24);
        assert!(seen.contains("docs/runbook/validators-away.md"), "a page's name is whole: {seen}");
        let row = seen.lines().find(|line| line.contains("Heights decided, not settled")).expect("its row");
        assert!(row.contains("settled            1 "), "its value stands in the column of values: {row}");
        for _ in 0..3 {
            view.scroll(KeyCode::PageDown);
            seen.push_str(&drawn_of(&mut view, 80, 24));
        }
        let missing = SECTIONS.iter().flat_map(|section| section.tiles).find(|tile| !seen.contains(tile.title));
        assert!(missing.is_none(), "{:?}:\n{seen}", missing.map(|tile| tile.title));
        assert!(drawn_of(&mut view, 80, 24).contains(" above, 0 below"), "the end is the end: {seen}");
        view.scroll(KeyCode::Up);
        assert!(drawn_of(&mut view, 80, 24).contains(" above, 1 below"), "no key was lost beyond the end");
        view.scroll(KeyCode::Home);
        assert!(drawn_of(&mut view, 80, 24).contains("Up, Down: 0 above"));
    }
}
