use super::*;

const CHAIN: Hash = [7; 32];
const TABLE: TableId = TableId(3);

fn certificate(block: u8) -> Certificate {
    Certificate { height: Height(1), round: 0, block: [block; 32], signatures: Vec::new() }
}

fn open(path: &Path) -> PledgeBook {
    PledgeBook::open(path, [1; 32]).expect("a book")
}

/// The end for a roll that the last secret has.
fn end_of(book: &mut PledgeBook, roll: u32) -> Hash {
    let (key, place) = (book.key, (CHAIN, TABLE));
    let secret = book.kept.get_mut(&place).and_then(|kept| kept.secrets.last_mut()).expect("a secret");
    secret.end(&place, &key, roll).expect("its own")
}

/// Opens a roll at a height of ten times its number.
fn roll(book: &mut PledgeBook, number: u32, end: &Hash, block: u8) -> Result<PledgeRow, Unopened> {
    let height = Height(u64::from(number) * 10);
    book.open_roll(CHAIN, TABLE, number, end, height, &certificate(block)).expect("written")
}

#[test]
fn each_opening_shows_what_its_end_is_the_hash_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut book = open(&dir.path().join("player.pem.pledges"));
    let mut end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
    for number in 5..50 {
        assert_eq!(book.openings_left(CHAIN, TABLE, number, &end), Some(OPENINGS - (number - 5)));
        let opening = roll(&mut book, number, &end, number as u8).expect("opened");
        assert_eq!(pledge_end(&CHAIN, TABLE, &[1; 32], number, &opening.value), end);
        assert_eq!(opening.block, [number as u8; 32]);
        end = opening.value;
    }
    book.pledge(CHAIN, TableId(1), 1, 99).expect("pledged");
    book.pledge(CHAIN, TableId(9), 1, 101).expect("pledged");
    assert_eq!(book.tables(CHAIN), [TableId(9), TABLE, TableId(1)], "the last one first");
    assert_eq!(book.tables([8; 32]), []);
    let last = end_of(&mut book, 5 + OPENINGS - 1);
    assert_eq!(book.openings_left(CHAIN, TABLE, 5 + OPENINGS - 1, &last), Some(1));
    let secret = end_of(&mut book, 5 + OPENINGS);
    assert_eq!(book.openings_left(CHAIN, TABLE, 5 + OPENINGS, &secret), None, "they have run out");
}

#[test]
fn a_book_that_is_opened_again_signs_the_same_and_no_second_block() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("player.pem.pledges");
    let mut book = open(&path);
    let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
    let opening = roll(&mut book, 5, &end, 9).expect("opened");
    drop(book);
    let mut again = open(&path);
    assert_eq!(roll(&mut again, 5, &end, 9), Ok(opening), "the same bytes");
    assert_eq!(roll(&mut again, 5, &end, 8), Err(Unopened::OtherBlock));
    // Nor with another secret for the same roll.
    let other = again.pledge(CHAIN, TABLE, 5, 100).expect("pledged");
    assert!(other.number > 100 && other.value != end);
    assert_eq!(roll(&mut again, 5, &other.value, 8), Err(Unopened::OtherBlock));
    assert_eq!(roll(&mut again, 5, &end, 9), Ok(opening), "the secret before may be the one that counts");
    // The next roll's block comes after it.
    let next = again.pledge(CHAIN, TABLE, 6, 0).expect("pledged");
    let early = again.open_roll(CHAIN, TABLE, 6, &next.value, Height(50), &certificate(3)).expect("written");
    assert_eq!(early, Err(Unopened::Behind));
    assert!(roll(&mut again, 6, &next.value, 3).is_ok());
}

#[test]
fn a_book_that_was_restored_opens_nothing_that_it_does_not_know_the_past_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, copy) = (dir.path().join("a"), dir.path().join("b"));
    let mut book = open(&path);
    let mut end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
    end = roll(&mut book, 5, &end, 5).expect("opened").value;
    std::fs::copy(&path, &copy).expect("a copy");
    end = roll(&mut book, 6, &end, 6).expect("opened").value;
    end = roll(&mut book, 7, &end, 7).expect("opened").value;
    let mut restored = open(&copy);
    assert_eq!(roll(&mut restored, 8, &end, 8), Err(Unopened::Unsure));
    let knows = |book: &mut PledgeBook, roll| {
        let end = end_of(book, roll);
        book.would_open(CHAIN, TABLE, roll, &end)
    };
    assert_eq!([5, 6, 7, 8].map(|number| knows(&mut restored, number)), [true, true, false, false]);
    assert!(knows(&mut book, 8) && !knows(&mut book, 9));
    assert!(knows(&mut book, 6), "a table that is shown as it was before");
    assert!(!book.would_open(CHAIN, TABLE, 8, &[7; 32]), "what another book pledged");
    let anew = restored.pledge(CHAIN, TABLE, 9, 200).expect("pledged");
    assert!(roll(&mut restored, 9, &anew.value, 9).is_ok(), "what it pledged itself it opens");
}

#[test]
fn a_line_that_was_cut_off_is_passed_over_and_takes_no_other_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let mut book = open(&path);
    let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
    drop(book);
    let whole = std::fs::read(&path).expect("a book");
    for cut in 1..40 {
        let mut text = whole.clone();
        text.extend_from_slice(&whole[..cut]);
        std::fs::write(&path, &text).expect("written");
        let mut book = open(&path);
        assert!(roll(&mut book, 5, &end, 9).is_ok());
        drop(book);
        let mut again = open(&path);
        assert_eq!(roll(&mut again, 5, &end, 8), Err(Unopened::OtherBlock), "cut {cut}");
        assert_eq!(again.damaged_count(), 0, "cut {cut}: it was never synced");
    }
}

#[test]
fn a_line_that_is_no_text_is_passed_over_and_takes_no_other_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let mut book = open(&path);
    let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
    for number in 5..8u32 {
        let ends = end_of(&mut book, number);
        assert!(roll(&mut book, number, &ends, 9).is_ok(), "roll {number}");
        let damage: &[u8] = if number == 6 { b"\xff\xfe" } else { b"\xff\xfe 5\n" };
        book.file.write_all(damage).expect("written");
        drop(book);
        book = open(&path);
        assert_eq!(roll(&mut book, number, &ends, 8), Err(Unopened::OtherBlock), "roll {number}");
    }
    assert_eq!(end_of(&mut book, 5), end, "the secret is kept");
    // The one without an end has got it from the line after it.
    assert_eq!(book.damaged_count(), 3);
}

#[test]
fn an_opening_that_is_damaged_is_counted_and_one_whose_certificate_alone_is_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let mut book = open(&path);
    let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
    roll(&mut book, 5, &end, 9).expect("opened");
    drop(book);
    let whole = std::fs::read(&path).expect("a book");
    let line = whole.windows(5).position(|bytes| bytes == b"open ").expect("its opening");
    for (place, block, damaged) in
        [(line, Ok(()), 1), (line + 5, Ok(()), 1), (whole.len() - 3, Err(Unopened::OtherBlock), 0)]
    {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x80;
        std::fs::write(&path, &bytes).expect("written");
        let mut book = open(&path);
        assert_eq!(book.damaged_count(), damaged, "at {place} of {}", whole.len());
        assert_eq!(roll(&mut book, 5, &end, 8).map(|_| ()), block, "at {place}");
    }
}

#[test]
fn a_line_that_a_full_disk_cut_off_takes_no_other_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    for cut in [1, 40, 140] {
        let path = dir.path().join(format!("cut-{cut}"));
        let mut book = open(&path);
        let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
        let whole = std::fs::read(&path).expect("a book");
        // What a write leaves that found no room for all of its line; the book goes on to be used.
        book.file.write_all(&whole[..cut]).expect("written");
        let next = roll(&mut book, 5, &end, 9).expect("opened").value;
        book.file.write_all(&whole[..cut]).expect("written");
        let pledged = book.pledge(CHAIN, TABLE, 6, 100).expect("pledged").value;
        drop(book);
        let mut book = open(&path);
        assert_eq!(end_of(&mut book, 6), pledged, "cut {cut}: the pledge is known");
        assert_eq!(book.openings_left(CHAIN, TABLE, 6, &next), Some(OPENINGS - 1), "cut {cut}: and the one before");
        assert!(roll(&mut book, 6, &pledged, 9).is_ok(), "cut {cut}");
        let text = std::fs::read_to_string(&path).expect("a book");
        let opened = text.lines().filter(|line| line.starts_with("open ")).count();
        assert_eq!(opened, 2, "cut {cut}: both openings are lines of their own");
        assert!(text.lines().all(|line| !line.is_empty()), "cut {cut}: no line break without need");
    }
}

#[test]
fn one_program_holds_a_book_and_a_long_one_is_written_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let mut book = open(&path);
    assert!(matches!(PledgeBook::open(&path, [1; 32]), Err(BookError::Held(_))));
    let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
    roll(&mut book, 5, &end, 9).expect("opened");
    let filler = format!("{}\n", "x".repeat(999)).repeat(1_100);
    book.file.write_all(filler.as_bytes()).expect("written");
    drop(book);
    let mut book = open(&path);
    assert!(std::fs::metadata(&path).expect("a book").len() < 1_000);
    assert!(matches!(PledgeBook::open(&path, [1; 32]), Err(BookError::Held(_))), "the new file is held too");
    assert_eq!(roll(&mut book, 5, &end, 8), Err(Unopened::OtherBlock));
}

#[test]
fn a_book_that_grows_long_while_it_is_held_is_written_anew_with_what_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let length = || std::fs::metadata(&path).expect("a book").len();
    let mut book = open(&path);
    let mut end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
    let filler = format!("{}\n", "x".repeat(999)).repeat(2_200);
    for number in [5, 7] {
        // Lines of rolls long past, which count no more.
        book.file.write_all(filler.as_bytes()).expect("written");
        end = roll(&mut book, number, &end, 9).expect("opened").value;
        assert!(length() > 2 * BOOK_BYTES_KEPT);
        end = roll(&mut book, number + 1, &end, 9).expect("opened").value;
        assert!(length() < 2_000, "{} bytes", length());
        assert!(matches!(PledgeBook::open(&path, [1; 32]), Err(BookError::Held(_))), "the new file is held too");
    }
    drop(book);
    let mut book = open(&path);
    assert_eq!(book.openings_left(CHAIN, TABLE, 9, &end), Some(OPENINGS - 4), "the secret is kept");
    let last = end_of(&mut book, 8);
    assert_eq!(roll(&mut book, 8, &last, 8), Err(Unopened::OtherBlock), "the line behind what was written anew");
    assert!(roll(&mut book, 9, &end, 9).is_ok());
}

#[test]
fn a_book_of_any_length_is_opened_again_and_no_endless_line_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let mut book = open(&path);
    let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
    let filler = format!("{}\n", "x".repeat(9_999)).repeat(110);
    for _ in 0..64 {
        book.file.write_all(filler.as_bytes()).expect("written");
    }
    roll(&mut book, 5, &end, 9).expect("opened");
    drop(book);
    assert!(std::fs::metadata(&path).expect("a book").len() > 64 << 20);
    let mut book = open(&path);
    assert_eq!(roll(&mut book, 5, &end, 8), Err(Unopened::OtherBlock));
    book.file.write_all(&[b'x'; BOOK_LINE_BYTES_MAX as usize]).expect("written");
    drop(book);
    assert!(matches!(PledgeBook::open(&path, [1; 32]), Err(BookError::System { .. })), "that is no book");
}

#[test]
fn the_last_few_secrets_of_a_table_open_what_was_pledged_with_them_also_in_a_book_that_was_written_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let mut book = open(&path);
    let ends: Vec<Hash> = (5..11).map(|roll| book.pledge(CHAIN, TABLE, roll, 100).expect("pledged").value).collect();
    let kept = |book: &mut PledgeBook| {
        let left = |(roll, end): (u32, &Hash)| book.openings_left(CHAIN, TABLE, roll, end) == Some(OPENINGS);
        (5..).zip(&ends).map(left).collect::<Vec<bool>>()
    };
    let last = [false, false, true, true, true, true];
    assert_eq!(kept(&mut book), last);
    drop(book);
    let mut book = open(&path);
    assert_eq!(kept(&mut book), last, "read as it was written");
    book.rewrite().expect("written");
    let lines = std::fs::read_to_string(&path).expect("a book").lines().count();
    assert_eq!(lines, SECRETS_KEPT, "what is kept of a table is bounded");
    drop(book);
    let mut book = open(&path);
    assert_eq!(kept(&mut book), last, "written anew");
    assert_eq!(end_of(&mut book, 10), ends[5], "the last one is the last one still");
    assert!(roll(&mut book, 7, &ends[2], 7).is_ok(), "the oldest of them may be the one that counts");
    assert_eq!(roll(&mut book, 7, &ends[2], 8), Err(Unopened::OtherBlock));
    assert_eq!(roll(&mut book, 9, &ends[4], 9).map(|_| ()), Ok(()), "the first roll of its secret");
    assert_eq!(roll(&mut book, 10, &ends[3], 9), Err(Unopened::NotOwn), "another roll's end");
}

#[test]
fn what_is_pledged_for_one_roll_again_and_again_is_one_secret_until_that_roll_is_opened() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let mut book = open(&path);
    let before = book.pledge(CHAIN, TABLE, 4, 100).expect("pledged").value;
    let first = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged");
    for again in 1..10 {
        let row = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged");
        assert_eq!((row.value, row.number), (first.value, first.number + again));
        if again == 5 {
            drop(book);
            book = open(&path);
        }
    }
    assert!(book.openings_left(CHAIN, TABLE, 4, &before).is_some(), "they took no other's place");
    roll(&mut book, 5, &first.value, 9).expect("opened");
    // Everybody knows by now what it opens.
    assert_ne!(book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value, first.value);
}

#[test]
fn a_book_whose_numbers_have_run_out_pledges_nothing_and_grows_no_longer() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let mut book = open(&path);
    assert_eq!(book.number(CHAIN, TABLE), 0);
    let end = book.pledge(CHAIN, TABLE, 5, u64::MAX).expect("pledged").value;
    assert_eq!(book.number(CHAIN, TABLE), u64::MAX);
    let length = std::fs::metadata(&path).expect("a book").len();
    assert!(book.pledge(CHAIN, TABLE, 5, 100).is_err());
    assert_eq!(std::fs::metadata(&path).expect("a book").len(), length);
    assert!(roll(&mut book, 5, &end, 9).is_ok());
}

#[test]
fn what_is_not_on_the_disk_is_neither_pledged_nor_opened() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut book = open(&dir.path().join("a"));
    let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
    // It takes every byte, and cannot sync one.
    let null = OpenOptions::new().read(true).append(true).open("/dev/null").expect("a device");
    let file = std::mem::replace(&mut book.file, null);
    assert!(book.pledge(CHAIN, TABLE, 6, 100).is_err());
    assert!(book.open_roll(CHAIN, TABLE, 5, &end, Height(50), &certificate(9)).is_err());
    book.file = file;
    assert_eq!(book.number(CHAIN, TABLE), 100);
    assert!(roll(&mut book, 5, &end, 8).is_ok(), "nothing was signed for the other block");
}

#[test]
fn a_book_that_others_may_read_is_refused_as_a_key_is() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    open(&path).pledge(CHAIN, TABLE, 5, 100).expect("pledged");
    let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    for mode in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644] {
        set(mode);
        let refused = PledgeBook::open(&path, [1; 32]).err().expect("others may read it");
        assert!(
            matches!(refused, BookError::Mode(_)) && refused.to_string().contains("run `chmod 600"),
            "{mode:o}: {refused}"
        );
    }
    set(0o600);
    assert_eq!(open(&path).number(CHAIN, TABLE), 100);
}
