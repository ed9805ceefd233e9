//! What each key of the configuration means: the file that `init` writes and its checks follow from here.

/// What a key means, in lines; nothing for a key that has no meaning yet, which a test forbids.
pub(super) fn meaning(section: &str, key: &str) -> &'static str {
    MEANINGS.iter().find(|(of, name, _)| (*of, *name) == (section, key)).map_or("", |(_, _, meaning)| meaning)
}

/// Whether a key's value may change while a node runs.
pub(crate) fn may_change(section: &str, key: &str) -> bool {
    matches!((section, key), ("log" | "memory" | "alerts", _) | ("monitoring", "hosts"))
}

/// What the file begins with.
pub(super) const HEAD: &str = "\
# A BitCraps node. Every key is here with its meaning; a key that is left out has its default.
# Relative paths start where this file is. Unknown keys are refused.
# SIGHUP has [log], [memory], [alerts] and monitoring.hosts read again; the rest holds from the next start on.

# The version of this file: of a newer one, a program leaves out the keys that it does not know, and names them.
";

/// What each key means, by section.
pub(crate) const MEANINGS: [(&str, &str, &str); 37] = [
    ("node", "data", "The session: genesis, journal and consensus log."),
    ("node", "threads", "Workers of the tick pool, 1 to 64. They change nothing but speed."),
    (
        "log",
        "filter",
        "What is logged: error, warn, info, debug or trace, for all of it or by part, such as \"warn,net=debug\".\n\
         The variable BITCRAPS_LOG goes over it.",
    ),
    ("log", "format", "How a line is written: \"text\" for people, \"json\" for programs."),
    ("keys", "validator", "The secret from which the vote key follows. Whoever has it can vote as this node."),
    ("keys", "dkg", "The secret from which the key for dealing shares of the beacon key follows."),
    (
        "keys",
        "beacon",
        "The secret from which the beacon key follows: whoever has it can foresee the dice; without it the chain stands still.\n\
         Of one validator among several, its share of that key: a quorum of shares is needed for either.",
    ),
    ("keys", "group", "What is public of all shares of the beacon key. A lone validator needs no such file."),
    ("keys", "net", "The secret from which the network key follows."),
    ("net", "listen", "Where to listen, UDP."),
    ("net", "name", "A name for people, at most 32 bytes."),
    ("net", "connections_max", "Connections at once, 1 to 20000."),
    ("net", "connections_per_address_max", "Connections of one address at once."),
    ("net", "connects_per_address_per_s", "Connections that one address may begin in a second."),
    (
        "net",
        "intents_per_connection_per_s",
        "Intents that one connection may send in a second; twice as many in a burst.",
    ),
    (
        "net",
        "opens_per_connection_per_min",
        "Accounts that one connection may ask for in a minute, where accounts open freely.",
    ),
    (
        "net",
        "opens_per_address_per_min",
        "The same for one address, over all of its connections: it keeps a stranger from taking the whole house.",
    ),
    (
        "net",
        "buffer_bytes_max",
        "Bytes that the buffers of all connections may hold together, 1 MiB or more.\n\
         A connection that plays may hold 165 KiB, an idle one 13 KiB.",
    ),
    ("net", "idle_timeout_ms", "Silence after which a connection ends, 1000 to 600000."),
    (
        "net",
        "handshake_timeout_ms",
        "Time for a handshake, for the first message, and for the rest of one that was begun, 100 to 60000.",
    ),
    ("net", "ban_ms", "How long a banned key or address stays out."),
    (
        "net",
        "socket_buffer_bytes",
        "What the system is asked for, for the UDP socket's buffers. Large ones keep a thousand simultaneous connects fast.",
    ),
    ("net", "mdns", "Announce this node on the local network, and look for others there."),
    (
        "net",
        "validators",
        "The other validators, each \"KEY@host:port\" with its network key. Each has 24 MiB of buffer_bytes_max kept for it.",
    ),
    (
        "net",
        "followers_max",
        "Nodes that are named nowhere here and may follow this one all the same, 0 to 1024. Each may hold 24 MiB.",
    ),
    (
        "net",
        "peers",
        "Other nodes to stay connected to: \"host:port\", or \"KEY@host:port\" to insist on a network key.",
    ),
    (
        "storage",
        "bytes_max",
        "Bytes that the whole segments of the journal may have, 128 MiB or more; 0 for no bound. Beyond it the oldest\n\
         segments give up the intents of their blocks; headers, certificates, beacons and roots stay for ever and do not count. What a\n\
         start needs never goes: the newest two snapshots and all above them. What has gone can be proved but not replayed.",
    ),
    (
        "storage",
        "min_free",
        "Bytes of the disk that stay free, for snapshots, logs and repair; 0 for none. With fewer the disk is taken for full: nothing\n\
         is lost, no intents are taken, and the node goes on when there is room.",
    ),
    (
        "cache",
        "memory_bytes_max",
        "What `bitcraps history` and the pages of players may hold in memory, 1 MiB or more.",
    ),
    (
        "cache",
        "disk_bytes_max",
        "What they may hold on disk, in the cache folder of the user who asks (~/.cache/bitcraps), which may be deleted at any time;\n\
         0 for no disk.",
    ),
    (
        "memory",
        "budget_bytes",
        "Bytes of memory that the node may have, 64 MiB or more: what the dashboard and the alerts measure it by.\n\
         0 for what its control group, or the machine, has.",
    ),
    (
        "monitoring",
        "listen",
        "Where the dashboard (/), /metrics, /livez, /readyz and /healthz are, TCP; \"off\" for nowhere. Whoever reaches it can\n\
         read how the node is, and change nothing.",
    ),
    (
        "monitoring",
        "hosts",
        "Names under which it may be asked, beside addresses and localhost: a name that a stranger made to point here is refused.",
    ),
    (
        "alerts",
        "webhook",
        "An address of http:// to which each change of an alert is posted as JSON; empty for none. The log has each change anyway.",
    ),
    (
        "alerts",
        "exec",
        "A program and its arguments, run for each change, which is its standard input as JSON; [] for none.",
    ),
    (
        "alerts",
        "mail_to",
        "Addresses that get a letter for each change. Under the unit of the package the sendmail of a mail server lacks the rights\n\
         that it needs: name a client below (docs/operating.md, \"Alerts\").",
    ),
    (
        "alerts",
        "sendmail",
        "The program that sends those letters, called as `sendmail -i -t`; \"/usr/bin/msmtp\" needs no rights of its own.",
    ),
];
