#!/usr/bin/env bash
# "Any seven" at craps pays 4 to 1 on a seven and loses on every other roll: a sum of 2d6 is looked at twice. What law do three
# calculators of exact dice odds have for it, where the roll has a name?
#
# Guess before the run: 4 in 1 of 6 cases, -1 in 5 of 6, in all three. Two of them have names for a value, and the third keeps an
# expression until it is asked.
# Seen: troll-dice 0.1.0 (PyPI) is as guessed. python-dice 2.0.2 has the seven in 36 of 146 cases, so that the player gains 23% where he
# loses 17: a name that is used twice brings the weight of its value in twice, and 146 is the sum of the squares of 1 to 6 to 1. It is
# right where all values of a name are equally likely, as for one die, and its own rolls come to a sixth. opendice 0.2.0 takes each use
# for a roll of its own, and four times a die for four dice; so it has -1 to 4, and 0 in 40%. The mean is right, the law is not.
#
# Needs python3 with venv, and PyPI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check python-dice==2.0.2 opendice==0.2.0 troll-dice==0.1.0
cat > "$work/seven.py" <<'PY'
import opendice
import troll
from python_dice import PythonDiceInterpreter


def say(who, law):
    law = {int(value): float(chance) for value, chance in law}
    total = sum(law.values())
    law = {value: chance / total for value, chance in sorted(law.items())}
    mean = sum(value * chance for value, chance in law.items())
    print(f"{who}: mean {mean:+.4f},", ", ".join(f"{value} in {chance:.4f}" for value, chance in law.items() if chance > 0.005))


interpreter = PythonDiceInterpreter()
law_of = lambda *lines: interpreter.get_probability_distributions(list(lines))["stdout"].get_result_map()
program = ["VAR roll = 2d6", "( ( roll == 7 ) * 4 ) - ( roll != 7 )"]
say("python-dice, two dice", law_of(*program).items())
say("python-dice, one die", law_of("VAR roll = d6", "( ( roll == 6 ) * 4 ) - ( roll != 6 )").items())
sevens = sum(interpreter.roll(program)["stdout"] == 4 for _ in range(5_000)) / 5_000
print("python-dice, rolled:", "a sixth" if 0.14 < sevens < 0.195 else sevens)
law = troll.dist("roll := sum 2d6; if roll = 7 then 4 else 0-1")
say("troll-dice", law)
roll = opendice.ndm(2, 6)
say("opendice", ((roll == 7) * 4 - (roll != 7)).probabilities().items())
say("opendice, minus itself", ((roll == 7) - (roll == 7)).probabilities().items())
PY
"$work/venv/bin/python" "$work/seven.py" | tee "$work/seen"
cat > "$work/expected" <<'EOF2'
python-dice, two dice: mean +0.2329, -1 in 0.7534, 4 in 0.2466
python-dice, one die: mean -0.1667, -1 in 0.8333, 4 in 0.1667
python-dice, rolled: a sixth
troll-dice: mean -0.1667, -1 in 0.8333, 4 in 0.1667
opendice: mean -0.1667, -1 in 0.4019, 0 in 0.4019, 1 in 0.1608, 2 in 0.0322
opendice, minus itself: mean +0.0000, -1 in 0.1389, 0 in 0.7222, 1 in 0.1389
EOF2
diff "$work/expected" "$work/seen" && echo "as it was seen"
