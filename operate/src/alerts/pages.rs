//! What follows from the table of rules beside the alerts: a Prometheus' rule file, and a page for each rule.

use std::fmt::Write;

use super::rules::{RULES, Rule, Side, Threshold};

/// The rule that only a Prometheus can have: nobody answers it.
const SCRAPE_DOWN: &str = "  - alert: ScrapeDown
    expr: up{job=\"bitcraps\"} == 0
    for: 60s
    labels: {severity: critical}
    annotations:
      summary: \"a node does not answer\"
      description: \"/metrics of {{ $labels.instance }} has not answered for a minute: the process is gone, or its machine.\"
      runbook: docs/runbook/scrape-down.md
";

/// The page of that rule.
pub const SCRAPE_DOWN_PAGE: &str = "\
# ScrapeDown: a node does not answer

Critical after 60 s in which Prometheus had no answer from `/metrics`. Only a Prometheus can have this alert: a node that is gone
cannot tell.

**What it means.** The process has ended, or its machine cannot be reached. With one validator, nothing goes on meanwhile; what
had a receipt is on its disk.

**What to do.**

1. `systemctl status bitcraps` and its log say why it ended; a start says what it found.
2. If it runs, `/livez` on the machine itself tells a network fault from a thread that hangs.
";

/// The rules for a Prometheus.
pub fn prometheus_rules() -> String {
    let mut text = String::from(
        "# Made from the table in operate/src/alerts/rules.rs. Scrape a node as job `bitcraps`.\ngroups:\n- name: bitcraps\n  rules:\n",
    );
    for rule in RULES {
        for (level, Threshold { value, seconds }) in rule.thresholds() {
            let side = if rule.side == Side::Above { ">" } else { "<" };
            // What shrinks by itself is never used up.
            let positive = if rule.side == Side::Below { " >= 0" } else { "" };
            let expr = rule.value.promql();
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "  - alert: {}\n    expr: ({expr}){positive} {side} {value}\n    for: {seconds}s\n    labels: {{severity: {}}}\n    \
                 annotations:\n      summary: \"{}\"\n      description: \"{}\"\n      runbook: docs/runbook/{}.md\n",
                rule.name,
                level.name(),
                rule.title,
                rule.meaning,
                rule.page()
            );
        }
    }
    text.push_str(SCRAPE_DOWN);
    text
}

/// The page of a rule.
pub fn page(rule: &Rule) -> String {
    let mut thresholds: Vec<String> = rule
        .thresholds()
        .map(|(level, Threshold { value, seconds })| {
            let side = if rule.side == Side::Above { "above" } else { "below" };
            let long = if seconds > 0 { format!(" for {seconds} s") } else { String::new() };
            format!("{} {side} {}{long}", level.name(), rule.unit.written(value))
        })
        .collect();
    thresholds.reverse();
    let mut page = format!("# {}: {}\n\n", rule.name, rule.title);
    let steps: Vec<String> = rule.steps.iter().zip(1..).map(|(step, number)| format!("{number}. {step}")).collect();
    let _ = write!(
        page,
        "It is {}. What is compared:\n\n```\n{}\n```\n\n**What it means.** {}\n\n**What to do.**\n\n{}\n",
        thresholds.join(", "),
        rule.value.promql(),
        rule.meaning,
        steps.join("\n")
    );
    page
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::dashboards::grafana;
    use crate::metrics;

    /// All files that are made from tables, with what they must hold.
    fn made() -> Vec<(PathBuf, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies one folder below the root");
        let mut files = vec![
            (root.join("docs/metrics.md"), metrics::page()),
            (root.join("packaging/prometheus/bitcraps.rules.yml"), prometheus_rules()),
            (root.join("packaging/grafana/bitcraps.json"), grafana()),
            (root.join("docs/runbook/scrape-down.md"), SCRAPE_DOWN_PAGE.into()),
        ];
        files.extend(RULES.iter().map(|rule| (root.join(format!("docs/runbook/{}.md", rule.page())), page(rule))));
        files
    }

    /// `BITCRAPS_WRITE_PAGES=1 cargo test --workspace --lib pages` writes them.
    #[test]
    fn pages_and_files_are_what_the_tables_say() {
        let write = std::env::var_os("BITCRAPS_WRITE_PAGES").is_some();
        for (path, text) in made() {
            if write {
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                std::fs::write(&path, &text).expect("written");
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(found == text, "{} is not what its table says; BITCRAPS_WRITE_PAGES=1 writes it", path.display());
        }
    }

    #[test]
    fn no_page_lies_about_that_no_rule_names() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies one folder below the root");
        let known: Vec<PathBuf> = made().into_iter().map(|(path, _)| path).collect();
        let pages = std::fs::read_dir(root.join("docs/runbook")).into_iter().flatten();
        for page in pages.map(|page| page.expect("a page").path()) {
            assert!(known.contains(&page), "{} belongs to no rule", page.display());
        }
    }
}
