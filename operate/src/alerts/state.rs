//! How each rule stands: on after its duration, off once the value has been well back for a while.

use std::time::{Duration, Instant};

use node::readings::TickReadings;
use serde::Serialize;

use super::rules::{AlertLevel, RULES, Rule, Side, Threshold};
use crate::history::History;
use crate::reading::Reading;

/// By how much of a threshold a value must be back before the alert goes off: a value that swings about it tells once.
const HYSTERESIS: f64 = 0.05;
/// How long it must be back, at least.
const CLEAR_AFTER: Duration = Duration::from_secs(10);

/// A change of a rule's level.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Change {
    /// The rule.
    pub rule: &'static str,
    /// What is the matter.
    pub title: &'static str,
    /// How bad it is now.
    pub level: AlertLevel,
    /// How bad it was.
    pub before: AlertLevel,
    /// The value, the threshold and how long, in words.
    pub why: String,
    /// When it changed, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The page that says what to do, below `docs`.
    pub page: String,
}

/// An alert that is on.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Alert {
    /// The rule.
    pub rule: &'static str,
    /// What is the matter.
    pub title: &'static str,
    /// How bad it is.
    pub level: AlertLevel,
    /// The value and the threshold, in words.
    pub why: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The page that says what to do, below `docs`.
    pub page: String,
}

/// How one rule stands.
struct State {
    rule: &'static Rule,
    level: AlertLevel,
    since_ms: u64,
    why: String,
    /// Since when the value is beyond each threshold, the worse first; and since when it has been back of it.
    beyond: [Option<Instant>; 2],
    back: Option<Instant>,
}

impl State {
    fn new(rule: &'static Rule) -> Self {
        Self { rule, level: AlertLevel::None, since_ms: 0, why: String::new(), beyond: [None; 2], back: None }
    }

    /// Takes the value of now, and what is known beside it; nothing is as good as a good one, since where nothing is measured
    /// nothing is late.
    fn step(&mut self, value: Option<f64>, more: &str, now: Instant, now_ms: u64) -> Option<Change> {
        let mut wanted = AlertLevel::None;
        for (since, (level, threshold)) in self.beyond.iter_mut().zip(self.rule.thresholds()) {
            *since =
                value.filter(|value| is_beyond(*value, threshold.value, self.rule.side)).map(|_| since.unwrap_or(now));
            let is_long = since.is_some_and(|since| now - since >= Duration::from_secs(threshold.seconds.into()));
            if is_long {
                wanted = wanted.max(level);
            }
        }
        if let Some(value) = value.filter(|_| wanted >= self.level && wanted > AlertLevel::None) {
            self.why = self.words(value, more, wanted);
        }
        if wanted < self.level && !self.is_back(value, now) {
            return None;
        }
        self.back = None;
        if wanted == self.level {
            return None;
        }
        let before = std::mem::replace(&mut self.level, wanted);
        if before == AlertLevel::None {
            self.since_ms = now_ms;
        }
        let why = match value {
            Some(value) => self.words(value, more, wanted),
            None => "nothing is measured now".into(),
        };
        let Rule { name, title, .. } = *self.rule;
        Some(Change { rule: name, title, level: wanted, before, why, at_ms: now_ms, page: page_of(self.rule) })
    }

    /// Nobody knows the value: the level stays as it is, and whatever is to last for a while begins anew.
    fn wait(&mut self) {
        self.beyond = [None; 2];
        self.back = None;
    }

    /// The threshold that the present level is about.
    fn own_threshold(&self) -> Option<Threshold> {
        self.rule.thresholds().find(|(level, _)| *level == self.level).map(|(_, threshold)| threshold)
    }

    /// Whether a value is back of the present level's threshold, by more than the hysteresis.
    fn is_well_back(&self, value: Option<f64>) -> bool {
        let Some(threshold) = self.own_threshold() else { return true };
        let margin = threshold.value.abs() * HYSTERESIS;
        let inner = if self.rule.side == Side::Above { threshold.value - margin } else { threshold.value + margin };
        value.is_none_or(|value| !is_beyond(value, inner, self.rule.side))
    }

    /// Whether the value has been back for long enough.
    fn is_back(&mut self, value: Option<f64>, now: Instant) -> bool {
        if !self.is_well_back(value) {
            self.back = None;
            return false;
        }
        now - *self.back.get_or_insert(now) >= CLEAR_AFTER
    }

    /// The value and the threshold that it is compared with; of an alert that is over, the lowest.
    fn words(&self, value: f64, more: &str, level: AlertLevel) -> String {
        let threshold = self.rule.thresholds().find(|(of, _)| *of == level).or(self.rule.thresholds().last());
        let Some((level, Threshold { value: bound, seconds })) = threshold else { return String::new() };
        let rule = self.rule;
        let side = if rule.side == Side::Above { "above" } else { "below" };
        let long = if seconds > 0 { format!(" for {seconds} s") } else { String::new() };
        let (value, bound, within, level) = (rule.written(value), rule.written(bound), rule.within(), level.name());
        format!("{value}{within}{more}; {level} is {side} {bound}{long}")
    }
}

fn is_beyond(value: f64, threshold: f64, side: Side) -> bool {
    match side {
        Side::Above => value > threshold,
        Side::Below => value < threshold,
    }
}

fn page_of(rule: &Rule) -> String {
    format!("runbook/{}.md", rule.page())
}

/// How all rules stand.
pub struct Alerts(Vec<State>);

impl Default for Alerts {
    fn default() -> Self {
        Self(RULES.iter().map(State::new).collect())
    }
}

impl Alerts {
    /// Compares what history says now. Gives what changed.
    pub fn step(&mut self, history: &History) -> Vec<Change> {
        let Some(newest) = history.newest() else { return Vec::new() };
        let (now, now_ms) = (newest.at, newest.at_ms);
        let step = |state: &mut State| {
            let (value, more) = (value_of(state.rule, history), more_of(state.rule, newest));
            if value.is_none() && is_deaf(state.rule, newest) {
                state.wait();
                return None;
            }
            state.step(value, &more, now, now_ms)
        };
        self.0.iter_mut().filter_map(step).collect()
    }

    /// The node has ended, and nobody compares any more: those that are on are over, for all that is known. Gives what changed.
    pub fn end(&mut self, now_ms: u64) -> Vec<Change> {
        let on = self.0.iter_mut().filter(|state| state.level > AlertLevel::None);
        let over = on.map(|state| {
            let before = std::mem::replace(&mut state.level, AlertLevel::None);
            let why = "the node has ended, and looks no more".into();
            let Rule { name: rule, title, .. } = *state.rule;
            Change { rule, title, level: AlertLevel::None, before, why, at_ms: now_ms, page: page_of(state.rule) }
        });
        over.collect()
    }

    /// Those that are on, the worst first.
    pub fn on(&self) -> Vec<Alert> {
        let on = self.0.iter().filter(|state| state.level > AlertLevel::None);
        let mut on: Vec<Alert> = on
            .map(|state| Alert {
                rule: state.rule.name,
                title: state.rule.title,
                level: state.level,
                why: state.why.clone(),
                since_ms: state.since_ms,
                page: page_of(state.rule),
            })
            .collect();
        on.sort_by_key(|alert| std::cmp::Reverse(alert.level));
        on
    }
}

/// Whether a rule is about what others tell, of which a node whose disk is full takes up nothing: that nothing is known then does not
/// say that an alert that is on is over.
fn is_deaf(rule: &Rule, newest: &Reading) -> bool {
    let is_told = |name: &&str| matches!(*name, "bitcraps_validators_heard" | "bitcraps_heights_behind");
    newest.tick.disk_full > 0 && rule.value.names().iter().any(is_told)
}

/// What a reading knows beside the number that a rule compares.
fn more_of(rule: &Rule, newest: &Reading) -> String {
    match rule.name {
        "ThreadFrozen" if !newest.frozen.is_empty() => format!(": {}", newest.frozen.join(", ")),
        "ValidatorsAway" if newest.tick.heard > 0 => {
            let TickReadings { heard, validators, .. } = newest.tick;
            format!(": {heard} of {validators} validators are heard, a quorum is {}", newest.tick.quorum())
        }
        _ => String::new(),
    }
}

/// What a rule compares. What shrinks by itself is never full: a disk to which nothing is added has all the time there is.
fn value_of(rule: &Rule, history: &History) -> Option<f64> {
    rule.value.value(history).filter(|value| rule.side == Side::Above || *value >= 0.0)
}

#[cfg(test)]
mod tests;
