#!/usr/bin/env bash
# Server-sent events, as a dashboard follows them, read outside a browser: what do six readers make of a stream that ends in the middle
# of an event, of a name without data, of an event whose data is empty, and of a `retry:` alone? The HTML standard (9.2.6) has an
# answer to each: what no empty line ends is discarded, a name without data is forgotten, empty data is an event, `retry:` is none.
#
# Guess before the run: all six go by it. Streams are cut wherever a connection breaks, and each of these cases is in the standard.
# Seen: eventsource-parser 4.1.3 (npm) alone does. sseclient-py 1.9.0 (PyPI) and parse-sse 0.1.0 (npm) hand over the event that the
# end cut off, as if it were whole. @azure/core-sse 2.3.0 (npm) gives the name without data to the next event. parse-sse leaves out
# what is empty. fetch-event-stream 0.1.6 (npm) and httpx-sse 0.4.3 (PyPI; known upstream, issue 35) take `retry:` and a name without
# data for an event. Whoever reads JSON from such a stream is ready for text that is none, at its start and at its end.
#
# Needs node, npm, python3 with venv, and PyPI.
set -euo pipefail
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check sseclient-py==1.9.0 httpx-sse==0.4.3 httpx==0.28.1
cd "$work"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund \
    eventsource-parser@4.1.3 parse-sse@0.1.0 fetch-event-stream@0.1.6 @azure/core-sse@2.3.0 > /dev/null
cat > streams.json <<'EOF2'
{
  "cut off in a line": "data: 1\n\ndata: 23",
  "cut off after a line": "data: 1\n\ndata: 2\n",
  "name without data": "event: roll\n\ndata: 1\n\n",
  "empty data": "data:\n\ndata: 1\n\n",
  "retry alone": "retry: 500\n\ndata: 1\n\n"
}
EOF2
cat > read.mjs <<'JS'
import { readFileSync } from "node:fs";
import { createSseStream } from "@azure/core-sse";
import { createParser } from "eventsource-parser";
import { events } from "fetch-event-stream";
import { parseServerSentEvents } from "parse-sse";

const answer = (bytes) => new Response(bytes, { headers: { "content-type": "text/event-stream" } });
const readers = {
  "eventsource-parser": (bytes) => {
    const seen = [];
    createParser({ onEvent: (event) => seen.push(event) }).feed(bytes.toString());
    return seen;
  },
  "parse-sse": (bytes) => parseServerSentEvents(answer(bytes)),
  "fetch-event-stream": (bytes) => events(answer(bytes)),
  "@azure/core-sse": (bytes) => createSseStream(answer(bytes).body),
};
for (const [about, text] of Object.entries(JSON.parse(readFileSync("streams.json")))) {
  for (const [reader, read] of Object.entries(readers)) {
    const seen = [];
    for await (const { event, type, data } of read(Buffer.from(text))) {
      seen.push(`${event || type || "message"}=${data === undefined ? "nothing" : JSON.stringify(data)}`);
    }
    console.log(`${about}: ${reader}: ${seen.join(" ")}`);
  }
}
JS
cat > read.py <<'PY'
import json

import httpx
import httpx_sse
import sseclient


class Stream(httpx.SyncByteStream):
    def __init__(self, content):
        self.content = content

    def __iter__(self):
        yield self.content


def with_httpx(content):
    headers = {"content-type": "text/event-stream"}
    return httpx_sse.EventSource(httpx.Response(200, headers=headers, stream=Stream(content))).iter_sse()


readers = {"sseclient-py": lambda content: sseclient.SSEClient(iter([content])).events(), "httpx-sse": with_httpx}
for about, text in json.load(open("streams.json")).items():
    for reader, read in readers.items():
        seen = [f"{event.event or 'message'}={json.dumps(event.data)}" for event in read(text.encode())]
        print(f"{about}: {reader}: {' '.join(seen)}")
PY
{ node read.mjs; venv/bin/python read.py; } | sort | tee seen
sort > expected <<'EOF2'
cut off in a line: eventsource-parser: message="1"
cut off in a line: httpx-sse: message="1"
cut off in a line: fetch-event-stream: message="1"
cut off in a line: @azure/core-sse: message="1"
cut off in a line: parse-sse: message="1" message="23"
cut off in a line: sseclient-py: message="1" message="23"
cut off after a line: eventsource-parser: message="1"
cut off after a line: httpx-sse: message="1"
cut off after a line: fetch-event-stream: message="1"
cut off after a line: @azure/core-sse: message="1"
cut off after a line: parse-sse: message="1" message="2"
cut off after a line: sseclient-py: message="1" message="2"
name without data: eventsource-parser: message="1"
name without data: parse-sse: message="1"
name without data: sseclient-py: message="1"
name without data: @azure/core-sse: roll="1"
name without data: fetch-event-stream: roll=nothing message="1"
name without data: httpx-sse: roll="" message="1"
empty data: eventsource-parser: message="" message="1"
empty data: httpx-sse: message="" message="1"
empty data: sseclient-py: message="" message="1"
empty data: @azure/core-sse: message="" message="1"
empty data: fetch-event-stream: message="" message="1"
empty data: parse-sse: message="1"
retry alone: eventsource-parser: message="1"
retry alone: parse-sse: message="1"
retry alone: sseclient-py: message="1"
retry alone: @azure/core-sse: message="1"
retry alone: fetch-event-stream: message=nothing message="1"
retry alone: httpx-sse: message="" message="1"
EOF2
diff expected seen && echo "as it was seen"
