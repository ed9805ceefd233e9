//! Every bound on what somebody else can make a node, or a client, hold or repeat, with the relations between them asserted at compile
//! time. What only its own file's pace or picture depends on is a constant of that file.

/// Ids of the catalogue's bets run from 0 to 144 (RULES.md R11).
pub const BETS: usize = 145;
/// Spots a seat can hold a bet on: the 145 bets, plus the box numbers of come, don't come and their odds.
pub const SPOTS: usize = 172;
/// 64-bit words of a mask over all spots.
pub const SPOT_WORDS: usize = 3;
/// Bets one seat may hold at the same time (R0).
pub const SEAT_BETS_MAX: usize = 32;
/// Bets of a seat that lie in its hot cache line.
pub const SEAT_BETS_HOT: usize = 8;
/// Bets of a seat that lie in its three cold cache lines.
pub const SEAT_BETS_COLD: usize = SEAT_BETS_MAX - SEAT_BETS_HOT;

/// Seats a table may have.
pub const SEATS_MAX: u32 = 16;
/// Tables one world may have.
pub const TABLES_MAX: u32 = 1 << 20;
/// Accounts one world may have.
pub const ACCOUNTS_MAX: u32 = 1 << 24;
/// Validators that vote.
pub const VALIDATORS_MAX: u32 = 128;
/// Different sets of table rules in one genesis.
pub const RULES_MAX: usize = 16;
/// Issuers of vouchers in one genesis.
pub const ISSUERS_MAX: usize = 16;

/// Workers of the tick pool.
pub const WORKERS_MAX: usize = 64;

/// Tables one worker takes at a time: their rows fill whole image groups in every column of the table.
pub const CHUNK_TABLES: usize = 256;
/// Accounts whose cages are counted together: their rows fill a whole image group.
pub const CHUNK_ACCOUNTS: usize = 256;
/// Bytes of one image group: the unit of hashing, snapshots and state transfer.
pub const GROUP_BYTES: usize = 16 * 1024;

/// Numbers that an account's window of used intent numbers spans.
pub const NUMBER_WINDOW: u64 = 64;
/// Seconds that an intent's expiry may lie ahead of block time.
pub const EXPIRY_AHEAD_S_MAX: u64 = 60;
/// Bytes of an encoded block.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Intents of one block.
pub const BLOCK_INTENTS_MAX: usize = 7_900;
/// Messages of a block's system section: what changes who votes and who holds a share of the group key.
pub const SYSTEM_MESSAGES_MAX: usize = 64;
/// Bytes of one of them: a dealer's log for as many validators as may be, and more.
pub const SYSTEM_MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// Pledges and openings of one block.
pub const BLOCK_PLEDGES_MAX: usize = 4_096;
/// Milliseconds that a gap between two blocks counts at most towards the deadline of an opening.
pub const OPENING_GAP_MS_MAX: u64 = 1_000;
/// Milliseconds that a player may have to open a roll, at least: more than one block can count.
pub const OPEN_MS_MIN: u32 = 2_000;
/// Milliseconds that a player may have to open a roll, at most: a node that starts again reads the blocks that closed bets from as
/// far back.
pub const OPEN_MS_MAX: u32 = 60_000;
/// Blocks that closed bets and are kept for those who open them: as many as there can be in the longest deadline, and as many
/// again.
pub const CLOSINGS_MAX: usize = 2 * (OPEN_MS_MAX as usize / PROPOSAL_INTERVAL_MS_MIN as usize);
/// Rolls that were forfeited and are known, so that an opening of one goes into the record: the last ones.
pub const FORFEITS_KEPT_MAX: usize = 1_024;
/// Pledges and openings that other nodes passed on before this one has settled what they follow: shared out by origin.
pub const EARLY_PLEDGES_MAX: usize = BLOCK_PLEDGES_MAX;
/// Milliseconds of ticks after which such a row is let go: its player sends it again.
pub const EARLY_PLEDGE_WAITS_MS: u64 = 2_000;
/// Intents of one account in one block.
pub const BLOCK_ACCOUNT_INTENTS_MAX: usize = NUMBER_WINDOW as usize;
/// Verified intents that wait for a block.
pub const PENDING_MAX: usize = 1 << 16;
/// Verified intents that other nodes passed on and that wait for a block: as many again, shared out by origin.
pub const FOREIGN_MAX: usize = PENDING_MAX;
/// Intents of one other node that are looked at though none was applied: as many as enter in a fifth of a second, before the first
/// of them can have its receipt.
pub const UNPROVEN_MAX: u64 = 2_048;
/// Such intents of one other node that are looked at in each tick above [`UNPROVEN_MAX`]: 800 a second, of which verification takes
/// a fiftieth of a core.
pub const UNPROVEN_PER_TICK: u64 = 4;
/// Blocks that may be decided and not yet settled.
pub const UNSETTLED_MAX: usize = 2;
/// Ticks whose groups may wait for the disk.
pub const UNSYNCED_TICKS_MAX: usize = 64;
/// Blocks that a record may hold in a row without what they led to. Where the power goes, the log may have each height whose
/// group the journal lost: a restart decides them again from the log, one after another, before it settles the first.
pub const UNSETTLED_RECORDED_MAX: usize = UNSETTLED_MAX + UNSYNCED_TICKS_MAX;
/// Milliseconds between two proposals, at least.
pub const PROPOSAL_INTERVAL_MS_MIN: u64 = 10;
/// Milliseconds that a block's time may differ from a validator's clock.
pub const CLOCK_SKEW_MS_MAX: u64 = 500;
/// A recount walks one part in this many of the rows at each height.
pub const RECOUNT_PARTS: u64 = 64;
/// Groups of the image that are handed to the disk together.
pub const SNAPSHOT_BLOCK_GROUPS: usize = 64;
/// Groups that a tick copies before its height overwrites them, at most: 2 MiB. A height that overwrites more is settled some
/// ticks later, and no tick is held for long.
pub const SNAPSHOT_TICK_GROUPS: usize = 128;
/// Blocks of groups that a snapshot may hold in memory: 64 MiB.
pub const SNAPSHOT_BLOCKS_MAX: usize = 64;
/// Snapshots are of heights divisible by this, so that several nodes have the same ones and a peer may fetch one from all.
pub const SNAPSHOT_HEIGHTS: u64 = 64;
/// Milliseconds for which receipts are known again after a restart: the longest life of an intent, and its clock's error.
pub const RECEIPTS_KEPT_MS: u64 = EXPIRY_AHEAD_S_MAX * 1_000 + 2 * CLOCK_SKEW_MS_MAX;

/// Heights of a page of history.
pub const PAGE_HEIGHTS: u64 = 64;
/// Bytes of history in memory, where nothing else was said.
pub const HISTORY_MEMORY_BYTES: u64 = 64 << 20;
/// Bytes of history in the cache on disk, where nothing else was said.
pub const HISTORY_DISK_BYTES: u64 = 512 << 20;
/// Pages of a span: one word of the index of history.
pub const SPAN_PAGES: u64 = 64;

/// Connections that one node may have.
pub const PEERS_MAX: u32 = 20_000;
/// Intents of one connection that may be without an answer: as many numbers as an account's window holds.
pub const PEER_CREDIT: u32 = NUMBER_WINDOW as u32;
/// Pledges and openings of one connection that may be without an answer: two messages of them.
pub const PEER_PLEDGE_CREDIT: u32 = 2 * MESSAGE_PLEDGES_MAX as u32;
/// Tables and accounts that one connection may watch.
pub const PEER_WATCHES_MAX: usize = 16;
/// Tables and accounts that all connections together may watch.
pub const WATCHES_MAX: usize = 1 << 17;
/// Milliseconds between two updates of a watched table that did not roll, and of a watched account.
pub const WATCH_INTERVAL_MS: u64 = 100;
/// Receipts that are kept to answer an intent that is sent again: those that say that it is never applied again.
pub const RECEIPTS_KEPT_MAX: usize = 1 << 19;
/// Intents that were refused and left their number, and of which a copy from another node may still be on its way: the last ones. Four
/// full blocks of them.
pub const REFUSED_KEPT_MAX: usize = 1 << 15;
/// Penalty points at which a peer is banned. A point goes every second.
pub const SCORE_BAN: u32 = 100;

/// The latest block time and start of genesis: 2106-02-07 06:28:15 UTC, in milliseconds since the Unix epoch. Expiry is 32 bits
/// of seconds and ends there too. Sums of a time and any span of genesis stay far below u64.
pub const TIME_MS_MAX: u64 = u32::MAX as u64 * 1_000;
/// The highest height: at a block every 10 ms it is reached after 89,000 years.
pub const HEIGHT_MAX: u64 = 1 << 48;
/// The highest number that an intent of an account can have come to: each one skips a window of numbers at most.
pub const NUMBER_MAX: u64 = 1 << 60;
/// Where a 32-bit counter of a row stops, which a chain may reach: hands are begun as fast as intents are applied, and a roll at
/// each height of 10 ms comes to it in 248 days. A state with more is refused.
pub const COUNTER_MAX: u64 = 1 << 31;
/// Bytes of a genesis file, and of the largest genesis that is sent.
pub const GENESIS_BYTES_MAX: u64 = 256 << 10;
/// Milliseconds of a tick.
pub const TICK_MS: u64 = 5;

/// Votes of one message between nodes.
pub const NODE_VOTES_MAX: usize = 2 * VALIDATORS_MAX as usize;
/// Intents of one message between nodes.
pub const NODE_INTENTS_MAX: usize = 1_024;
/// Pledges of one message between nodes.
pub const NODE_PLEDGES_MAX: usize = 64;
/// Heights of one answer to a node that is behind.
pub const RANGE_HEIGHTS_MAX: usize = 256;
/// Bytes of one answer to a node that is behind: a largest block with its certificate fits.
pub const RANGE_BYTES_MAX: usize = 2 << 20;
/// Chaining values of a snapshot's groups in one part: 1 MiB.
pub const PART_VALUES_MAX: u32 = 32_768;
/// Groups of a snapshot in one part: 1 MiB.
pub const PART_GROUPS_MAX: u32 = 64;
/// Heights above the last decided one whose votes are kept.
pub const AHEAD_HEIGHTS: u64 = 4;
/// Rounds above the present one whose votes are kept: as many as the core looks ahead.
pub const AHEAD_ROUNDS: u32 = 10;
/// Rounds below the present one whose votes are kept.
pub const PAST_ROUNDS: u32 = 64;
/// Rounds below those of which a validator keeps what it precommitted itself, the last ones: they take a week at the least, since rounds
/// grow to some ten seconds.
pub const OWN_PRECOMMITS_MAX: usize = 1 << 16;
/// Bodies of proposed blocks that are kept for one height, in bytes.
pub const BODIES_BYTES_MAX: usize = 4 * BLOCK_BYTES_MAX;
/// Heights for which evidence is kept in memory; the disk keeps it for ever.
pub const EVIDENCE_HEIGHTS: u64 = 64;
/// Milliseconds that a validator whose turn it is not waits, beyond its own reason to, before it starts a height.
pub const START_GRACE_MS: u64 = 150;
/// Milliseconds without a height after which the last live one is followed by empty ones, until its root is certified.
pub const CLOSING_AFTER_MS: u64 = 1_000;
/// Heights for which the proposers of failed rounds lose their first turn.
pub const SKIP_HEIGHTS: u64 = 1_024;

// Order: what is verified together, and what is kept of others' proposals.
/// Signatures that share one batch equation, whatever the number of threads.
pub const SIGNATURES_PER_TASK: usize = 256;
/// Signatures that share one batch equation where as many are verified at once as a replay takes, so that each of many workers has a
/// task still: a larger equation costs less for each.
pub const SIGNATURES_PER_LARGE_TASK: usize = 1_024;
/// Players' keys that are kept as points of the curve, some 300 bytes each.
pub const KNOWN_KEYS_MAX: usize = 8_192;
/// Batches of intents that are verified without them after one that failed.
pub const KNOWN_KEYS_REST: u32 = 64;
/// Beacons that share one pairing check. Fixed, so that the work does not depend on the number of threads.
pub const BEACONS_PER_TASK: usize = 128;
/// Signatures of one node's messages that are verified in one tick, at most. What is above is dropped; it comes again.
pub const NODE_CHECKS_MAX: usize = 512;
/// Certificates, bodies, beacons and questions of one node that are looked at in one tick, at most.
pub const NODE_QUESTIONS_MAX: usize = 16;
/// Signatures of pledges and intents in others' blocks that are verified in one tick, at most: 10 ms, behind every vote.
pub const BODY_CHECKS_MAX: usize = 1_024;
/// Beacons that are remembered for those who ask with a share.
pub const RECENT_BEACONS: usize = 16;
/// Heights above the last decided one of which bodies are kept.
pub const BODY_HEIGHTS: u64 = 2;
/// Proposals of one round: the proposer's, and one that contradicts it.
pub const ROUND_PROPOSALS_MAX: usize = 2;

// Catching up.
/// Heights of one question.
pub const ASK_HEIGHTS: u32 = 64;
/// Questions that are open at once.
pub const ASKS_MAX: usize = 4;
/// Heights that are verified in one tick, at most; one height is always.
pub const VERIFY_HEIGHTS: usize = 64;
/// Signatures of them that are, at most.
pub const VERIFY_SIGNATURES: usize = 8_192;
/// Bytes of heights that came and were not verified yet, at most.
pub const CAME_BYTES_MAX: usize = 8 * RANGE_BYTES_MAX;
/// Verified heights that wait to be executed, at most.
pub const READY_MAX: usize = 256;
/// Heights that a node that is behind settles in one tick beside the first.
pub const SETTLE_TOLD_MAX: usize = 63;

// Peers: who may come in, and what is remembered of those who went.
/// Keys whose scores are kept after they left.
pub const DEPARTED_SCORES_MAX: usize = 4_096;
/// Address blocks that are remembered, connected or not.
pub const ADDRESS_BLOCKS_MAX: usize = 1 << 16;
/// Banned keys that are remembered.
pub const BANS_MAX: usize = 1 << 14;
/// Keys of one address that may be banned before the address is.
pub const BANNED_KEYS_OF_ADDRESS: u32 = 4;
/// Half-open connections above which a new one must prove its address first.
pub const HALF_OPEN_MAX: u32 = 256;
/// Those of one address that did not prove it, above which a new one must: anybody can begin handshakes in another's name, and must
/// not use up what that address may have.
pub const ADDRESS_UNPROVEN_MAX: u32 = 4;
/// Other nodes that are remembered.
pub const NODES_KNOWN_MAX: usize = 1_024;
/// Connections that this node opens to nodes that it was not told of, but heard of.
pub const DIALS_MAX: usize = 16;
/// Followers that nobody told a node of, at most.
pub const FOLLOWERS_MAX: u32 = 1_024;
/// Lists of other nodes' records that wait to be verified.
pub const RECORD_LISTS_UNVERIFIED_MAX: usize = 64;
/// Nodes found on the local network and not yet looked at.
pub const LAN_FOUND_MAX: usize = 64;
/// Other nodes that a configuration may name.
pub const PEERS_NAMED_MAX: usize = VALIDATORS_MAX as usize;
/// Bytes of a node's name, at most.
pub const NODE_NAME_BYTES_MAX: usize = 32;
/// Lines of the log about connections, of one kind in a second; what is beyond them is counted.
pub const VISITOR_LINES_PER_S_MAX: u32 = 5;

// The edge: what waits between the sockets and the tick.
/// Batches of intents that may wait for the tick, and as many other inputs.
pub const EDGE_INPUTS_MAX: usize = 16 * 1024;
/// Batches of outputs that may wait for the router.
pub const EDGE_OUTPUTS_MAX: usize = 256;
/// Outputs that may wait for the router until no more updates of what is watched are kept.
///
/// Answers are kept beyond it. They are bounded all the same: while something waits here the tick takes no more from the
/// network, and each intent that it took before has two answers at most.
pub const EDGE_UPDATES_MAX: usize = 1 << 16;
/// Intents taken in a second, above which they share a batch of signatures, a block, and a packet with their receipts.
pub const COALESCED_ABOVE_PER_S: u32 = 6_000;
/// Every so many ticks they are taken then.
pub const COALESCED_TICKS: u32 = 4;
/// Intents without a last answer that a client holds at most.
pub const CLIENT_INTENTS_MAX: usize = 4_096;
/// Inputs that are kept while the disk is full, at most: connections that come and go, what they watch, and what a node said last of
/// itself. From there on intents alone are taken, to be turned away.
pub const DISK_FULL_INPUTS_MAX: usize = 1 << 16;
/// Pledges and openings of them; what comes beyond is turned away as intents are.
pub const DISK_FULL_PLEDGES_MAX: usize = 1 << 14;

// What a connection may hold; `net/src/transport.rs` adds it up.
/// Bytes that a peer may have sent and this node not read, once the peer plays; QUIC's usual bound is more than a megabyte. Each time
/// that an eighth of them has been read, some 30 intents, QUIC says so, in a packet that is sent for nothing else.
pub const RECEIVE_WINDOW: u32 = 32 * 1024;
/// Bytes that this node may have sent and a peer not acknowledged, once the peer plays.
pub const SEND_WINDOW: u32 = 16 * 1024;
/// Either window, before a peer plays.
pub const IDLE_WINDOW: u32 = 4 * 1024;
/// Bytes of updates that wait in this process for a connection.
pub const UPDATES_QUEUE_BYTES: usize = 16 * 1024;
/// Bytes of answers that wait in this process for a connection.
pub const ANSWERS_QUEUE_BYTES: usize = 12 * 1024;
/// Bytes of messages that go before answers: a welcome, and to nodes a standing and a list of peers.
pub const CONTROL_QUEUE_BYTES: usize = 8 * 1024;
/// Streams each way between two nodes.
pub const LANES: usize = 4;
/// The window of each of them: the body of a largest block passes at once.
pub const LANE_WINDOW: u32 = (BLOCK_BYTES_MAX + 16 * 1024) as u32;
/// What a node may have sent to another and that not read: all of its lanes at once, so that none holds up another, and the
/// stream that both have beside them.
pub const NODE_WINDOW: u32 = LANES as u32 * LANE_WINDOW + RECEIVE_WINDOW;
/// What we may have sent to a node and that not acknowledged.
pub const NODE_SEND_WINDOW: u32 = LANE_WINDOW + 256 * 1024;
/// Bytes of each lane that wait in this process for another node, the most urgent lane first.
pub const LANE_QUEUE_BYTES: [usize; LANES] = [512 * 1024, 2 * BLOCK_BYTES_MAX, 512 * 1024, RANGE_BYTES_MAX + 64 * 1024];
/// Bytes of each lane of a node that are read in a millisecond, over a while: what one node can make another look at. What honest
/// nodes say is far below it (52,000 messages of a vote or two, 16,000 intents or 20 largest blocks a second); beyond it QUIC's windows hold a
/// flood back at its source.
pub const LANE_BYTES_PER_MS: [usize; LANES] = [13 * 1024, 20 * 1024, 3 * 1024, 256 * 1024];
/// Bytes of each lane of a node that may wait for the tick when another message is read.
pub const LANE_UNTAKEN_BYTES: [usize; LANES] = [64 * 1024, BLOCK_BYTES_MAX, 64 * 1024, RANGE_BYTES_MAX];
/// Bytes of an unfinished message up to which a connection stays idle.
pub const IDLE_MESSAGE_BYTES: usize = 1024;
/// Packets of all connections that may wait for the socket; more are not made.
pub const PACKETS_WAITING_MAX: usize = 64;
/// Packets of one connection that the socket takes in one call.
pub const PACKET_SEGMENTS_MAX: usize = 10;
/// Batches of packets that one turn of the network takes at most.
pub const TURN_BATCHES_MAX: usize = 64;
/// Handshakes that one turn begins. Each takes a signature and the making of keys, and everyone else waits for that.
pub const TURN_HANDSHAKES_MAX: usize = 8;
/// Results of errands that wait to be taken.
pub const ERRANDS_DONE_MAX: usize = 256;

// Messages of the protocol.
/// Intents of one message.
pub const MESSAGE_INTENTS_MAX: usize = 64;
/// Pledges of one message.
pub const MESSAGE_PLEDGES_MAX: usize = 16;
/// Answers of one message.
pub const MESSAGE_ANSWERS_MAX: usize = 128;
/// Peer records of one message.
pub const MESSAGE_RECORDS_MAX: usize = 32;

/// How often a thread that has nothing to do shows that it could, at least.
pub const HEARTBEAT: std::time::Duration = std::time::Duration::from_millis(500);

// The disk.
/// The highest number of a file: what comes after it can still be counted, and no disk holds as many.
pub const FILE_NUMBER_MAX: u32 = 1 << 30;
/// How many times its own length of a file may be read or hashed in search of what follows a bad place. A stranger can make every
/// place look like the start of something long, and reading all of it at each would take days.
pub const SEARCH_LENGTHS: u64 = 4;
/// Ticks that wait for the disk at which a node on the wall's time skips ticks, until fewer wait.
pub const STALLING_TICKS: usize = 48;
/// Bytes of ticks that are written together; one tick alone may have more.
pub const SYNC_BYTES: usize = 16 << 20;
/// Bytes of a group of the consensus log, at most.
pub const LOG_GROUP_BYTES_MAX: usize = 64 << 20;
/// Bytes of a frame's body before compression, at most: a block, twice over, and its certificates.
pub const FRAME_BODY_BYTES_MAX: usize = 4 << 20;
/// Bytes after which a new file of the consensus log begins.
pub const LOG_FILE_BYTES: u64 = 8 << 20;
/// Bytes of a file of the consensus log, at most: one that was nearly full, and the largest group behind it.
pub const LOG_FILE_BYTES_MAX: u64 = 2 * (LOG_GROUP_BYTES_MAX as u64 + LOG_FILE_BYTES);
/// Bytes after which a new segment begins.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes of a segment's file, at most: one that was nearly full, and a group of all that waited for the disk behind it. A
/// longer file is none of ours, whoever reads it.
pub const SEGMENT_FILE_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a segment that a reader copies at a time: a compressed one, or the last one, which may still be written.
pub const SEGMENT_WINDOW_BYTES: usize = 8 << 20;
/// Bytes of frames between two marks of a segment's index, about: what a reader that looks for a height reads too much.
pub const SEGMENT_MARK_BYTES: u64 = 64 << 10;
/// Marks of a segment, at most: twice as many as the longest one needs.
pub const SEGMENT_MARKS_MAX: usize = (2 * SEGMENT_FILE_BYTES_MAX / SEGMENT_MARK_BYTES) as usize;
/// The least that the bound of a journal may be: two segments.
pub const JOURNAL_BYTES_MAX_LEAST: u64 = 2 * SEGMENT_BYTES;
/// Bytes of a segment that are compressed together: who reads one of them decompresses no more.
pub const COMPRESSED_CHUNK_BYTES: usize = 1 << 20;
/// Bytes of a segment that is compressed, at most: one that was nearly full, and the largest group behind it. Whoever reads
/// it has it in memory.
pub const COMPRESSED_SEGMENT_BYTES_MAX: usize = 96 << 20;
/// Milliseconds that whoever compresses segments beside a node rests behind each chunk, for one of work.
pub const COMPRESSING_REST_MS: u64 = 10;
/// Bytes after which a new pack begins.
pub const PACK_BYTES: u64 = 64 << 20;
/// Bytes of the content of a pack's record, at most: a snapshot's map of the largest image there can be.
pub const PACK_RECORD_BYTES_MAX: usize = 64 << 20;
/// Bytes of a pack, at most: one that was nearly full, and the largest record behind it.
pub const PACK_FILE_BYTES_MAX: u64 = 2 * (PACK_BYTES + PACK_RECORD_BYTES_MAX as u64);
/// Bytes of an index of snapshots that is read for somebody who does not write it, at most: it holds 48 bytes and what
/// redb adds for each group of the image that a snapshot holds, and all of them are read into memory.
pub const SNAPSHOT_INDEX_BYTES_MAX: u64 = 256 << 20;
/// Distinct groups, in all snapshots together, for which that has room beside the index of history: 4 GiB of them. Where there are more,
/// whoever does not write the index may have to read the packs.
pub const SNAPSHOT_INDEX_GROUPS: u64 = 1 << 18;
/// Bytes of the rows of an index of history, at most, which lie in the same file: the oldest go. With 1,000 tables and accounts at play,
/// at 20 heights a second, those of a week have room, with 2,000 those of half a week; pages of earlier heights are executed.
pub const RANGES_BYTES_MAX: u64 = 24 << 20;
/// Bytes of them that one snapshot adds, at most.
pub const RANGES_ADDED_BYTES_MAX: u64 = RANGES_BYTES_MAX / 4;
/// Stretches of heights that an index of history tells of, at most: with more gaps between them the oldest stretch goes.
pub const RANGES_STRETCHES_MAX: usize = 64;
// A page of redb may be filled to a third with rows, which are nearly as long as it is, and to a half with groups, of 64 bytes with all
// that is added to them; what a change frees is free behind it, so that the rows that come lie beside those that go for them; and a file
// that is too short for its pages doubles.
const _: () = assert!(
    2 * (3 * (RANGES_BYTES_MAX + RANGES_ADDED_BYTES_MAX) + 2 * 64 * SNAPSHOT_INDEX_GROUPS) <= SNAPSHOT_INDEX_BYTES_MAX
);
/// Bytes of an index of snapshots that is copied into memory to be checked, at most; a larger one is read where it lies.
pub const SNAPSHOT_INDEX_COPY_BYTES_MAX: u64 = 64 << 20;
/// Bytes of memory that an open index of snapshots may use for its cache.
pub const SNAPSHOT_INDEX_CACHE_BYTES: usize = 8 << 20;
/// Bytes of memory for the cache of an index that was copied into memory to be checked: all of it is there already.
pub const SNAPSHOT_INDEX_COPY_CACHE_BYTES: usize = 1 << 20;
/// Bytes of the mark of a session to which a snapshot is coming, at most.
pub const ARRIVAL_BYTES_MAX: u64 = 4_096;
/// Bytes of a note that says why a node stopped, at most.
pub const STOPPED_BYTES_MAX: u64 = 64 << 10;
/// Notes of blocks that named another root and did not stop the node, at most: the first ones say what there is to say.
pub const DIVERGED_NOTES_MAX: usize = 16;
/// Blocks of groups from other nodes that may wait for the disk.
pub const RECEIVED_BLOCKS_MAX: usize = 8;
/// Nodes that are remembered for having proved a snapshot and not given it, at most: as many as there can be validators.
pub const SNAPSHOT_SILENT_MAX: usize = VALIDATORS_MAX as usize;
/// Questions about the past that wait, at most, of nodes that are no validators; each of another one. Whoever is not answered asks
/// another node. Each validator has a place of its own besides, before theirs.
pub const SERVED_QUESTIONS_MAX: usize = 16;
/// Questions about the past that are with whoever reads, at most: none that comes later goes before those.
pub const SERVED_AT_ONCE_MAX: usize = 4;
/// Bytes of decided bodies in one answer about the past: what each entry has besides, and beacons, fit beside them.
pub const SERVED_BODIES_BYTES_MAX: usize = RANGE_BYTES_MAX - RANGE_HEIGHTS_MAX * 64;

// Reading a session.
/// Bytes of memory that a state may take if nothing else is said: four times what 100,000 tables need.
pub const READER_MEMORY_MAX: u64 = 2 << 30;
/// Bytes that a reader takes beside the state, at most: the last segment of the journal, blocks that are verified together,
/// and their execution.
pub const READER_BESIDE_BYTES: u64 = 320 << 20;
/// Bytes of heights, as they were recorded, after which no more are read to be verified together, whatever they hold: one may have
/// two MiB of sections and not one intent.
pub const READ_TOGETHER_BYTES: usize = 32 << 20;
/// Heads of given-up heights that are verified together.
pub const HEADS_TOGETHER: usize = 1_024;
/// Signatures after which a batch is verified ahead of a walk.
pub const WALK_SIGNATURES: usize = 2_048;
/// Heights after which one is.
pub const WALK_HEIGHTS: usize = 128;
/// Heights of two sessions that are verified together.
pub const BISECT_HEIGHTS: usize = 256;
/// Signatures in them, about.
pub const BISECT_SIGNATURES: usize = 2_048;
/// Heights that must follow a page of a live session before it is kept: by then the group that holds its last height
/// was synced, for no more groups than this wait for the disk at a time. A page of heights that a power cut takes back
/// would be wrong for ever.
pub const HISTORY_BEHIND_HEIGHTS: u64 = 128;
/// Entries at a table that are looked through at first for the roll before another.
pub const ROLL_ENTRIES_MAX: usize = 512;
/// Things that are wrong with a journal which a check tells one by one, and damaged places of it as many again, and of the packs: the
/// rest is counted.
pub const CHECK_PROBLEMS_MAX: usize = 1_000;
/// Snapshots that a reader tries one after another before it does without. A node keeps about that many of ten years.
pub const SNAPSHOTS_TRIED_MAX: usize = 64;
/// Bytes of a part of a page of history, at most. One that is larger is not kept by the cache.
pub const PAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes of history that may wait for the disk tier before whoever adds a page waits.
pub const CACHE_WAITING_BYTES_MAX: usize = 8 << 20;
/// Signatures that `replay` verifies together: so many that most keys signed more than one of them, which spares work.
pub const REPLAY_SIGNATURES: usize = 65_536;
/// Heights that `replay` takes together, at most.
pub const REPLAY_HEIGHTS: usize = 512;
/// The largest key file that is read.
pub const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;
/// The longest first line of a passphrase file.
pub const PASSPHRASE_BYTES_MAX: u64 = 4 * 1024;
/// Bytes of a file of scenarios, at most.
pub const SCENARIOS_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a configuration, at most.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Bytes of the figures of a load report that are read to be compared, at most.
pub const REPORT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of the list of nodes that a player has met, at most.
pub const KNOWN_NODES_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a line of a player's book of pledges, at most.
pub const BOOK_LINE_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of one from which on it is written anew when it is opened; while it is held, from twice as many on.
pub const BOOK_BYTES_KEPT: u64 = 1 << 20;
/// The longest file of validators' addresses.
pub const ADDRESSES_BYTES_MAX: u64 = 1 << 20;
/// The longest file of a group's public keys: two digits for each byte of the group's key and of each share's.
pub const GROUP_FILE_BYTES_MAX: u64 = 64 << 10;

// Watching a node.
/// Pages that may follow one node.
pub const VIEWERS_MAX: u64 = 32;
/// Connections to a node's monitor: twice the pages that may follow it, so that there is room for whoever scrapes or looks on.
pub const MONITOR_CONNECTIONS_MAX: usize = 2 * VIEWERS_MAX as usize;
/// Time for the head of a request to it, and between two of them.
pub const MONITOR_HEAD_TIME: std::time::Duration = std::time::Duration::from_secs(10);
/// Time for which somebody may read nothing of an answer of it: then the connection ends, and its place is free.
pub const MONITOR_WRITE_TIME: std::time::Duration = std::time::Duration::from_secs(10);
/// Bytes of a question to a node that starts that are read: its first line is all that counts.
pub const STARTING_QUESTION_BYTES_MAX: usize = 4_096;
/// Bytes of an answer of a node's monitor, at most: what is longer is none.
pub const MONITOR_ANSWER_BYTES_MAX: usize = 16 << 20;
/// Bytes of one event that a monitor sends to those who follow it, at most.
pub const MONITOR_EVENT_BYTES_MAX: usize = 64 * 1_024;
/// Bytes of an answer about the game's past, at most.
pub const PAST_ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Bytes of what a process that looks for one says of its failure that are read.
pub const PAST_PROBLEM_BYTES_MAX: u64 = 4 << 10;
/// Lines of an answer about the game's past, about, at most.
pub const PAST_LINES_MAX: u32 = 1_000;
/// Changes of alerts that may wait to be told; beyond that the log alone has them.
pub const ALERTS_WAITING_MAX: usize = 64;
/// Requests for spare memory that may wait at the tick's pool: the tick's thread is one of its workers, and does them when it
/// joins others.
pub const TRIMS_WAITING_MAX: usize = 64;
/// Bytes of a log's end that `support` packs.
pub const SUPPORT_LOG_BYTES_MAX: u64 = 4 << 20;

// Programs that play.
/// Events from a node that may wait for a client's program; the connection waits while there are as many.
pub const PLAY_EVENTS_MAX: usize = 1_024;
/// Rolls that a player waits to see certified, at most.
pub const PLAY_UNCERTIFIED_MAX: usize = 64;
/// Rolls of a table that a player's program remembers.
pub const PLAY_ROLLS_KEPT: usize = 100;
/// Lines that it remembers of what happened.
pub const PLAY_LINES_KEPT: usize = 200;
/// Connections that a development node takes beside those of its simulated players.
pub const DEV_GUESTS_MAX: u32 = 256;
/// Commands to the clients of a fleet that may wait, all together.
pub const FLEET_ORDERS_MAX: usize = 1 << 16;
/// Clients of a fleet for which a turn does what is due: to connect begins with a signature and the making of keys.
pub const FLEET_TURN_DUE_MAX: usize = 16;
/// Bytes that may wait to be written for one of them: a node that reads nothing has lost its client.
pub const FLEET_OUT_BYTES_MAX: usize = 64 << 10;
/// Commands that may wait at one client of a load.
pub const LOAD_COMMANDS_MAX: usize = 64;
/// Batches of inputs that may wait for the tick of a load in one process.
pub const LOAD_INPUTS_MAX: usize = 1 << 16;
/// Signatures that a load makes ahead, at most: 1.3 GB on disk. Those of later intents are made during the run.
pub const LOAD_SIGNED_AHEAD_MAX: u64 = 20_000_000;

// Sums.
/// Milliseconds of idleness that a genesis may allow: sums with any block's time stay far below u64.
pub const IDLE_MS_MAX: u64 = u64::MAX / 4;

/// The largest chip supply: sums of any columns stay far below u64.
pub const SUPPLY_MAX: u64 = 1 << 62;

const _: () = assert!(FILE_NUMBER_MAX < u32::MAX / 2);
// No search is too short for one frame, and no product of the two overflows.
const _: () = assert!(SEARCH_LENGTHS >= 1);
const _: () = assert!(SEGMENT_FILE_BYTES_MAX < u64::MAX / SEARCH_LENGTHS);
const _: () = assert!(PACK_FILE_BYTES_MAX < u64::MAX / SEARCH_LENGTHS);
const _: () = assert!(LOG_FILE_BYTES_MAX < u64::MAX / SEARCH_LENGTHS);
const _: () = assert!(SPOTS <= SPOT_WORDS * 64);
const _: () = assert!(SPOTS > (SPOT_WORDS - 1) * 64);
const _: () = assert!(CHUNK_TABLES * 64 == GROUP_BYTES);
const _: () = assert!(CHUNK_ACCOUNTS * 64 == GROUP_BYTES);
const _: () = assert!(SNAPSHOT_BLOCKS_MAX * SNAPSHOT_BLOCK_GROUPS * GROUP_BYTES == 64 << 20);
const _: () = assert!(SEAT_BETS_MAX == 32);
const _: () = assert!(SEAT_BETS_HOT * 8 == 64);
const _: () = assert!(SEAT_BETS_COLD * 8 == 192);
const _: () = assert!(TIME_MS_MAX < u64::MAX / 8);
const _: () = assert!(HEIGHT_MAX < u64::MAX / 8);
const _: () = assert!(HEIGHT_MAX * BLOCK_ACCOUNT_INTENTS_MAX as u64 * NUMBER_WINDOW <= NUMBER_MAX);
const _: () = assert!(NUMBER_MAX < u64::MAX / 8);
const _: () = assert!(NUMBER_WINDOW == u64::BITS as u64);
// A spot is a byte, every bet has one, and a seat cannot hold more bets than there are spots.
const _: () = assert!(SPOTS <= u8::MAX as usize);
const _: () = assert!(BETS < SPOTS);
const _: () = assert!(SEAT_BETS_MAX <= SPOTS);
// Sums of two columns of chips do not overflow, and a counter of a row has room for the next roll's number.
const _: () = assert!(SUPPLY_MAX <= u64::MAX / 2);
const _: () = assert!(COUNTER_MAX < u32::MAX as u64);
// Heights do not follow each other faster than a node turns, and no clock's error alone ends a new intent.
const _: () = assert!(TICK_MS <= PROPOSAL_INTERVAL_MS_MIN);
// Intents that share a block fill at least one interval of blocks.
const _: () = assert!(COALESCED_TICKS as u64 * TICK_MS >= PROPOSAL_INTERVAL_MS_MIN);
const _: () = assert!(CLOCK_SKEW_MS_MAX < EXPIRY_AHEAD_S_MAX * 1_000);
const _: () = assert!(TIME_MS_MAX / 1_000 <= u32::MAX as u64);
const _: () = assert!(SPAN_PAGES == u64::BITS as u64);
const _: () = assert!(BLOCK_INTENTS_MAX * 128 + 16 * 1024 <= BLOCK_BYTES_MAX);
const _: () = assert!(BLOCK_PLEDGES_MAX * 192 + 16 * 1024 <= BLOCK_BYTES_MAX);
const _: () = assert!(OPEN_MS_MIN as u64 > OPENING_GAP_MS_MAX);
// Every row was recounted once since the snapshot before.
const _: () = assert!(SNAPSHOT_HEIGHTS.is_multiple_of(RECOUNT_PARTS));
// Between two heights that a node remembers, a second of block time apart, the clock of openings counts a second too: there are no
// more of them for those who open rolls than for receipts.
const _: () = assert!(OPEN_MS_MAX as u64 <= RECEIPTS_KEPT_MS && OPENING_GAP_MS_MAX >= 1_000);
const _: () = assert!(MESSAGE_PLEDGES_MAX <= NODE_PLEDGES_MAX);
// Nobody's share of what comes early is nothing.
const _: () = assert!(EARLY_PLEDGES_MAX / VALIDATORS_MAX as usize >= MESSAGE_PLEDGES_MAX);
const _: () = assert!(SYSTEM_MESSAGE_BYTES_MAX + 16 * 1024 <= BLOCK_BYTES_MAX);
const _: () = assert!(BLOCK_INTENTS_MAX <= PENDING_MAX);
const _: () = assert!(START_GRACE_MS.is_multiple_of(TICK_MS));
const _: () = assert!(CLOSING_AFTER_MS.is_multiple_of(TICK_MS));
const _: () = assert!(REFUSED_KEPT_MAX >= 4 * BLOCK_INTENTS_MAX);
const _: () = assert!(RECEIPTS_KEPT_MAX >= PENDING_MAX + UNSETTLED_MAX * BLOCK_INTENTS_MAX);
// Each of these waits for the one after it. A tick is skipped before the storage thread would have to refuse its group; and
// a page of a live session is kept only once no group that holds its heights can still wait for the disk.
const _: () = assert!(STALLING_TICKS < UNSYNCED_TICKS_MAX);
const _: () = assert!((UNSYNCED_TICKS_MAX as u64) < HISTORY_BEHIND_HEIGHTS);
// A block with its certificate fits a frame, uncompressed, twice; and so does the largest answer to a node that is behind.
const _: () = assert!(FRAME_BODY_BYTES_MAX >= 2 * RANGE_BYTES_MAX);
const _: () = assert!(LOG_GROUP_BYTES_MAX >= 2 * SYNC_BYTES);
const _: () = assert!(SYNC_BYTES >= FRAME_BODY_BYTES_MAX);
// A segment holds more than the largest frame, and a pack more than a block of groups.
const _: () = assert!(SEGMENT_BYTES as usize > 2 * FRAME_BODY_BYTES_MAX);
const _: () = assert!(SEGMENT_WINDOW_BYTES > FRAME_BODY_BYTES_MAX + (64 << 10));
const _: () = assert!(SEGMENT_WINDOW_BYTES > 2 * (2 << 20));
// A segment is compressed unless groups of the largest kind came together at its end.
const _: () = assert!(COMPRESSED_SEGMENT_BYTES_MAX >= SEGMENT_BYTES as usize + SYNC_BYTES + FRAME_BODY_BYTES_MAX);
const _: () = assert!(COMPRESSED_SEGMENT_BYTES_MAX.is_multiple_of(COMPRESSED_CHUNK_BYTES));
const _: () = assert!(PACK_BYTES as usize > SNAPSHOT_BLOCK_GROUPS * GROUP_BYTES);
// A client holds more than one connection has credit for, a message carries no more than that, and its answers fit one too.
const _: () = assert!(CLIENT_INTENTS_MAX > PEER_CREDIT as usize);
const _: () = assert!(MESSAGE_INTENTS_MAX <= PEER_CREDIT as usize);
const _: () = assert!(MESSAGE_ANSWERS_MAX >= 2 * MESSAGE_INTENTS_MAX);
// What a tick takes from the edge while the disk is full is kept whole.
const _: () = assert!(DISK_FULL_INPUTS_MAX >= 2 * EDGE_INPUTS_MAX);
// What others told of is executed as fast as it can come: as many heights in a tick as one question asks for.
const _: () = assert!(SETTLE_TOLD_MAX + 1 >= ASK_HEIGHTS as usize);
const _: () = assert!(READY_MAX >= ASKS_MAX * ASK_HEIGHTS as usize);
const _: () = assert!(ASK_HEIGHTS as usize <= RANGE_HEIGHTS_MAX);
const _: () = assert!(VERIFY_SIGNATURES >= VALIDATORS_MAX as usize);
const _: () = assert!(CAME_BYTES_MAX >= ASKS_MAX * RANGE_BYTES_MAX);
// Votes of a height that may still be proposed are kept, and of a body that is asked for.
const _: () = assert!(BODY_HEIGHTS <= AHEAD_HEIGHTS);
const _: () = assert!(HALF_OPEN_MAX <= PEERS_MAX);
const _: () = assert!(ADDRESS_UNPROVEN_MAX < HALF_OPEN_MAX);
const _: () = assert!(DIALS_MAX < PEERS_NAMED_MAX);
// What a height is going to overwrite can be saved, however slow the disk is: it would wait for ever otherwise.
const _: () = assert!(SNAPSHOT_TICK_GROUPS <= SNAPSHOT_BLOCKS_MAX * SNAPSHOT_BLOCK_GROUPS);
const _: () = assert!(RECEIVED_BLOCKS_MAX <= SNAPSHOT_BLOCKS_MAX);
// Whoever is connected is remembered: the narrow and the wide block of each address, and every node that was named.
const _: () = assert!(ADDRESS_BLOCKS_MAX >= 2 * PEERS_MAX as usize);
const _: () = assert!(NODES_KNOWN_MAX >= PEERS_NAMED_MAX);
const _: () = assert!(FOLLOWERS_MAX <= PEERS_MAX);
const _: () = assert!(BANNED_KEYS_OF_ADDRESS as usize <= BANS_MAX);
// One connection cannot take all that may be watched, and a tick does not settle more than is ready.
const _: () = assert!(PEER_WATCHES_MAX < WATCHES_MAX);
const _: () = assert!(SETTLE_TOLD_MAX < READY_MAX);
// A peer that plays may hold more than one that only came.
const _: () = assert!(IDLE_WINDOW <= RECEIVE_WINDOW);
const _: () = assert!(IDLE_WINDOW <= SEND_WINDOW);
const _: () = assert!(IDLE_MESSAGE_BYTES < IDLE_WINDOW as usize);
const _: () = assert!(CONTROL_QUEUE_BYTES <= SEND_WINDOW as usize);
// What waits for the socket is more than one connection sends at once, so that none keeps the others out.
const _: () = assert!(PACKET_SEGMENTS_MAX < PACKETS_WAITING_MAX);
const _: () = assert!(TURN_HANDSHAKES_MAX < HALF_OPEN_MAX as usize);
// No file that a node writes is longer than what a reader takes. A file may exceed its limit by the last group or record that was
// written to it.
const _: () = assert!(SEGMENT_FILE_BYTES_MAX > SEGMENT_BYTES + (UNSYNCED_TICKS_MAX * BLOCK_BYTES_MAX) as u64);
const _: () = assert!(LOG_FILE_BYTES_MAX > LOG_FILE_BYTES + LOG_GROUP_BYTES_MAX as u64);
const _: () = assert!(PACK_FILE_BYTES_MAX > PACK_BYTES + PACK_RECORD_BYTES_MAX as u64);
const _: () = assert!(SNAPSHOT_INDEX_COPY_BYTES_MAX <= SNAPSHOT_INDEX_BYTES_MAX);
// A reader has room for the longest segment beside its state, and for a batch of heights, of which the last one may be the largest.
const _: () =
    assert!(READER_BESIDE_BYTES > SEGMENT_FILE_BYTES_MAX + (READ_TOGETHER_BYTES + FRAME_BODY_BYTES_MAX) as u64);
const _: () = assert!(READER_MEMORY_MAX > READER_BESIDE_BYTES);
const _: () = assert!(GROUP_FILE_BYTES_MAX >= 2 * 96 * (VALIDATORS_MAX as u64 + 1) + 2);
// A batch is at least one block of a walk, and one answer about the past holds a block.
const _: () = assert!(SERVED_BODIES_BYTES_MAX >= BLOCK_BYTES_MAX);
const _: () = assert!(WALK_HEIGHTS <= REPLAY_HEIGHTS);
// A client's program hears of all that its connection has credit for before the connection waits.
const _: () = assert!(PLAY_EVENTS_MAX > 2 * PEER_CREDIT as usize);
const _: () = assert!(LOAD_COMMANDS_MAX >= PEER_CREDIT as usize);
// All lanes of a node are open at once beside its main stream, and the body of a largest block passes one of them whole.
const _: () = assert!(NODE_WINDOW as usize >= LANES * LANE_WINDOW as usize);
const _: () = assert!(LANE_WINDOW as usize >= BLOCK_BYTES_MAX);
// A body waits for a node while another is sent, and an answer to one that is behind fits its lane whole.
const _: () = assert!(LANE_QUEUE_BYTES[1] >= 2 * BLOCK_BYTES_MAX);
const _: () = assert!(LANE_QUEUE_BYTES[3] > RANGE_BYTES_MAX);
// Bodies of others are verified in whole batches, and a largest block within a few ticks.
const _: () = assert!(BODY_CHECKS_MAX.is_multiple_of(SIGNATURES_PER_TASK));
const _: () = assert!(SIGNATURES_PER_LARGE_TASK > SIGNATURES_PER_TASK);
const _: () = assert!(REPLAY_SIGNATURES >= 64 * SIGNATURES_PER_LARGE_TASK, "each of 64 workers has a task");
const _: () = assert!(8 * BODY_CHECKS_MAX >= BLOCK_INTENTS_MAX && 4 * BODY_CHECKS_MAX >= BLOCK_PLEDGES_MAX);
// A program that asks a monitor takes any answer that a monitor gives.
const _: () = assert!(PAST_ANSWER_BYTES_MAX <= MONITOR_ANSWER_BYTES_MAX as u64);
const _: () = assert!(MONITOR_EVENT_BYTES_MAX <= MONITOR_ANSWER_BYTES_MAX);
const _: () = assert!(SNAPSHOT_INDEX_COPY_CACHE_BYTES as u64 <= SNAPSHOT_INDEX_COPY_BYTES_MAX);
// A table that a player watches is remembered for longer than its rolls wait to be certified.
const _: () = assert!(PLAY_UNCERTIFIED_MAX <= PLAY_ROLLS_KEPT);
const _: () = assert!(DEV_GUESTS_MAX <= PEERS_MAX);
