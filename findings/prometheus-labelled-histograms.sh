#!/usr/bin/env bash
# A histogram by a label in Prometheus' text format, two series of it: what do a parser in JavaScript and Prometheus' own one in
# Python make of them?
#
# Guess before the run: two histograms each, with their labels, sums and counts. One has values as text and the other as numbers.
# Seen with parse-prometheus-text-format 1.1.1: one histogram without labels, whose buckets are those of the series that comes last,
# and neither sum nor count. There is no error, and the same series without a label is read in full. Counters keep their labels.
# Upstream has an issue (13, open since 2020) of the sum alone. prometheus-client 0.26.0 reads both. Whoever draws a histogram by
# label with it draws one of the series, under no name.
#
# Needs node, npm, python3 with venv, and PyPI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check prometheus-client==0.26.0
cd "$work"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund parse-prometheus-text-format@1.1.1 > /dev/null
cat > metrics.txt <<'EOF'
# HELP step_seconds Time of a step.
# TYPE step_seconds histogram
step_seconds_bucket{step="verify",le="0.001"} 40
step_seconds_bucket{step="verify",le="+Inf"} 50
step_seconds_sum{step="verify"} 0.25
step_seconds_count{step="verify"} 50
step_seconds_bucket{step="order",le="0.001"} 5
step_seconds_bucket{step="order",le="+Inf"} 6
step_seconds_sum{step="order"} 0.125
step_seconds_count{step="order"} 6
# HELP tick_seconds Time of a tick.
# TYPE tick_seconds histogram
tick_seconds_bucket{le="0.001"} 7
tick_seconds_bucket{le="+Inf"} 9
tick_seconds_sum 0.5
tick_seconds_count 9
# HELP refused_total What was refused.
# TYPE refused_total counter
refused_total{code="late"} 3
refused_total{code="full"} 4
EOF
cat > read.js <<'JS'
const parsed = require("parse-prometheus-text-format")(require("fs").readFileSync("metrics.txt", "utf8"));
for (const { name, metrics } of parsed) for (const series of metrics) console.log("javascript", name, JSON.stringify(series));
JS
cat > read.py <<'PY'
from prometheus_client.parser import text_fd_to_metric_families

for family in text_fd_to_metric_families(open("metrics.txt")):
    labels = {tuple(value for name, value in sorted(sample.labels.items()) if name != "le") for sample in family.samples}
    print("python", family.name, f"{len(family.samples)} samples,", "series:", sorted(labels))
PY
{ node read.js; venv/bin/python read.py; } | tee seen
cat > expected <<'EOF'
javascript step_seconds {"buckets":{"0.001":"5","+Inf":"6"}}
javascript tick_seconds {"buckets":{"0.001":"7","+Inf":"9"},"count":"9","sum":"0.5"}
javascript refused_total {"value":"3","labels":{"code":"late"}}
javascript refused_total {"value":"4","labels":{"code":"full"}}
python step_seconds 8 samples, series: [('order',), ('verify',)]
python tick_seconds 4 samples, series: [()]
python refused 2 samples, series: [('full',), ('late',)]
EOF
diff expected seen && echo "as it was seen"
