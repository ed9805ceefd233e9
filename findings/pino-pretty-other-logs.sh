#!/usr/bin/env bash
# Logs of one JSON object a line, as many programs write them that are not pino: `timestamp` in RFC 3339, `level` in capitals, `message`.
# pino-pretty has an option for each of these names. Does a line lose anything, and what does its least level leave out?
#
# Guess before the run: one line for each, with its level and text, and all other fields below it. (Of the least level there was none.)
# Seen with pino-pretty 13.2.0 (npm): of the other fields `time` is left out, although another is said to be the time, and so is
# `hostname` as long as `pid` is not ignored in its place; `name` and `pid` are put beside the level. `--minimumLevel warn` leaves out no
# level that is text, in capitals or not, and numbers below 40. So nothing can be filtered with it in such a log.
#
# Needs node and npm.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund pino-pretty@13.2.0 > /dev/null
pretty() { node_modules/.bin/pino-pretty --messageKey message --timestampKey timestamp --levelKey level --singleLine "$@"; }
line() { echo "{\"timestamp\":\"2026-12-01T00:00:00.5Z\",\"level\":$1,\"message\":\"said\"$2}"; }
{
    line '"INFO"' ',"target":"net","key":"net.listen"' | pretty
    line '"INFO"' ',"target":"net","time":17,"key":"net.listen"' | pretty
    line '"INFO"' ',"name":"node-0","pid":4,"hostname":"host","key":"net.listen"' | pretty
    line '"INFO"' ',"hostname":"host","key":"net.listen"' | pretty
    line '"INFO"' ',"hostname":"host","key":"net.listen"' | pretty --ignore pid
    for level in '"DEBUG"' '"info"' 20 30 40; do echo "$level:$(line "$level" '' | pretty --minimumLevel warn)"; done
} | tee seen
cat > expected <<'EOF2'
[00:00:00.500] INFO: said {"target":"net","key":"net.listen"}
[00:00:00.500] INFO: said {"target":"net","key":"net.listen"}
[00:00:00.500] INFO (node-0/4): said {"key":"net.listen"}
[00:00:00.500] INFO: said {"key":"net.listen"}
[00:00:00.500] INFO (on host): said {"key":"net.listen"}
"DEBUG":[00:00:00.500] DEBUG: said
"info":[00:00:00.500] INFO: said
20:
30:
40:[00:00:00.500] WARN: said
EOF2
diff expected seen && echo "as it was seen"
