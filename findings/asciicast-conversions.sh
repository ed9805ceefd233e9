#!/usr/bin/env bash
# A terminal's recording as asciicast version 2 (each moment counts from the start) becomes version 3 (each counts from the one before)
# and the other way round, by two converters: how long is it afterwards? It is a screen that changes each 2.4 ms for 12 s, after a pause
# of half a second, and ends with the exit code of its program.
#
# Guess before the run: as long as it was, to a millisecond at most, since differences and sums are all there is to it. Either keeps the
# pause, and the exit code where the version has one.
# Seen with asciinema-scene 1.3.0 and showreel 0.3.1 (PyPI): showreel is as guessed. asciinema-scene takes each difference to a whole
# millisecond by itself, so that 12 s become 10 s in version 3. Either way it leaves out the pause before the first output, and adds a
# line's end after a last event that is none. Whoever keeps subtitles or sound beside a recording converts it with the other.
#
# Needs python3 with venv, and PyPI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check asciinema-scene==1.3.0 showreel==0.3.1
cd "$work"
cat > record.py <<'PY'
import json

FRAMES = 5_000
with open("two.cast", "w") as two, open("three.cast", "w") as three:
    print(json.dumps({"version": 2, "width": 40, "height": 5}), file=two)
    print(json.dumps({"version": 3, "term": {"cols": 40, "rows": 5}}), file=three)
    for frame in range(FRAMES + 1):
        print(json.dumps([round(0.5 + frame * 0.0024, 6), "o", "."]), file=two)
        print(json.dumps([0.0024 if frame else 0.5, "o", "."]), file=three)
    print(json.dumps([0.25, "x", "0"]), file=three)
PY
cat > measure.py <<'PY'
import json
import sys

header, *events = map(json.loads, open(sys.argv[1]))
moments, now = [], 0
for time, *_ in events:
    now = time if header["version"] == 2 else now + time
    moments.append(now)
outputs = [moment for moment, event in zip(moments, events) if event[1:] == ["o", "."]]
others = [event[1:] for event in events if event[1:] != ["o", "."]]
print(f"version {header['version']}, begins at {outputs[0]:.3f}, {outputs[-1] - outputs[0]:.3f} s, then {json.dumps(others)}")
PY
venv/bin/python record.py
for from in two three; do
    [ $from = two ] && to=v3 || to=v2
    venv/bin/showreel convert -q --to $to -o showreel.cast $from.cast > /dev/null
    venv/bin/sciine convert -f $to -i $from.cast -o scene.cast
    for file in $from showreel scene; do echo "$file: $(venv/bin/python measure.py $file.cast)"; done
done | tee seen
cat > expected <<'EOF2'
two: version 2, begins at 0.500, 12.000 s, then []
showreel: version 3, begins at 0.500, 12.000 s, then []
scene: version 3, begins at 0.000, 10.000 s, then [["o", "\r\n"]]
three: version 3, begins at 0.500, 12.000 s, then [["x", "0"]]
showreel: version 2, begins at 0.500, 12.000 s, then [["x", "0"]]
scene: version 2, begins at 0.000, 12.000 s, then [["x", "0"], ["o", "\r\n"]]
EOF2
diff expected seen && echo "as it was seen"
