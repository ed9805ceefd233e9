#!/usr/bin/env bash
# An Ed25519 private key in PKCS#8 version 2 (RFC 5958: with its public half), which is the form of the example in RFC 8410,
# section 10.3: which Python libraries read it?
#
# Guess before the run: all four, cryptography first, for its parser is new and the RFC of 2018 prints such a key.
# Seen: cryptography 50.0.2 refuses every version 2, pycryptodome 4.4.0, ecdsa 0.19.2 and asyncssh 2.24.1 read all of them.
# Attributes are no trouble to anybody; the number of the version alone decides. Whoever writes a key for others writes
# version 1, which carries the seed and needs no public half.
#
# The key is the one that RFC 8410 prints. Needs python3 with venv, and PyPI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install --disable-pip-version-check \
    cryptography==50.0.2 pycryptodome==4.4.0 ecdsa==0.19.2 asyncssh==2.24.1
cat > "$work/read.py" <<'PY'
import base64

import asyncssh
import ecdsa
from Crypto.PublicKey import ECC
from cryptography.hazmat.primitives.serialization import load_der_private_key

SEED = bytes.fromhex("d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842")
PUBLIC = bytes.fromhex("19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1")


def tlv(tag, content):
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


algorithm = tlv(0x30, bytes.fromhex("06032b6570"))
key = algorithm + tlv(4, tlv(4, SEED))
attributes = tlv(0xA0, tlv(0x30, bytes.fromhex("060a2a864886f70d01090914") + tlv(0x31, tlv(0x0C, b"Curdle Chairs"))))
public = tlv(0x81, b"\0" + PUBLIC)
keys = {
    "version 1": tlv(0x30, b"\x02\x01\x00" + key),
    "version 1, attributes": tlv(0x30, b"\x02\x01\x00" + key + attributes),
    "version 2, public half": tlv(0x30, b"\x02\x01\x01" + key + public),
    "version 2, attributes, public half": tlv(0x30, b"\x02\x01\x01" + key + attributes + public),
}
printed = base64.b64decode(
    "MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC"
    "oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB"
    "Z9w7lshQhqowtrbLDFw4rXAxZuE="
)
# The RFC prints attribute 9.9.20 with this very content.
assert printed[-35:] == public and SEED in printed and len(printed) == len(keys["version 2, attributes, public half"])
keys["RFC 8410, section 10.3"] = printed


def pem(der):
    return b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(der) + b"-----END PRIVATE KEY-----\n"


readers = {
    "cryptography": lambda der: load_der_private_key(der, None).private_bytes_raw(),
    "pycryptodome": lambda der: ECC.import_key(der).seed,
    "ecdsa": lambda der: ecdsa.SigningKey.from_der(der).to_string(),
    "asyncssh": lambda der: asyncssh.import_private_key(pem(der)).private_data and SEED,
}
for name, der in keys.items():
    for reader, read in readers.items():
        try:
            verdict = "reads it" if read(der) == SEED else "reads another key"
        except Exception as error:
            verdict = f"refuses it: {type(error).__name__}"
        print(f"{name}: {reader} {verdict}")
PY
"$work/venv/bin/python" "$work/read.py" | tee "$work/seen"
{
    for name in "version 1" "version 1, attributes"; do
        for reader in cryptography pycryptodome ecdsa asyncssh; do echo "$name: $reader reads it"; done
    done
    for name in "version 2, public half" "version 2, attributes, public half" "RFC 8410, section 10.3"; do
        echo "$name: cryptography refuses it: ValueError"
        for reader in pycryptodome ecdsa asyncssh; do echo "$name: $reader reads it"; done
    done
} > "$work/expected"
diff "$work/expected" "$work/seen" && echo "as it was seen"
