//! `top`: the values of a running node in a terminal, as its dashboard has them.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use engine::limits::MONITOR_EVENT_BYTES_MAX;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};
use serde_json::Value;
use thiserror::Error;

use crate::ask::open;
use crate::tiles::{LimitKind, SECTIONS, Tile};

/// Values of each tile that are drawn.
const SPARKS: usize = 24;

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
    sparks: Vec<VecDeque<f64>>,
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
    }

    /// Draws it.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let alerts = self.alerts();
        let rows = u16::try_from(alerts.len()).unwrap_or(u16::MAX).clamp(1, 6);
        let [head, told, body] =
            Layout::vertical([Constraint::Length(1), Constraint::Length(rows), Constraint::Fill(1)])
                .areas(frame.area());
        frame.render_widget(Paragraph::new(alerts), told);
        let is_wide = frame.area().width >= 120;
        let areas: Vec<_> = if is_wide {
            let columns = Layout::horizontal([Constraint::Fill(1); 2]).split(body);
            columns
                .iter()
                .flat_map(|column| Layout::vertical([Constraint::Fill(1); 2]).split(*column).to_vec())
                .collect()
        } else {
            Layout::vertical(SECTIONS.map(|section| Constraint::Length(section.tiles.len() as u16 + 1)))
                .split(body)
                .to_vec()
        };
        let (mut first, mut hidden) = (0, 0);
        for (section, area) in SECTIONS.iter().zip(areas) {
            // The first row of an area is its title.
            hidden += section.tiles.len().saturating_sub(usize::from(area.height).saturating_sub(1));
            let lines: Vec<Line<'_>> =
                section.tiles.iter().zip(first..).map(|(tile, place)| self.line(tile, place)).collect();
            first += section.tiles.len();
            frame.render_widget(Paragraph::new(lines).block(Block::new().title(section.title).title_style(BOLD)), area);
        }
        frame.render_widget(Paragraph::new(self.head(hidden)), head);
    }

    fn head(&self, hidden: usize) -> Line<'_> {
        let ready = self.event["ready"].as_bool().unwrap_or(false);
        let (word, color) = if ready { ("ready", Color::Green) } else { ("NOT READY", Color::Red) };
        let up = self.event["uptime_s"].as_u64().unwrap_or(0);
        let lacks = if hidden > 0 { format!("; {hidden} values have no room here") } else { String::new() };
        Line::from(vec![
            Span::styled(word, BOLD.fg(color)),
            Span::raw(format!("  up {} h {:02} min {:02} s   q ends{lacks}", up / 3_600, up / 60 % 60, up % 60)),
        ])
    }

    fn alerts(&self) -> Vec<Line<'_>> {
        let list = |name: &str| self.event[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let reasons = list("reasons").iter().filter_map(Value::as_str).map(|reason| format!("not ready: {reason}"));
        let alerts = list("alerts").iter().map(|alert| {
            let text = |field: &str| alert[field].as_str().unwrap_or("");
            format!("{}: {} ({}); docs/{}", text("level"), text("title"), text("why"), text("page"))
        });
        let all: Vec<Line<'_>> = reasons.chain(alerts).map(|text| Line::styled(text, Color::Red)).collect();
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
            Span::raw(format!("  {:<27} ", tile.title)),
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
    let first = events.recv().map_err(|_| failed("no answer"))?.map_err(|problem| failed(&problem))?;
    let mut terminal = ratatui::try_init()?;
    let mut view = View::default();
    view.take(first);
    let ended = show(&mut terminal, &mut view, &events).map_err(TopError::from);
    ratatui::restore();
    // A thread that waits for a node ends with the process.
    drop((events, thread));
    ended?.map_or(Ok(()), |problem| Err(failed(&problem)))
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
        assert!(small.contains("values have no room here"), "{small}");
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
            assert!(!text.contains("have no room here"), "{width}x{height}:\n{text}");
        }
    }
}
