#!/usr/bin/env bash
# A HdrHistogram log (a line for each interval, with its histogram in base64) is written by Python's library and by JavaScript's: each
# writes a start time and one interval of 1 s, tagged `settle`, whose largest value is 1.999 ms. What do the readers of both find?
#
# Guess before the run: the same interval, whoever wrote and whoever reads; the format has had tags since version 1.3, and both readers
# know them.
# Seen with hdrhistogram 0.10.8 (PyPI) and hdr-histogram-js 3.0.1 (npm): histograms and times pass both ways. But Python's
# `output_start_time` raises, whether it is given milliseconds, as its documentation asks, or seconds. Its writer leaves the tag out,
# which its own reader takes from the other's file. And its column of the largest value has whole units only: 1.000000, where
# JavaScript has 1.999. So intervals of several tags that Python writes into one file cannot be told apart afterwards.
#
# Needs node, npm, python3 with venv, and PyPI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check hdrhistogram==0.10.8
cd "$work"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund hdr-histogram-js@3.0.1 > /dev/null
cat > write.py <<'PY'
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogWriter

histogram = HdrHistogram(1, 3_600_000_000, 3)
for value in range(1, 2_000):
    histogram.record_value(value * 1_000)
histogram.set_tag("settle")
histogram.set_start_time_stamp(1_700_000_000_500)
histogram.set_end_time_stamp(1_700_000_001_500)
with open("python.hlog", "w") as file:
    writer = HistogramLogWriter(file)
    writer.output_log_format_version()
    for what, time in (("milliseconds", 1_700_000_000_500), ("seconds", 1_700_000_000.5)):
        try:
            writer.output_start_time(time)
            print(f"python writes a start time in {what}")
        except Exception as error:
            print(f"python refuses a start time in {what}: {type(error).__name__}")
    writer.output_legend()
    writer.output_interval_histogram(histogram)
PY
cat > javascript.cjs <<'JS'
const { readFileSync, writeFileSync } = require("fs");
const hdr = require("hdr-histogram-js");

const lines = [];
const writer = new hdr.HistogramLogWriter((text) => lines.push(text));
writer.outputLogFormatVersion();
writer.outputStartTime(1_700_000_000_500);
writer.outputLegend();
const histogram = hdr.build({ highestTrackableValue: 3_600_000_000, numberOfSignificantValueDigits: 3 });
for (let value = 1; value < 2_000; value += 1) histogram.recordValue(value * 1_000);
Object.assign(histogram, { tag: "settle", startTimeStampMsec: 1_700_000_000_500, endTimeStampMsec: 1_700_000_001_500 });
writer.outputIntervalHistogram(histogram, undefined, undefined, 1_000_000);
writeFileSync("javascript.hlog", lines.join(""));
for (const by of ["python", "javascript"]) {
  const read = new hdr.HistogramLogReader(readFileSync(`${by}.hlog`, "utf8")).nextIntervalHistogram();
  const { tag, totalCount, maxValue, startTimeStampMsec: start, endTimeStampMsec: end } = read;
  console.log(`by ${by}, read by javascript: tag ${tag}, ${totalCount} values to ${maxValue}, ${start} to ${end}`);
}
JS
cat > read.py <<'PY'
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

for by in ("python", "javascript"):
    read = HistogramLogReader(f"{by}.hlog", HdrHistogram(1, 3_600_000_000, 3)).get_next_interval_histogram()
    times = f"{read.get_start_time_stamp():.0f} to {read.get_end_time_stamp():.0f}"
    print(f"by {by}, read by python: tag {read.get_tag()}, {read.get_total_count()} values to {read.get_max_value()}, {times}")
PY
{
    venv/bin/python write.py
    node javascript.cjs
    venv/bin/python read.py
    for by in python javascript; do echo "by $by: $(grep -v '^#' $by.hlog | tail -1 | sed 's/,HIST.*//')"; done
} | tee seen
cat > expected <<'EOF2'
python refuses a start time in milliseconds: ValueError
python refuses a start time in seconds: AttributeError
by python, read by javascript: tag NO TAG, 1999 values to 1999871, 1700000000500 to 1700000001500
by javascript, read by javascript: tag settle, 1999 values to 1999871, 1700000000500 to 1700000001500
by python, read by python: tag None, 1999 values to 1999871, 1700000000500 to 1700000001500
by javascript, read by python: tag settle, 1999 values to 1999871, 1700000000500 to 1700000001500
by python: 1700000000.500000,1.000000,1.000000
by javascript: Tag=settle,1700000000.500,1.000,1.999
EOF2
diff expected seen && echo "as it was seen"
