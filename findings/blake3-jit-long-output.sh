#!/usr/bin/env bash
# BLAKE3 in JavaScript: more than 64 bytes of output (dice are drawn from a stream), in all three modes, from inputs on both sides
# of one chunk of 1,024 bytes. Does blake3-jit give what the BLAKE3 authors' own library gives?
#
# Guess before the run: yes, in every mode and length. It says that it has all modes and output of any length.
# Seen with blake3-jit 1.1.0: `finalizeXof()` always does, and so does everything up to 64 bytes. `finalize(65)` and more of an
# input beyond 1,024 bytes gives other bytes from the first one on, without an error; of shorter inputs it is right. The one-shot
# `hash(input, 65)` throws a RangeError whatever the input is. @noble/hashes 2.4.0 agrees with blake3 1.0.11 throughout.
# So a test with short inputs passes. Whoever wants a stream asks `finalizeXof()`.
#
# Needs node 20.19 or later, npm, python3 with venv, and PyPI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check blake3==1.0.11
cat > "$work/digests.py" <<'PY'
import json

from blake3 import blake3

MODES = {
    "hash": {},
    "keyed": {"key": bytes(range(32))},
    "derive": {"derive_key_context": "example 2026 a stream of dice"},
}
rows = []
for size in (0, 96, 1024, 1025, 2048, 5000):
    data = bytes(at % 251 for at in range(size))
    for mode, options in MODES.items():
        for length in (32, 64, 65, 512):
            digest = blake3(data, **options).hexdigest(length=length)
            rows.append({"size": size, "mode": mode, "length": length, "digest": digest})
print(json.dumps(rows))
PY
"$work/venv/bin/python" "$work/digests.py" > "$work/digests.json"
cd "$work"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund blake3-jit@1.1.0 @noble/hashes@2.4.0 > /dev/null
cat > compare.mjs <<'JS'
import { readFileSync } from "node:fs";
import { blake3 } from "@noble/hashes/blake3.js";
import * as jit from "blake3-jit";

const CONTEXT = "example 2026 a stream of dice";
const key = Uint8Array.from({ length: 32 }, (_, at) => at);
const modes = {
  hash: { noble: {}, jit: () => jit.createHasher() },
  keyed: { noble: { key }, jit: () => jit.createKeyed(key) },
  derive: { noble: { context: new TextEncoder().encode(CONTEXT) }, jit: () => jit.createDeriveKey(CONTEXT) },
};
const seen = new Map();
function note(what, row, compute) {
  let verdict;
  try {
    verdict = Buffer.from(compute()).toString("hex") === row.digest ? "right" : "other bytes";
  } catch (error) {
    verdict = error.constructor.name;
  }
  const input = row.size > 1024 ? "input beyond 1024" : "input to 1024";
  const output = row.length > 64 ? "output beyond 64" : "output to 64";
  const about = `${what}, ${input}, ${output}`;
  seen.set(about, (seen.get(about) ?? new Set()).add(verdict));
}
for (const row of JSON.parse(readFileSync("digests.json"))) {
  const data = Uint8Array.from({ length: row.size }, (_, at) => at % 251);
  const mode = modes[row.mode];
  note("noble", row, () => blake3(data, { ...mode.noble, dkLen: row.length }));
  note("jit finalizeXof", row, () => mode.jit().update(data).finalizeXof().read(row.length));
  note("jit finalize", row, () => mode.jit().update(data).finalize(row.length));
  if (row.mode === "hash") note("jit hash", row, () => jit.hash(data, row.length));
}
for (const [about, verdicts] of [...seen].sort()) console.log(`${about}: ${[...verdicts].join(" or ")}`);
JS
node compare.mjs | tee seen
cat > expected <<'EOF'
jit finalize, input beyond 1024, output beyond 64: other bytes
jit finalize, input beyond 1024, output to 64: right
jit finalize, input to 1024, output beyond 64: right
jit finalize, input to 1024, output to 64: right
jit finalizeXof, input beyond 1024, output beyond 64: right
jit finalizeXof, input beyond 1024, output to 64: right
jit finalizeXof, input to 1024, output beyond 64: right
jit finalizeXof, input to 1024, output to 64: right
jit hash, input beyond 1024, output beyond 64: RangeError
jit hash, input beyond 1024, output to 64: right
jit hash, input to 1024, output beyond 64: RangeError
jit hash, input to 1024, output to 64: right
noble, input beyond 1024, output beyond 64: right
noble, input beyond 1024, output to 64: right
noble, input to 1024, output beyond 64: right
noble, input to 1024, output to 64: right
EOF
diff expected seen && echo "as it was seen"
