//! The bet under the cursor: what lies on it, what it pays, what it is worth.

use engine::Spot;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use systems::catalogue::{BETS, Family, bet_of};

use super::text::{Parts, rule};
use crate::model::Game;
use crate::odds::{Ways, exact_multiple, ways};
use crate::ui::Ui;
use words::names::spot_words;
use words::thousands;

/// Draws the heading and three lines.
pub fn draw(frame: &mut Frame<'_>, game: &Game, ui: &Ui, area: Rect) {
    let columns = usize::from(area.width);
    let spot = ui.spot();
    let lines = vec![
        rule(heading(game, ui, spot, columns.saturating_sub(5)), columns, ui.theme),
        pays(game, ui, spot, columns),
        worth(game, ui, spot, columns),
        limits(game, ui, spot, columns),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn heading(game: &Game, ui: &Ui, spot: Spot, columns: usize) -> Line<'static> {
    let mut parts = Parts::new(", ");
    parts.add(0, vec![Span::styled(spot_words(spot), ui.theme.heading())]);
    if let Some(bet) = game.own_bet(spot) {
        let setting = if game.works(spot, bet.flags) { "" } else { " (off)" };
        let text = format!("yours {}{setting}", thousands(bet.amount.into()));
        parts.add(1, vec![Span::styled(text, ui.theme.own())]);
    }
    let others = game.others_on(spot);
    if others > 0 {
        parts.say(2, format!("others {}", thousands(others)));
    }
    if game.table.is_some()
        && let Some(why) = game.closed(spot)
    {
        parts.add(3, vec![Span::styled(why, ui.theme.warning())]);
    }
    parts.fit(columns)
}

fn ways_words(ways: Ways) -> String {
    let rest = 36 - ways.win - ways.lose - ways.push;
    let mut text = format!(" next roll, of 36 ways: {} win, {} lose", ways.win, ways.lose);
    if ways.push > 0 {
        text += &format!(", {} push", ways.push);
    }
    if rest > 0 { text + &format!(", {rest} go on") } else { text }
}

fn pays(game: &Game, ui: &Ui, spot: Spot, columns: usize) -> Line<'static> {
    let (catalogue, family) = (game.catalogue(), BETS[bet_of(spot).index()].family);
    let worth = game.odds.worth(game.rules(), bet_of(spot));
    let mut parts = Parts::new("   ");
    let pays = Span::styled(worth.pays.clone(), ui.theme.strong());
    let label = if pays.width() + 6 <= columns { " pays " } else { " " };
    parts.add(0, vec![Span::raw(label), pays]);
    let multiple = exact_multiple(catalogue, spot);
    if multiple > 1 {
        parts.say(2, format!("exact in multiples of {multiple}"));
    }
    let commission = catalogue.commission(spot);
    if commission.num > 0 {
        parts.say(1, format!("commission {}:{} in advance", commission.num, commission.den));
    }
    if family.toggles() {
        parts.say(3, if family.works_on_come_out() { "works on come-outs" } else { "off on come-outs" });
    }
    parts.say(4, format!("{} rolls on average", worth.rolls));
    parts.fit(columns)
}

fn worth(game: &Game, ui: &Ui, spot: Spot, columns: usize) -> Line<'static> {
    let worth = game.odds.worth(game.rules(), bet_of(spot));
    let with = |value: &str, fraction: Option<&String>| {
        let full = fraction.map_or(String::new(), |fraction| format!("{fraction} = "));
        (format!("{full}{value}"), value.to_owned())
    };
    let (win, win_short) = with(&worth.p_win, worth.p_win_fraction.as_ref());
    let (ev, ev_short) = with(&worth.ev, worth.ev_fraction.as_ref());
    let line = |win: &str, ev: &str| {
        let mut parts = Parts::new("   ");
        parts.add(0, vec![Span::raw(" wins "), Span::styled(win.to_owned(), ui.theme.strong())]);
        if let Some(push) = &worth.p_push {
            parts.say(1, format!("pushes {push}"));
        }
        parts.say(2, format!("EV {ev}"));
        parts.add(0, vec![Span::raw("house edge "), Span::styled(worth.edge.clone(), ui.theme.strong())]);
        parts
    };
    // Fractions go before any number does.
    let fits = |parts: Parts| {
        let whole = parts.fit(usize::MAX);
        (whole.width() <= columns).then_some(whole)
    };
    fits(line(&win, &ev))
        .or_else(|| fits(line(&win_short, &ev)))
        .unwrap_or_else(|| line(&win_short, &ev_short).fit(columns))
}

fn limits(game: &Game, ui: &Ui, spot: Spot, columns: usize) -> Line<'static> {
    let (catalogue, family) = (game.catalogue(), BETS[bet_of(spot).index()].family);
    let mut parts = Parts::new("   ");
    let progress = game.own_bet(spot).map_or(0, |bet| bet.progress);
    parts.say(0, ways_words(ways(catalogue, spot, progress, game.puck())));
    let rules = catalogue.rules();
    parts.say(1, format!("bets {} to {}", thousands(rules.min_bet.into()), thousands(rules.max_bet.into())));
    let cap = catalogue.odds_cap(spot, game.puck());
    if let Some(limit) = game.odds_limit(spot).filter(|limit| *limit > 0) {
        parts.add(2, vec![Span::styled(format!("odds to {}", thousands(limit)), ui.theme.own())]);
    } else if matches!(family, Family::Odds(_)) && cap > 0 {
        parts.say(2, format!("to {cap}x the flat bet"));
    }
    parts.fit(columns)
}
