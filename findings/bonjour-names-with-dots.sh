#!/usr/bin/env bash
# A service on the local network whose name has a dot, `node.one`: DNS-SD (RFC 6763, 4.1.1 and 4.3) has a name in one label, and lets
# it hold any text. What does bonjour-service in Node make of it, and of a TXT entry with an empty value?
#
# Guess before the run: the name whole, as Python's zeroconf has it, and an empty text.
# Seen with bonjour-service 1.4.4: it splits the full name at every dot. The service is named `node`, its type is `one` and its
# protocol `probe`; address, port and the other entries are right, and the one that is empty is missing. What it publishes itself
# under such a name is on the wire with a hyphen. zeroconf 0.154.0 reads and writes the dot. Whoever filters by type misses such a
# service; whoever shows names takes them from a TXT entry.
#
# Needs Linux with unshare and ip, node, npm, python3 with venv, and PyPI. Speaks in a network namespace that has a loopback alone.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check zeroconf==0.154.0
cd "$work"
echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund bonjour-service@1.4.4 > /dev/null
cat > announce.py <<'PY'
import socket
import time

from zeroconf import ServiceBrowser, ServiceInfo, Zeroconf

TYPE = "_probe._udp.local."
network = Zeroconf(interfaces=["127.0.0.1"])
for port, name in ((7001, "node one"), (7002, "node.one")):
    network.register_service(
        ServiceInfo(
            TYPE,
            f"{name}.{TYPE}",
            addresses=[socket.inet_aton("127.0.0.1")],
            port=port,
            properties={"key": "00ff", "title": ""},
            server="host.local.",
        )
    )


class Listener:
    def add_service(self, network, kind, name):
        # What bonjour-service publishes has no address here: it names none of a loopback.
        info = network.get_service_info(kind, name, timeout=500)
        print(f"zeroconf: name '{name.removesuffix('.' + TYPE)}'{f', txt {info.properties}' if info else ''}", flush=True)

    def update_service(self, *_):
        pass

    def remove_service(self, *_):
        pass


ServiceBrowser(network, TYPE, Listener())
time.sleep(9)
network.close()
PY
cat > find.js <<'JS'
const { Bonjour } = require("bonjour-service");
const network = new Bonjour({ interface: "127.0.0.1", bind: "0.0.0.0" }, (error) => console.log("bonjour:", error.message));
network.find({ type: "probe", protocol: "udp" }).on("up", ({ name, type, protocol, port, txt }) => {
  if (port !== 7003) {
    console.log(`bonjour, port ${port}: name '${name}', type '${type}', protocol '${protocol}', txt ${JSON.stringify(txt)}`);
  }
});
network.publish({ name: "node.two", type: "probe", protocol: "udp", port: 7003, host: "other.local", txt: { key: "00ff" }, disableIPv6: true });
setTimeout(() => process.exit(), 7000);
JS
cat > both.sh <<'SHELL'
ip link set lo up
ip route add 224.0.0.0/4 dev lo
venv/bin/python announce.py &
sleep 2.5
node find.js
wait
SHELL
unshare --map-root-user --net bash both.sh | LC_ALL=C sort -u | tee seen
cat > expected <<'EOF'
bonjour, port 7001: name 'node one', type 'probe', protocol 'udp', txt {"key":"00ff"}
bonjour, port 7002: name 'node', type 'one', protocol 'probe', txt {"key":"00ff"}
zeroconf: name 'node one', txt {b'key': b'00ff', b'title': b''}
zeroconf: name 'node-two'
zeroconf: name 'node.one', txt {b'key': b'00ff', b'title': b''}
EOF
diff expected seen && echo "as it was seen"
