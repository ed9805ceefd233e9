#!/usr/bin/env bash
# msprt is a sequential test of two means that may be looked at after each observation, as an e-process is. It prints its formulas: one
# for the variance of the mixture, and one for the statistic, which has that variance in it. Does it compute these?
#
# Guess before the run: yes, to the last digits, with its default settings and any deviation of the data.
# Seen with msprt 0.1.2 (PyPI): the first formula's result is rounded to two digits behind the point, and then squared before it goes
# into the second: 0.41 instead of 0.64 where the data deviate by 1, 29 instead of 5.4 where they deviate by 10, 0.03 instead of 0.18 where
# they deviate by 0.05. At 1 the observations below show a difference as it is computed, and none as it is written. No verdict is unsound
# by that, since any variance that was chosen before makes a valid test; it is another test than the one that is written down.
#
# Needs python3 with venv, and PyPI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check msprt==0.1.2 numpy==1.26.4 scipy==1.17.1
cat > "$work/compare.py" <<'PY'
from math import erfc, exp, log, pi, sqrt

import numpy
from msprt import msprt

COUNT, ALPHA, TRUNCATION = 400, 0.05, 200


def variance(sigma):
    b = 2 * log(1 / ALPHA) / sqrt(TRUNCATION) / sigma
    tail = erfc(b / sqrt(2)) / 2
    return sigma**2 * tail / (exp(-b * b / 2) / sqrt(2 * pi) / b - tail)


def statistic(x, y, sigma, tau_squared):
    count, gap = len(x), y.mean() - x.mean()
    share = 2 * sigma**2 + count * tau_squared
    return sqrt(2 * sigma**2 / share) * exp(count**2 * tau_squared * gap**2 / (4 * sigma**2 * share))


def verdict(x, y, sigma, tau_squared):
    beyond = any(statistic(x[:count], y[:count], sigma, tau_squared) > 1 / ALPHA for count in range(101, COUNT + 1))
    return "H1" if beyond else "H0"


# Two waves instead of random numbers: the second is higher by 0.23 of the deviation.
wave = numpy.sqrt(2) * numpy.sin(numpy.arange(COUNT) * 0.7)
for sigma in (1.0, 10.0, 0.05):
    x, y = sigma * wave, sigma * (wave[::-1] + 0.23)
    result = msprt(x=x, y=y, sigma=sigma, alpha=ALPHA, truncation=TRUNCATION)
    written, squared = variance(sigma), round(variance(sigma), 2) ** 2
    print(f"deviation {sigma:g}: variance {written:.4f}: {statistic(x, y, sigma, written):.2f}, {verdict(x, y, sigma, written)};", end=" ")
    print(f"variance {squared:.4f}: {statistic(x, y, sigma, squared):.2f}, {verdict(x, y, sigma, squared)};", end=" ")
    print(f"msprt: {result.sequential_probability_ratio[-1]:.2f}, {result.decision[-2:]}")
PY
"$work/venv/bin/python" -W ignore "$work/compare.py" | tee "$work/seen"
cat > "$work/expected" <<'EOF2'
deviation 1: variance 0.6399: 16.76, H0; variance 0.4096: 20.44, H1; msprt: 20.44, H1
deviation 10: variance 5.4129: 36.87, H1; variance 29.2681: 23.52, H1; msprt: 23.52, H1
deviation 0.05: variance 0.1843: 1.63, H0; variance 0.0324: 3.89, H0; msprt: 3.89, H0
EOF2
diff "$work/expected" "$work/seen" && echo "as it was seen"
