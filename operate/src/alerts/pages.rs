//! What follows from the table of rules beside the alerts: a Prometheus' rule file, and a page for each rule.

use std::fmt::Write;

use pulldown_cmark::Parser;
use pulldown_cmark::html::push_html;

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
const SCRAPE_DOWN_PAGE: &str = "\
# ScrapeDown: a node does not answer

Critical after 60 s in which Prometheus had no answer from `/metrics`. Only a Prometheus can have this alert: a node that is gone
cannot tell.

**What it means.** The process has ended, or its machine cannot be reached. With one validator, nothing goes on meanwhile; what
had a receipt is on its disk.

**What to do.**

1. `systemctl status bitcraps` and its log say why it ended; a start says what it found.
2. If it runs, `/livez` on the machine itself tells a network fault from a thread that hangs.
";

/// The page of what a node tells that stops because an invariant is broken: it is the last that it tells.
const CONSERVATION_PAGE: &str = "\
# Conservation: chips do not add up, or another invariant is broken

Critical, at once, and the last that this node tells: it has stopped before anything of the height was recorded. A Prometheus has no
such rule, since nobody answers it any more; it has ScrapeDown.

**What it means.** Settling a block would have made or lost chips, or broken another invariant. Every honest node stops at the same
block. What was recorded is whole.

**What to do.**

1. Read the last line of the log, and `stopped/poison-HEIGHT.json` in the session: they name the height and the invariant.
2. Start nothing by force. `bitcraps support` packs what whoever mends the program needs; `bitcraps replay` checks the record so far.
3. Tell the other operators: all of them go on together, with a program that is mended.
";

/// The page of what a node tells that stops for any other fault.
const STOPPED_PAGE: &str = "\
# Stopped: the node has stopped by itself

Critical, at once, and the last that this node tells: a start that fails after it says so in the log alone. A Prometheus has ScrapeDown
instead.

**What it means.** The node cannot go on: its disk refuses what it writes, a quorum has another state, its key is used elsewhere, or it
found its own state wrong and panicked.
What had a receipt is on its disk.

**What to do.**

1. The alert and the last line of the log say why, and what mends it. A file that is denied is named with whose it is: all of a session
   belongs to the user as whom the node runs (`chown -R` to that user). Who only reads it runs the command as that user (`sudo -u`).
2. The unit starts it again, except where that does not help: `systemctl status bitcraps` shows whether it did. After a block
   that broke an invariant the next start ends too, with exit code 4, and names the note in `stopped`.
3. `bitcraps doctor --config FILE` looks at the disk; the folder `stopped` of the session has what is known of a fault.
";

/// Pages of what no rule of the table says.
const OTHERS: [(&str, &str); 3] =
    [("scrape-down", SCRAPE_DOWN_PAGE), ("conservation", CONSERVATION_PAGE), ("stopped", STOPPED_PAGE)];

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
            // What happens once is seen for longer there, and is no more of an alert than here.
            let long = seconds + rule.value.seen_longer();
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "  - alert: {}\n    expr: ({expr}){positive} {side} {value}\n    for: {long}s\n    labels: {{severity: {}}}\n    \
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
            format!("{} {side} {}{}{long}", level.name(), rule.written(value), rule.within())
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

/// The page of a name, as a browser shows it; nothing if there is none.
pub fn html(name: &str) -> Option<String> {
    let rule = RULES.iter().find(|rule| rule.page() == name);
    let text = match rule {
        Some(rule) => page(rule),
        None => OTHERS.iter().find(|(of, _)| *of == name).map(|(_, text)| (*text).to_owned())?,
    };
    Some(as_html(&text))
}

/// A page as HTML, in what the dashboard's own pages look like.
fn as_html(text: &str) -> String {
    let title = text.trim_start_matches("# ").lines().next().unwrap_or_default();
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<link rel=\"icon\" \
         href=\"data:,\">\n<link rel=\"stylesheet\" href=\"../dashboard.css\">\n<main class=\"page\">\n"
    );
    let mut written = String::new();
    push_html(&mut written, Parser::new(text));
    // What is wider than a phone is scrolled, also with a keyboard. What a page's own words have of this is escaped.
    html.push_str(&written.replace("<pre>", "<pre tabindex=\"0\">"));
    html.push_str("</main>\n<footer><p><a href=\"../\">The dashboard</a></p></footer>\n</html>\n");
    html
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
        ];
        files.extend(OTHERS.map(|(name, text)| (root.join(format!("docs/runbook/{name}.md")), text.into())));
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

    #[test]
    fn every_page_is_shown_in_a_browser_as_it_is_written() {
        for rule in RULES {
            let html = html(&rule.page()).expect("a page");
            assert!(html.contains(&format!("<h1>{}: {}</h1>", rule.name, rule.title)), "{html}");
            assert_eq!(html.matches("<li>").count(), rule.steps.len(), "{html}");
            assert!(html.contains("<strong>What it means.</strong>") && !html.contains("**"), "{html}");
            assert_eq!(html.matches("<code>").count(), html.matches("</code>").count());
            assert_eq!(html.matches("<pre tabindex=\"0\">").count(), html.matches("<pre").count(), "{html}");
            assert!(
                html.contains(
                    "<link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"../dashboard.css\">"
                )
            );
        }
        assert_eq!(html("scrape-down").expect("a page").matches("<li>").count(), 2);
        assert_eq!(html("nothing"), None);
        assert!(as_html("# a\n\n`<b>` **c**\n").contains("<p><code>&lt;b&gt;</code> <strong>c</strong></p>"));
    }
}
