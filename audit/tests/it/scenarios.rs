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

fn scenario(players: &str) -> String {
    let actions = r#"[{"at_roll": 0, "op": "bet", "player": "A", "bet": "pass", "amount": 10},
        {"at_roll": 0, "op": "bet", "player": "B", "bet": "pass", "amount": 10}]"#;
    let scenario = format!(
        r#"{{"name": "poor", "players": {players}, "rules": {{"min_bet": 10}}, "rolls": [[3, 4]], "actions": {actions}}}"#
    );
    format!(r#"{{"format": 2, "scenarios": [{scenario}]}}"#)
}

/// A table's smallest buy-in is for those who come to it; a scenario says what lies on the rails.
#[test]
fn whoever_has_less_than_the_smallest_bet_sits_with_it() {
    for few in [0, 5] {
        let scenarios = read_scenarios(&scenario(&format!(r#"{{"A": {few}, "B": 100}}"#))).expect("a scenario");
        let found = play(&scenarios[0]).expect("rules alone decide");
        assert_eq!(found["action_results"], serde_json::json!(["INSUFFICIENT_FUNDS", "ok"]));
        assert_eq!(found["rolls"][0]["shooter_after"], "A");
        assert_eq!(found["rolls"][0]["balances"], serde_json::json!({"A": few, "B": 110}));
        assert_eq!(found["final_on_table"], serde_json::json!({"A": 0, "B": 0}));
    }
}

/// No clock of the house matters: whoever is not at the table is refused by R3, before the first roll and after hundreds.
#[test]
fn who_is_not_at_the_table_is_refused_alike_however_many_rolls_came_before() {
    let rolls = 700;
    let action = |at: u32, rest: &str| format!(r#"{{"at_roll": {at}, "player": "C", "bet": "pass", {rest}}}"#);
    let both = |at| action(at, r#""op": "bet", "amount": 10"#) + "," + &action(at, r#""op": "take_down""#);
    let dice = vec!["[1, 2]"; rolls as usize].join(",");
    let actions = format!("{},{}", both(0), both(rolls));
    let scenario = format!(r#"{{"name": "long", "players": {{"A": 100}}, "rolls": [{dice}], "actions": [{actions}]}}"#);
    let scenarios = read_scenarios(&format!(r#"{{"format": 2, "scenarios": [{scenario}]}}"#)).expect("a scenario");
    let found = play(&scenarios[0]).expect("rules alone decide");
    let refused = ["UNKNOWN_PLAYER", "NO_SUCH_BET"];
    assert_eq!(found["action_results"], serde_json::json!([refused, refused].concat()));
}

/// A house has chips for a full table of players who have as many as a scenario may say.
#[test]
fn more_chips_than_a_house_grants_are_refused_by_their_field() {
    let most = 1u64 << 57;
    let names = (0..15).map(|player| format!(r#""{player}": {most}, "#)).collect::<String>();
    let scenarios = read_scenarios(&scenario(&format!(r#"{{"A": {most}, {names}"B": 100}}"#)));
    assert!(scenarios.is_err_and(|error| error.to_string().contains("17 players")));
    let names = (0..14).map(|player| format!(r#""{player}": {most}, "#)).collect::<String>();
    let scenarios = read_scenarios(&scenario(&format!(r#"{{"A": {most}, {names}"B": 100}}"#))).expect("a scenario");
    let found = play(&scenarios[0]).expect("as many as there may be");
    assert_eq!(found["final_balances"]["A"], most + 10);
    let error = read_scenarios(&scenario(&format!(r#"{{"A": {}, "B": 100}}"#, most + 1))).expect_err("too many");
    assert_eq!(error.to_string(), format!("scenario 0 (poor): players.A: {}; it is at most {most}", most + 1));
}
