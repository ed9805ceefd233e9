//! The table of metrics: name, unit, kind and help of each, and where in a reading its value is. What `/metrics` answers, the
//! page of metrics, the dashboard and the alerts follow from it.
//!
//! ```text
//!  reading -> tick, disk, network, process, monitor: the lines of the table -> value, times -> text, tiles, alerts, page
//! ```
//! A new metric is two files: a field where it is measured (`node/src/readings.rs`, or a reading here), and its line in the part
//! of the table that it belongs to.

mod unit;
mod metric;

#[macro_use]
mod fields;

mod tick;
mod disk;
mod network;
mod process;
mod monitor;

pub use self::metric::{Metric, Source};
pub use self::unit::Unit;

/// All metrics, in the order in which they are shown.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    [tick::METRICS, disk::METRICS, network::METRICS, process::METRICS, monitor::METRICS].into_iter().flatten()
}

/// The metric of a name.
pub fn metric(name: &str) -> Option<&'static Metric> {
    all().find(|metric| metric.name == name)
}

/// The page of metrics, as `docs/metrics.md` has it.
pub fn page() -> String {
    let mut page = PAGE_HEAD.to_owned();
    for metric in all() {
        let label = metric.label().map_or_else(String::new, |label| format!(", by `{label}`"));
        let (name, kind, unit) = (metric.name, metric.kind(), metric.unit.name());
        page.push_str(&format!("| `{name}` | {kind}{label} | {unit} | {} |\n", metric.help));
    }
    page
}

const PAGE_HEAD: &str = "\
# Metrics

`http://127.0.0.1:7480/metrics` answers in Prometheus' text format ([how to turn it on](operating.md#watching-a-node)). Each is
measured; what the system does not tell is left out, and so is the network where a node has none. The tick publishes what it counts
once a second, without a lock. Histograms have buckets from 50 us to 5 s.

| name | kind | unit | what it is |
|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Reading;

    #[test]
    fn names_say_unit_and_kind_and_are_there_once() {
        for metric in all() {
            let name = metric.name;
            assert!(name.starts_with("bitcraps_"), "{name}");
            assert_eq!(all().filter(|other| other.name == name).count(), 1, "{name}");
            assert_eq!(metric.kind() == "counter", name.ends_with("_total"), "{name}");
            let stem = name.trim_end_matches("_total");
            if !metric.unit.name().is_empty() {
                assert!(stem.ends_with(metric.unit.name()), "{name} is in {}", metric.unit.name());
            }
            assert!(metric.help.ends_with('.') && metric.help.len() > 5, "{name}: {}", metric.help);
        }
    }

    #[test]
    fn whatever_metric_a_page_names_is_one() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let pages = std::fs::read_dir(root.join("docs")).expect("pages").map(|page| page.expect("a page").path());
        let mut named = 0;
        for page in pages.filter(|page| page.extension() == Some("md".as_ref())) {
            let text = std::fs::read_to_string(&page).expect("a page");
            for word in text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("bitcraps_")) {
                assert!(metric(word).is_some(), "{}: no metric `{word}`", page.display());
                named += 1;
            }
        }
        assert!(named > all().count() + 20, "{named} metrics are named on pages");
    }

    #[test]
    fn whatever_the_network_counts_has_its_metric() {
        for (name, _) in net::server::Counters::default().list() {
            let mut reading = Reading::empty(std::time::Instant::now());
            let counters = vec![(name, 1)];
            let mut network = crate::reading::NetworkReading { counters, ..crate::reading::NetworkReading::quiet() };
            (network.connections, network.connections_max, network.reserved_bytes) = (0, 0, 0);
            reading.network = Some(network);
            let is_shown =
                |metric: &&Metric| metric.name.starts_with("bitcraps_net_") && metric.value(&reading) == Some(1.0);
            assert_eq!(all().filter(is_shown).count(), 1, "{name}");
        }
    }
}
