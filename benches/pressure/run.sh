#!/usr/bin/env bash
# Half an hour in which one resource after another becomes scarce and is plentiful again, for a node that plays at the scenario
# `peak` with ten thousand idle connections more, in a control group of exactly its budget, on a disk of its own.
#
#   benches/pressure/run.sh PROGRAM FOLDER [SECONDS] [MIB]
#
# PROGRAM is a built `bitcraps`; FOLDER must not be there yet, and holds everything that is written; SECONDS is the length of the
# whole (1800), MIB the budget (704, with which `config check` has nothing to say). Needs root, control groups (version 1 or 2),
# loop devices, mkfs.ext4, curl and jq. Nothing of it runs in CI.
# It fails if the kernel killed the node, if an intent was lost, or if a level never rose or did not fall again.
set -euo pipefail

program=$(realpath "$1")
mkdir "$2"
cd "$2"
seconds=${3:-1800}
budget=$((${4:-704} << 20))
name=bitcraps-pressure-$$
dashboard=127.0.0.1:7461
listen=127.0.0.1:7460

# Six equal parts: calm, then one thing scarce at the beginning of each of the next five, for half of the part.
part=$((seconds / 6))
children=()

# The group: memory at exactly the budget, and a handle on the disk's speed.
if [ -d /sys/fs/cgroup/memory ]; then
    groups=(/sys/fs/cgroup/memory/$name /sys/fs/cgroup/blkio/$name)
    mkdir "${groups[@]}"
    memory_bound() { echo "$1" > "${groups[0]}/memory.limit_in_bytes"; }
    # Nothing stands in the file where nothing is bounded.
    disk_bound() { echo "$disk $1" > "${groups[1]}/blkio.throttle.write_iops_device"; }
    disk_free() { disk_bound 0; }
    killed() { awk '$1 == "oom_kill" { print $2 }' "${groups[0]}/memory.oom_control"; }
else
    echo "+memory +io" > /sys/fs/cgroup/cgroup.subtree_control
    groups=(/sys/fs/cgroup/$name)
    mkdir "${groups[@]}"
    memory_bound() { echo "$1" > "${groups[0]}/memory.max"; }
    disk_bound() { echo "$disk wiops=$1" > "${groups[0]}/io.max"; }
    disk_free() { disk_bound max; }
    killed() { awk '$1 == "oom_kill" { print $2 }' "${groups[0]}/memory.events"; }
fi
loop=

leave() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    for child in "${children[@]}"; do wait "$child" 2>/dev/null || true; done
    [ -z "$loop" ] || { umount disk; losetup -d "$loop"; }
    rmdir "${groups[@]}" || true
}
trap leave EXIT
trap "exit 1" INT TERM

# A disk of its own, so that it can be slow and full without anything else being so.
truncate --size 8G disk.img
mkfs.ext4 -q -F disk.img
loop=$(losetup --find --show disk.img)
mkdir disk
mount "$loop" disk
disk=$(lsblk --noheadings --nodeps --output MAJ:MIN "$loop" | tr -d ' ')

"$program" init disk/node --plain-keys --tables 1000 --accounts 20000 --per-height 1000 --window 1000 --bytes-max 4GB \
    --listen "$listen" --dashboard "$dashboard" > init.txt
memory_bound "$budget"
enter='for group; do [ "$group" = -- ] && break; shift; echo $$ > "$group/cgroup.procs"; done; shift; exec "$@"'
sh -c "$enter" sh "${groups[@]}" -- "$program" node --config disk/node/bitcraps.toml --set log.format=json \
    --set memory.budget_bytes="$((budget >> 20)) MiB" --set storage.min_free="512 MiB" --set net.buffer_bytes_max="300 MiB" \
    --set net.connections_max=11500 --set net.connections_per_address_max=11500 --set net.connects_per_address_per_s=2000 \
    --set net.opens_per_address_per_min=60000 --set net.opens_per_connection_per_min=60 > node.out 2> node.log &
node=$!
children+=("$node")
for _ in $(seq 100); do
    [ "$(curl -s -o ready.txt -w '%{http_code}' "http://$dashboard/readyz" || true)" = 200 ] && break
    sleep 0.2
done
grep -q . ready.txt || { tail -n 5 node.log; exit 1; }

"$program" load peak --target "$listen" --duration "${seconds}s" --ramp 10s --idle 10000 --seed 7 --report report --output json \
    > load.json 2> load.log &
load=$!
children+=("$load")

# Second by second: levels, and what they are made of.
metrics='bitcraps_memory_level bitcraps_cpu_level bitcraps_network_level bitcraps_disk_level bitcraps_memory_bytes
    bitcraps_memory_group_bytes bitcraps_connections bitcraps_memory_columns_bytes bitcraps_memory_arenas_bytes
    bitcraps_memory_blocks_bytes bitcraps_net_held_bytes bitcraps_net_reserved_bytes bitcraps_memory_mapped_bytes
    bitcraps_disk_free_bytes bitcraps_unsynced_ticks bitcraps_intents_unanswered'
# It signs everything before it connects: minutes, for half an hour.
for _ in $(seq 900); do
    curl -s "http://$dashboard/metrics" | awk '$1 == "bitcraps_connections" && $2 > 1000 { found = 1 } END { exit !found }' && break
    kill -0 "$load" 2>/dev/null || { tail -n 3 load.log; exit 1; }
    sleep 1
done
began=$(date +%s)
{ printf 'second\tphase'; printf '\t%s' $metrics; printf '\n'; } > samples.tsv
phase=calm
sample() {
    curl -s -m 5 "http://$dashboard/metrics" | awk -v second="$(($(date +%s) - began))" -v phase="$phase" -v names="$metrics" '
        { value[$1] = $2 }
        END { printf "%d\t%s", second, phase
              split(names, list); for (i = 1; i in list; i++) printf "\t%s", list[i] in value ? value[list[i]] : "-"
              printf "\n" }' >> samples.tsv
}
until_second() {
    while [ $(($(date +%s) - began)) -lt "$1" ]; do
        kill -0 "$node" 2>/dev/null || { echo "the node has ended; killed in the group: $(killed)"; exit 1; }
        sample
        sleep 1
    done
}
scarce() { phase=$1; printf '%s s: %s\n' "$(($(date +%s) - began))" "$2"; }

until_second $part
scarce disk-slow "the disk takes four writes a second"
disk_bound 4
until_second $((part * 3 / 2))
scarce calm "the disk is as fast as it is"
disk_free
until_second $((part * 2))
scarce disk-full "all but 900 MiB of the disk is taken"
fallocate --length $(($(df --output=avail -B1 disk | tail -n 1) - (900 << 20))) disk/ballast
until_second $((part * 5 / 2))
scarce calm "the disk has room again"
rm disk/ballast
until_second $((part * 3))
# The kernel kills what needs more than its group may have: what is left is a twentieth, from which on a node calls memory scarce.
used=$(curl -s "http://$dashboard/metrics" | awk '$1 == "bitcraps_memory_group_bytes" { printf "%d", $2 }')
scarce memory "the group is narrowed to 1.05 of the $((used >> 20)) MiB that it has"
memory_bound $((used * 105 / 100))
until_second $((part * 7 / 2))
scarce calm "the group is as wide as the budget"
memory_bound "$budget"
until_second $((part * 4))
scarce network "nine hundred watch tables and never read"
"$program" load baseline --target "$listen" --users 1 --rate 1 --duration "$((part / 2))s" --slow-readers 900 --seed 8 --output json \
    > slow.json 2> slow.log &
slow=$!
children+=("$slow")
until_second $((part * 9 / 2))
wait "$slow" || true
scarce calm "they have gone"
until_second $((part * 5))
scarce cpu "four processes more want the processors"
burners=()
for _ in 1 2 3 4; do
    timeout "$((part / 2))" sh -c 'while :; do :; done' &
    burners+=("$!")
done
children+=("${burners[@]}")
until_second $((part * 11 / 2))
for burner in "${burners[@]}"; do wait "$burner" || true; done
scarce calm "they have gone"
until_second "$seconds"
wait "$load" || { tail -n 3 load.log; true; }
scarce after "the load is over"
until_second $((seconds + 60))

printf '\nwhat the node said, by the second:\n'
jq -r --argjson began "$began" 'select(.target == "operate::watching")
    | "\((.timestamp[:19] + "Z" | fromdateiso8601) - $began)\t\(.message)"' node.log
printf '\n'
jq -c 'with_entries(select(.value | type != "array")) | del(.machine)' load.json
awk -F'\t' 'NR == 1 { for (i = 3; i <= NF; i++) name[i] = $i; next }
    { for (i = 3; i <= NF; i++) if ($i != "-" && $i + 0 > most[i] + 0) most[i] = $i }
    END { print "at most:"; for (i = 3; i in name; i++) printf "  %s %s\n", name[i], most[i] }' samples.tsv
faults=0
for column in 3:memory 4:cpu 5:network 6:disk; do
    awk -F'\t' -v column="${column%%:*}" -v what="${column##*:}" 'NR > 1 && $column != "-" { if ($column > most) most = $column; last = $column }
        END { printf "level of %s: at most %d, at the end %d\n", what, most, last; exit !(most > 0 && last == 0) }' samples.tsv || {
        echo "the level of ${column##*:} did not rise and fall"
        faults=1
    }
done
[ "$(killed)" = 0 ] || { echo "the kernel killed something in the group"; faults=1; }
kill -0 "$node" || { echo "the node has ended"; faults=1; }
[ "$(jq .lost load.json)" = 0 ] || { echo "intents were lost"; faults=1; }
exit $faults
