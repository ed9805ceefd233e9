//! Every golden scenario through the real engine.

use audit::script::{first_difference, play, read_scenarios};

#[test]
fn golden_scenarios_come_out_as_expected() {
    let scenarios = read_scenarios(include_str!("../data/scenarios.json")).expect("the golden file is well formed");
    let mut differ = Vec::new();
    for scenario in &scenarios {
        let found = play(scenario).expect("a golden scenario can be played");
        let expected = scenario.expected.as_ref().expect("a golden scenario says what comes out");
        if let Some((path, expected, found)) = first_difference(expected, &found) {
            differ.push(format!("{}: {path}: expected {expected}, found {found}", scenario.name));
        }
    }
    assert_eq!(scenarios.len(), 514);
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), scenarios.len(), differ.join("\n"));
}
