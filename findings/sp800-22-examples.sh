#!/usr/bin/env bash
# Whoever tests a house's dice, or the generator below them, reaches for NIST's SP 800-22. It prints examples with their P-values: 100
# bits of pi, and 128 bits for the longest run of ones. What do four libraries make of them?
#
# Guess before the run: what is printed, wherever the tests have the parameters of the examples. Each of the libraries says that it
# implements the publication, and an example is the first thing one tries.
# Seen: sp80022suite 0.0.8 (PyPI) and randomness 1.7.0 (npm) have all of the printed values. nist80022 0.2.0 (PyPI) has those it can
# compute; its longest run needs a function that scipy 1.17 no longer has. nistrng 1.2.3 (PyPI) has 0.0068 for the longest run, where
# 0.1806 is printed, so that it rejects the publication's own example at 1%; upstream has an open issue (13) of several of its tests. Its
# cumulative sums are the mean of the two values, as it says, and the other three are as printed. So a house that fails with one library
# is asked with another before it is blamed.
#
# Needs node, npm, python3 with venv, and PyPI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check \
    nistrng==1.2.3 nist80022==0.2.0 sp80022suite==0.0.8 numpy==1.26.4 scipy==1.17.1
cd "$work"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund randomness@1.7.0 > /dev/null
# The bits of sections 2.1.8 and 2.4.8.
cat > bits.json <<'EOF2'
{
  "pi": "1100100100001111110110101010001000100001011010001100001000110100110001001100011001100010100010111000",
  "run": "11001100000101010110110001001100111000000000001001001101010100010001001111010110100000001101011111001100111001101101100010110010"
}
EOF2
cat > tests.py <<'PY'
import json
import warnings

import nistrng
import numpy
import sp80022suite
from nist80022.ApproximateEntropy import ApproximateEntropy
from nist80022.CumulativeSum import CumulativeSums
from nist80022.FrequencyTest import FrequencyTest
from nist80022.RunTest import RunTest

warnings.simplefilter("ignore")
texts = json.load(open("bits.json"))
data = {name: bytes(map(int, text)) for name, text in texts.items()}
arrays = {name: numpy.array([int(bit) for bit in text]) for name, text in texts.items()}


def nist(name, which):
    result, _ = nistrng.run_by_name_battery(name, arrays[which], nistrng.SP800_22R1A_BATTERY, False)
    return result.score


checks = {
    ("nistrng", "frequency"): lambda: nist("monobit", "pi"),
    ("nistrng", "runs"): lambda: nist("runs", "pi"),
    ("nistrng", "longest run"): lambda: nist("longest_run_ones_in_a_block", "run"),
    ("nistrng", "cumulative sums"): lambda: nist("cumulative sums", "pi"),
    ("nistrng", "approximate entropy"): lambda: nist("approximate_entropy", "pi"),
    ("nist80022", "frequency"): lambda: FrequencyTest.monobit_test(texts["pi"])[0][1],
    ("nist80022", "runs"): lambda: RunTest.run_test(texts["pi"])[0][1],
    ("nist80022", "longest run"): lambda: RunTest.longest_one_block_test(texts["run"])[0][1],
    ("nist80022", "cumulative sums"): lambda: CumulativeSums.cumulative_sums_test(texts["pi"], 0)[0][1],
    ("nist80022", "approximate entropy"): lambda: ApproximateEntropy.approximate_entropy_test(texts["pi"], pattern_length=2)[0][1],
    ("sp80022suite", "frequency"): lambda: sp80022suite.frequency(data["pi"]),
    ("sp80022suite", "runs"): lambda: sp80022suite.runs(data["pi"]),
    ("sp80022suite", "longest run"): lambda: sp80022suite.longest_run_of_ones(data["run"]),
    ("sp80022suite", "cumulative sums"): lambda: sp80022suite.cumulative_sums(data["pi"]),
    ("sp80022suite", "approximate entropy"): lambda: sp80022suite.approximate_entropy(2, data["pi"]),
}
for (library, test), check in checks.items():
    try:
        print(f"{test}: {library} {check():.4f}")
    except Exception as error:
        print(f"{test}: {library} {type(error).__name__}")
PY
cat > tests.cjs <<'JS'
const loaded = require("randomness");
const tests = loaded.default ?? loaded;
const { pi, run } = require("./bits.json");
const names = { frequency: "monobitTest", runs: "runsTest", "longest run": "longestRunOnesInABlockTest" };
Object.assign(names, { "cumulative sums": "cumulativeSumsTest", "approximate entropy": "approximateEntropyTest" });
for (const [test, name] of Object.entries(names)) {
  const bits = [...(test === "longest run" ? run : pi)].map(Number);
  console.log(`${test}: randomness ${tests[name](bits)[1].toFixed(4)}`);
}
JS
echo "printed: frequency 0.1096, runs 0.5008, longest run 0.1806, cumulative sums 0.2192 and 0.1149, approximate entropy 0.2353"
{ venv/bin/python tests.py; node tests.cjs; } | LC_ALL=C sort | tee seen
LC_ALL=C sort > expected <<'EOF2'
approximate entropy: nist80022 0.2353
approximate entropy: nistrng 0.2353
approximate entropy: randomness 0.2353
approximate entropy: sp80022suite 0.2353
cumulative sums: nist80022 0.2192
cumulative sums: nistrng 0.1670
cumulative sums: randomness 0.1149
cumulative sums: sp80022suite 0.1149
frequency: nist80022 0.1096
frequency: nistrng 0.1096
frequency: randomness 0.1096
frequency: sp80022suite 0.1096
longest run: nist80022 AttributeError
longest run: nistrng 0.0068
longest run: randomness 0.1806
longest run: sp80022suite 0.1806
runs: nist80022 0.5008
runs: nistrng 0.5008
runs: randomness 0.5008
runs: sp80022suite 0.5008
EOF2
diff expected seen && echo "as it was seen"
