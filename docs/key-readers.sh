#!/usr/bin/env bash
# Which tools open the keys that `bitcraps init` writes: makes a plain and an encrypted one, and lets every tool that is
# installed derive the public key, or sign with the private one. Prints the table of docs/operating.md for this machine.
#
#   docs/key-readers.sh [PROGRAM]        PROGRAM is target/debug/bitcraps where nothing is said
#
# Ends with 1 if a tool that is installed does not open a key. `pip install cryptography` and `apt install gnutls-bin` get
# those that are rarely there.
set -euo pipefail

program=$(realpath "${1:-target/debug/bitcraps}")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

BITCRAPS_PASSPHRASE='correct horse' "$program" init secret --bytes-max 0 >/dev/null
"$program" init plain --plain-keys --bytes-max 0 >/dev/null
cp secret/keys/net.pem secret.pem
cp plain/keys/net.pem plain.pem

failed=0
row() { printf '| %-22s | %-30s | %-5s | %-9s |\n' "$1" "$2" "$3" "$4"; }
try() { if "$@" >/dev/null 2>"$dir/why"; then echo yes; else echo no; cat "$dir/why" >&2; fi; }
tool() { # name, version, function that takes a file and a passphrase, and what is known of it if it opens none
    local plain secret
    plain=$(try "$3" plain.pem '')
    secret=$(try "$3" secret.pem 'correct horse')
    row "$1" "$2" "$plain" "$secret"
    [ "$plain$secret" = yesyes ] || [ -n "${4:-}" ] || failed=1
}

# The public keys to compare with, once OpenSSL has opened both.
public() { openssl pkey -in "$1" ${2:+-passin "pass:$2"} -pubout -outform DER; }
same() { cmp -s - "$1.der"; }
by_openssl() { public "$@" >"$1.der"; }
by_node() {
    node -e '
        const { createPrivateKey, createPublicKey } = require("crypto");
        const key = require("fs").readFileSync(process.argv[1]);
        const priv = createPrivateKey({ key, passphrase: process.argv[2] || undefined });
        process.stdout.write(createPublicKey(priv).export({ type: "spki", format: "der" }));
    ' "$1" "$2" | same "$1"
}
by_python() {
    python3 -c '
import sys
from cryptography.hazmat.primitives import serialization as s
key = s.load_pem_private_key(open(sys.argv[1], "rb").read(), sys.argv[2].encode() or None)
sys.stdout.buffer.write(key.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo))
    ' "$1" "$2" | same "$1"
}
by_gnutls() { certtool --pubkey-info --load-privkey "$1" --password "$2" --outder | same "$1"; }
by_java() { java Reader.java "$1" "$2" "$1.der"; }
by_ssh() {
    cp "$1" ssh.key && chmod 600 ssh.key
    ssh-keygen -y -P "$2" -f ssh.key | cut -d' ' -f2 | base64 -d | tail -c 32 | cmp -s - <(tail -c 32 "$1.der")
}
cat >Reader.java <<'JAVA'
import java.nio.file.*;
import java.security.*;
import java.security.spec.*;
import java.util.Base64;
import javax.crypto.*;
import javax.crypto.spec.PBEKeySpec;

class Reader {
    public static void main(String[] args) throws Exception {
        String pem = Files.readString(Path.of(args[0])).replaceAll("-----[^-]*-----|\\s", "");
        byte[] der = Base64.getDecoder().decode(pem);
        PKCS8EncodedKeySpec spec = new PKCS8EncodedKeySpec(der);
        if (!args[1].isEmpty()) {
            EncryptedPrivateKeyInfo info = new EncryptedPrivateKeyInfo(der);
            String algorithm = info.getAlgParameters().toString();
            SecretKey key = SecretKeyFactory.getInstance(algorithm).generateSecret(new PBEKeySpec(args[1].toCharArray()));
            Cipher cipher = Cipher.getInstance(algorithm);
            cipher.init(Cipher.DECRYPT_MODE, key, info.getAlgParameters());
            spec = info.getKeySpec(cipher);
        }
        KeyFactory keys = KeyFactory.getInstance("Ed25519");
        PublicKey known = keys.generatePublic(new X509EncodedKeySpec(Files.readAllBytes(Path.of(args[2]))));
        Signature signature = Signature.getInstance("Ed25519");
        signature.initSign(keys.generatePrivate(spec));
        signature.update(der);
        byte[] signed = signature.sign();
        signature.initVerify(known);
        signature.update(der);
        System.exit(signature.verify(signed) ? 0 : 1);
    }
}
JAVA

row tool version plain encrypted
row --- --- --- ---
tool OpenSSL "$(openssl version | cut -d' ' -f2)" by_openssl
if command -v node >/dev/null; then tool Node.js "$(node --version)" by_node; fi
if python3 -c 'import cryptography' 2>/dev/null; then
    tool 'Python, cryptography' "$(python3 -c 'import cryptography; print(cryptography.__version__)')" by_python
fi
if command -v java >/dev/null; then tool 'Java, JDK alone' "$(java -version 2>&1 | head -1 | cut -d'"' -f2)" by_java; fi
if command -v certtool >/dev/null; then tool 'GnuTLS, certtool' "$(certtool --version | head -1 | cut -d' ' -f2)" by_gnutls; fi
if command -v ssh-keygen >/dev/null; then tool 'OpenSSH, ssh-keygen' "$(ssh -V 2>&1 | cut -d' ' -f1 | cut -d_ -f2)" by_ssh 'PKCS#8 of Ed25519 from 9.6 on'; fi
exit $failed
