#!/usr/bin/env bash
# `Depends: python3 (>= 3.1~)` is how Debian's packages ask for 3.1 or anything that leads to it: is it met by 3.11.2-1, and how do the
# versions order, as three libraries have it?
#
# Guess before the run: as dpkg has it, in all of them, for all pairs of the versions below.
# Seen with pydpkg 1.9.5, python-debian 1.1.1 and debian-inspector 31.1.1 (PyPI): the first two always. debian-inspector raises a
# ValueError at a version without a revision that ends in a tilde or a plus, so at a bound like this one too, once it is compared. With
# a revision before it, as in 1.2-1~, it is read since an issue (39) was closed; other versions it orders as dpkg does. A scan of what
# is installed stops at the first such bound.
#
# Needs dpkg, python3 with venv, and PyPI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check pydpkg==1.9.5 python-debian==1.1.1 debian-inspector==31.1.1
cat > "$work/order.py" <<'PY'
import subprocess
from itertools import product

from debian.debian_support import NativeVersion
from debian_inspector.deps import parse_depends
from debian_inspector.version import compare_versions
from pydpkg import Dpkg

VERSIONS = "3.1~ 3.1+ 3.1 3.1-1 3.1-1~ 3.1-1~bpo12+1 3.1~rc1-1 3.1+git20260101-1 3.11 3.01 1:0.1 0.1.0-1 0.1.0-1+b1 0.1.0-1.1".split()


def dpkg(one, other):
    asks = lambda relation: subprocess.run(["dpkg", "--compare-versions", one, relation, other]).returncode == 0
    return -1 if asks("lt") else 0 if asks("eq") else 1


def native(one, other):
    one, other = NativeVersion(one), NativeVersion(other)
    return (one > other) - (one < other)


def sign(number):
    return (number > 0) - (number < 0)


libraries = {
    "pydpkg": lambda *pair: sign(Dpkg.compare_versions(*pair)),
    "python-debian": native,
    "debian-inspector": lambda *pair: sign(compare_versions(*pair)),
}
expected = {pair: dpkg(*pair) for pair in product(VERSIONS, repeat=2)}
for name, compare in libraries.items():
    refused, wrong = set(), 0
    for pair, order in expected.items():
        try:
            wrong += compare(*pair) != order
        except ValueError:
            refused.add(pair)
    culprits = [version for version in VERSIONS if (version, version) in refused]
    assert all(set(pair) & set(culprits) for pair in refused)
    print(f"{name}: {wrong} wrong, refuses {' '.join(culprits) or 'none'}")
for bound in ("3.1", "3.1-1~", "3.1~"):
    try:
        print(f"python3 (>= {bound}) by 3.11.2-1:", parse_depends(f"python3 (>= {bound})").matches("python3", "3.11.2-1"))
    except ValueError:
        print(f"python3 (>= {bound}) by 3.11.2-1: ValueError")
PY
"$work/venv/bin/python" "$work/order.py" | tee "$work/seen"
cat > "$work/expected" <<'EOF2'
pydpkg: 0 wrong, refuses none
python-debian: 0 wrong, refuses none
debian-inspector: 0 wrong, refuses 3.1~ 3.1+
python3 (>= 3.1) by 3.11.2-1: True
python3 (>= 3.1-1~) by 3.11.2-1: True
python3 (>= 3.1~) by 3.11.2-1: ValueError
EOF2
diff "$work/expected" "$work/seen" && echo "as it was seen"
