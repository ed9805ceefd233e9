use super::*;

fn wish(text: &str) -> Wish {
    match parse(text) {
        Ok(Action::Wish(wish)) => wish,
        other => panic!("`{text}` is {other:?}"),
    }
}

fn said(text: &str) -> String {
    wish(text).words()
}

fn wrong(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn every_bet_is_placed_taken_and_set_by_its_name() {
    for spec in &BETS {
        let number = if needs_number(spec.id) { " 6" } else { "" };
        let target = Some((spec.id, if needs_number(spec.id) { 6 } else { 0 }));
        for name in [spec.name.to_owned(), spec.name.replace('_', " ")] {
            for text in [format!("bet {name}{number} 1,200"), format!("{name}{number} 1200")] {
                let wish = wish(&text);
                assert_eq!((wish.kind, wish.bet, wish.amount), (IntentKind::Bet, target, 1_200), "{text}");
            }
            let take = wish(&format!("take {name}{number}"));
            assert_eq!((take.kind, take.bet, take.amount), (IntentKind::TakeDown, target, 0), "{name}");
            let set = wish(&format!("set {name}{number} 30"));
            assert_eq!((set.kind, set.bet, set.amount), (IntentKind::SetAmount, target, 30), "{name}");
            let off = parse(&format!("off {name}{number}"));
            let always = CommandError::AlwaysWorks { bet: bet_words(spec.id) };
            match spec.family.toggles() {
                true => assert!(matches!(off, Ok(Action::Wish(wish)) if wish.working == Working::Off), "{name}"),
                false => assert_eq!(off, Err(always), "{name}"),
            }
        }
    }
}

#[test]
fn every_command_is_understood_and_its_form_is_an_intents() {
    for (text, words) in [
        ("bet field 5", "5 on field"),
        ("field 5", "5 on field"),
        ("5 on the field", "5 on field"),
        ("bet $25 on place 6", "25 on place 6"),
        ("place 6 12", "12 on place 6"),
        ("place 6 12 on", "12 on place 6"),
        ("PASS 2k", "2,000 on pass"),
        ("field $12,500", "12,500 on field"),
        ("field 1_000_000", "1,000,000 on field"),
        ("field 0500", "500 on field"),
        ("odds pass 20", "20 on pass odds"),
        ("odds on come 6 25", "25 on come odds on 6"),
        ("odds_dont_come_9 30", "30 on don't come odds on 9"),
        ("lay odds 4 40", "40 on don't come odds on 4"),
        ("lay odds 40", "40 on don't pass odds"),
        ("lay 4 40", "40 on lay 4"),
        ("hop 5 2 1", "1 on hop 2-5"),
        ("take field", "take down field"),
        ("take down dont come 6", "take down don't come on 6"),
        ("set place_6 30", "set place 6 to 30"),
        ("set place 6 to 30", "set place 6 to 30"),
        ("off place_6", "place 6 off"),
        ("place 6 off", "place 6 off"),
        ("odds come 6 on", "come odds on 6 on"),
        ("default hard 8", "hard 8 default"),
        ("roll the dice", "roll"),
        ("r", "roll"),
        ("pass the dice", "pass the dice"),
        ("sit 1000", "sit down with 1,000"),
        ("sit down with 1,000 chips", "sit down with 1,000"),
        ("leave", "leave the table"),
        ("open", "open an account"),
    ] {
        let wish = wish(text);
        assert_eq!(wish.words(), words, "{text}");
        assert_eq!(wish.body([7; 32], 1, 9, TableId(3)).check_form(), Ok(wish.kind), "{text}");
    }
    assert_eq!(wish("place 6 12 on").working, Working::On);
    assert_eq!(parse("table 3"), Ok(Action::Watch(TableId(3))));
    assert_eq!(parse("?"), Ok(Action::Help));
    assert_eq!(parse("quit"), Ok(Action::Quit));
    assert_eq!(said("horn 12"), "12 on horn");
    assert_eq!(said("horn 12 5"), "5 on horn high 12");
    assert_eq!(said("come 6"), "6 on come");
}

#[test]
fn what_is_wrong_is_answered_with_what_would_be_right() {
    for (text, answer) in [
        ("", "type a command, for example `field 5`, or `help`"),
        ("field 18446744073709551616", "`18446744073709551616` is more than all chips there are"),
        ("99999999999999999999 on field", "`99999999999999999999` is more than all chips there are"),
        ("set place_6 99999999999999999k", "`99999999999999999k` is more than all chips there are"),
        ("sit $18446744073709551616", "`$18446744073709551616` is more than all chips there are"),
        ("field 1,5", "how many chips is `1,5`? Write for example 1500, 1,500 or 2k"),
        ("1,5k on field", "how many chips is `1,5k`? Write for example 1500, 1,500 or 2k"),
        ("sit 5,00", "how many chips is `5,00`? Write for example 1500, 1,500 or 2k"),
        ("set place_6 $1,,000", "how many chips is `$1,,000`? Write for example 1500, 1,500 or 2k"),
        ("field 1500,000", "how many chips is `1500,000`? Write for example 1500, 1,500 or 2k"),
        ("field 0,500", "how many chips is `0,500`? Write for example 1500, 1,500 or 2k"),
        ("field 2,000k", "how many chips is `2,000k`? Write for example 1500, 1,500 or 2k"),
        ("field 1_000_00", "how many chips is `1_000_00`? Write for example 1500, 1,500 or 2k"),
        ("feild 5", "there is no bet `feild`; did you mean `field`?"),
        ("rol", "there is no command or bet `rol`; did you mean `roll`?"),
        ("xyzzy", "there is no command or bet `xyzzy`"),
        ("field", "how many chips? For example `field 5`"),
        ("place 6", "how many chips? For example `place 6 12`"),
        ("yo 11", "how many chips? For example `yo 11 12`"),
        ("place 12", "`place` could be place_4, place_5, place_6, place_8, place_9, place_10 or 6 more"),
        ("field 0", "at least 1 chip"),
        ("odds come 20", "come odds stand on a number, 4, 5, 6, 8, 9 or 10: for example `odds_come 6 5`"),
        ("odds come 6", "come odds stand on a number, 4, 5, 6, 8, 9 or 10: for example `odds come 6 20`"),
        ("come 6 10", "come takes no number: for example `come 5`"),
        ("place 6 12 on off", "`on`, `off` and `default` are one setting: for example `place 6 12 off`"),
        ("bet hard 8 5 on on", "`on`, `off` and `default` are one setting: for example `hard 8 5 off`"),
        ("place 7 10", "`place 7` could be place_4, place_5, place_6, place_8, place_9, place_10"),
        ("off field", "field always works; it cannot be turned on or off"),
        ("pass", "`pass 5` bets 5 on the pass line, `pass dice` hands the dice on"),
        ("table", "which table? For example `table 3`"),
        ("sit", "how many chips? For example `sit 1000`"),
        ("set place_6", "how many chips? For example `set place_6 30`"),
        ("leave now", "`leave` stands alone; `now` means nothing here"),
    ] {
        assert_eq!(wrong(text), answer, "{text}");
    }
}

/// Words of commands, bets, numbers and noise in every order that a small generator finds.
#[test]
fn no_text_makes_it_panic() {
    let noise =
        ["", "on", "off", "0", "18446744073709551616", "9999999999999m", "_", "é", "6", "-5", "$", "k", "🎲", "'"];
    let words: Vec<&str> = COMMANDS.into_iter().chain(BETS.iter().map(|bet| bet.name)).chain(noise).collect();
    let mut state = 1u64;
    for case in 0..3_000 {
        let mut text = String::new();
        for _ in 0..case % 6 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let word = words[(state >> 33) as usize % words.len()];
            let cut = word.char_indices().map(|(at, _)| at).nth((state >> 20) as usize % 9).unwrap_or(word.len());
            text += if state >> 60 & 1 == 0 { word } else { &word[..cut] };
            text += [" ", "", "_", "  "][(state >> 50) as usize % 4];
        }
        if let Err(error) = parse(&text) {
            assert!(!error.to_string().contains('\n'), "one line: {text:?}");
        }
    }
}
