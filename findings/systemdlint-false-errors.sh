#!/usr/bin/env bash
# A hardened systemd unit of settings that are at least five years old, through systemdlint, which needs no systemd: what does it find?
#
# Guess before the run: advice at most. The release is of 2025, and every line is as systemd.exec(5), systemd.service(5) and
# systemd.resource-control(5) have it; `systemd-analyze verify` of systemd 252 has no remark.
# Seen with systemdlint 1.4.0 (PyPI): eight errors, and exit code 1. It does not know LoadCredential, SetCredential (247)
# and OOMPolicy (243), and takes 1G for no limit, `any` for no address and `no` for no value of Delegate. It says of UMask=0077, with
# which nobody else may read a file, that files are writable for the world, and it says so of 0022 too. And it asks for Delegate, which
# is for programs that run groups of their own. A build that heeds its exit code cannot have these lines.
#
# Needs python3 with venv, and PyPI. Asks `systemd-analyze` as well, where there is one of 247 or later.
set -euo pipefail
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check systemdlint==1.4.0 systemdunitparser==0.4 anytree==2.13.0
cd "$work"
cat > probe.service <<'EOF2'
[Unit]
Description=A node

[Service]
Type=notify
ExecStart=/bin/true
User=daemon
WatchdogSec=90s
TimeoutStopSec=1min 30s
RestartPreventExitStatus=2 3 4
Delegate=no
LoadCredential=passphrase:/etc/probe/passphrase
SetCredential=greeting:hello
OOMPolicy=stop
IPAddressDeny=any
LimitMEMLOCK=1G
NoNewPrivileges=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_NETLINK
SystemCallFilter=@system-service
UMask=0077
EOF2
if command -v systemd-analyze > /dev/null && [ "$(systemd-analyze --version | sed -n '1s/[^0-9]*\([0-9]*\).*/\1/p')" -ge 247 ]; then
    [ -z "$(systemd-analyze verify ./probe.service 2>&1)" ] || { echo "systemd has a remark now"; exit 1; }
fi
status=0
venv/bin/systemdlint --norootfs --messageformat '{severity} [{id}] {msg}' probe.service 2> findings || status=$?
{ sort findings; echo "exit code $status"; } | tee seen
cat > expected <<'EOF2'
error [InvalidSetting] LoadCredential is not supported in section Service
error [InvalidSetting] OOMPolicy is not supported in section Service
error [InvalidSetting] SetCredential is not supported in section Service
error [InvalidValue] Delegate=no
error [InvalidValue] IPAddressDeny=any
error [InvalidValue] LimitMEMLOCK=1G
error [Security.Delegate] Service should have Delegate being set
error [Security.UMaskOW] Files created by service are world-writeable
exit code 1
EOF2
sed 's/0077/0022/' probe.service > other.service
{ venv/bin/systemdlint --norootfs other.service 2>&1 || true; } | grep -q UMaskOW
diff expected seen && echo "as it was seen"
