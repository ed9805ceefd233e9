#!/usr/bin/env bash
# Payouts as people write them, with pybet: 7 to 5 and 9 to 5 (place bets on 5 and 9, on 4 and 10) and the usual -110 of a bookmaker.
# Does a payout that is a whole number of an American moneyline come out as that, and does a moneyline come back as it went in?
#
# Guess before the run: payouts such as 6/5, 9/5 and 1/2 come out by the formulas. (Of the way back there was none.)
# Seen with pybet 0.8.4 (PyPI): 9/5 is +179, 7/5 is +139, and -110 comes back as -109. The decimal is made from a binary fraction, so
# that 2.8 is a little less than that, and what is behind the point is cut off. Of the 392 payouts of up to 100 to up to 20
# whose moneyline is a whole number, 94 come out nearer to zero by one; of the moneylines from -995 to +995 in steps of 5, 65 of 358 do
# not come back. 6/5, 3/2 and 2 to 1 are right.
#
# Needs python3 with venv, and PyPI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check pybet==0.8.4
cat > "$work/lines.py" <<'PY'
from fractions import Fraction

from pybet import Odds


def moneyline(payout):
    return payout * 100 if payout >= 1 else -100 / payout


for text in ("6/5", "7/5", "3/2", "9/5", "2/1", "4/5"):
    payout = Fraction(text)
    print(f"{text}: {Odds.fractional(payout.numerator, payout.denominator).to_moneyline()}, exactly {moneyline(payout)}")
for text in ("+120", "+180", "-105", "-110", "-120"):
    print(f"{text} comes back as {Odds.moneyline(text).to_moneyline()}")
# Even money is +100 as well as -100, and is left out.
payouts = {Fraction(win, stake) for stake in range(1, 21) for win in range(1, 101)} - {Fraction(1)}
whole = [payout for payout in payouts if moneyline(payout).denominator == 1]
less = [abs(moneyline(payout)) - abs(int(Odds.fractional(payout.numerator, payout.denominator).to_moneyline())) for payout in whole]
print(f"of {len(whole)} payouts {less.count(1)} are less by one, {less.count(0)} right")
lines = [f"{sign}{line}" for line in range(105, 1_000, 5) for sign in "+-"]
print(f"of {len(lines)} moneylines {sum(Odds.moneyline(line).to_moneyline() != line for line in lines)} differ")
PY
"$work/venv/bin/python" "$work/lines.py" | tee "$work/seen"
cat > "$work/expected" <<'EOF2'
6/5: +120, exactly 120
7/5: +139, exactly 140
3/2: +150, exactly 150
9/5: +179, exactly 180
2/1: +200, exactly 200
4/5: -124, exactly -125
+120 comes back as +120
+180 comes back as +180
-105 comes back as -105
-110 comes back as -109
-120 comes back as -119
of 392 payouts 94 are less by one, 298 right
of 358 moneylines 65 differ
EOF2
diff "$work/expected" "$work/seen" && echo "as it was seen"
