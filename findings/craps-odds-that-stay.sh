#!/usr/bin/env bash
# craps, a table engine in Python: 10 chips on come are at the 4, with odds of 20 behind them, when the shooter makes his point and comes
# out again. Come-out rolls follow, then a 4 or a 7. What becomes of the odds?
#
# Guess before the run: its bets have the edges that are known of them, so that odds have none: they win 2 to 1, lose, or, being off on
# a come-out, come back.
# Seen with craps 2.0.2 (PyPI): with the point made and the next roll a 7, they come back. After any other come-out roll the odds are
# never on again: neither a 4 nor a 7 later decides them, and the game counts them as chips on the table for ever. The come bet pays
# meanwhile as it should. So in a simulation 20 chips leave the player's rail each time, and the odds seem to have an edge. As long as
# the puck stays on, all is as at a table.
#
# Needs python3 with venv, and PyPI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check craps==2.0.2
cat > "$work/table.py" <<'PY'
import logging

import craps

logging.disable(logging.CRITICAL)


def after(*rolls):
    game = craps.Game(bankroll=1000)
    roll = lambda one, two: game.roll(craps.Roll(game, override=(one, two)))
    roll(4, 2)
    game.bet(craps.ComeBet(10))
    roll(3, 1)
    game.bet(craps.PointOddsBet(20, 4))
    for dice in rolls:
        roll(*dice)
    came, odds = game.bets
    return f"come {came.payout}, odds {odds.payout}, rail {game.rail_balance:.0f}, on the table {game.total_amounts_on_table}"


POINT, FIVE, FOUR, SEVEN = (5, 1), (4, 1), (2, 2), (5, 2)
print("4:", after(FOUR))
print("7:", after(SEVEN))
print("point made, 7:", after(POINT, SEVEN))
print("point made, 4:", after(POINT, FOUR))
print("point made, 4, 5, 4:", after(POINT, FOUR, FIVE, FOUR))
print("point made, 5, 4:", after(POINT, FIVE, FOUR))
print("point made, 5, 7:", after(POINT, FIVE, SEVEN))
print("point made, 5, 7, 4, 7:", after(POINT, FIVE, SEVEN, FOUR, SEVEN))
PY
HOME="$work" XDG_CACHE_HOME="$work/cache" "$work/venv/bin/python" "$work/table.py" | tee "$work/seen"
cat > "$work/expected" <<'EOF2'
4: come 20, odds 60.0, rail 1050, on the table 0
7: come 0, odds 0, rail 970, on the table 0
point made, 7: come 0, odds 20, rail 990, on the table 0
point made, 4: come 20, odds None, rail 990, on the table 20
point made, 4, 5, 4: come 20, odds None, rail 990, on the table 20
point made, 5, 4: come 20, odds None, rail 990, on the table 20
point made, 5, 7: come 0, odds None, rail 970, on the table 20
point made, 5, 7, 4, 7: come 0, odds None, rail 970, on the table 20
EOF2
diff "$work/expected" "$work/seen" && echo "as it was seen"
