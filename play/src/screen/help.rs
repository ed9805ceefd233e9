//! The help: every key, every command, every mark.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};

use crate::model::Game;
use crate::ui::Ui;

/// Keys, commands, and what they do.
const HELP: [(&str, &str, &str, &str); 12] = [
    ("arrows hjkl", "move over the bets", "field 5", "or `5 on field`"),
    ("Tab", "next group of bets", "place 6 12", "12 on place 6"),
    ("digits + -", "change the amount", "odds pass 20", "odds on the pass line"),
    ("c", "chip that + - move", "odds come 6 20", "odds on a come bet"),
    ("Enter b", "bet under the cursor", "take field", "take a bet down"),
    ("t", "take it down", "set place_6 30", "make it 30 in all"),
    ("o", "turn it on or off", "off place_6", "also `on`, `default`"),
    ("r p", "roll, pass the dice", "roll, pass dice", "the shooter only"),
    ("s L", "sit down, leave", "sit 1000, leave", "a seat here"),
    ("[ ]", "change the table", "table 3", "watch table 3"),
    ("O", "open an account", "open", "grants chips"),
    (": /", "type a command", "help, quit", ""),
];

const MARKS: [&str; 5] = [
    "12 your chips   (12) yours, off   +30 other players'   12+30 both",
    "Rolls: (6) point set   6* point made   7! seven out   [6] the point",
    "Players: the arrow marks the shooter, - who is leaving",
    "Log: + won   - lost   ! refused or failed",
    "A bet counts once its receipt says so; the node alone decides.",
];

/// Draws the help over the picture.
pub fn draw(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let (width, height) = (78.min(area.width), 22.min(area.height));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let mut lines =
        vec![Line::styled(format!(" {:<12}{:<23}{:<17}{}", "Key", "", "Typed after :", ""), ui.theme.heading())];
    for (key, what, typed, means) in HELP {
        lines.push(Line::from(vec![
            Span::styled(format!(" {key:<12}"), ui.theme.strong()),
            Span::raw(format!("{what:<23}")),
            Span::styled(format!("{typed:<17}"), ui.theme.strong()),
            Span::raw(means),
        ]));
    }
    lines.push(Line::default());
    lines.extend(MARKS.iter().map(|mark| Line::raw(format!(" {mark}"))));
    lines.push(Line::styled(format!(" Your key {}", engine::hex(&game.key)), ui.theme.faint()));
    let border = if ui.theme.unicode { ratatui::symbols::border::PLAIN } else { ASCII };
    let block = Block::new().borders(Borders::ALL).border_set(border).title(" Help, any key closes it ");
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

const ASCII: ratatui::symbols::border::Set<'static> = ratatui::symbols::border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};
