# What CI runs, and what is handy beside it.

# Everything that must hold before a change lands.
check:
    bash .ci/run

# The tests.
test:
    cargo test --workspace

# The benches, for real: quiet machine, some minutes.
bench:
    cargo bench --package benches

# Licences, sources, second versions. Needs cargo-deny.
deny:
    cargo deny check

# The golden scenarios through the release build.
golden:
    cargo run --release -- script audit/tests/data/scenarios.json --check

# The book. Needs mdbook.
docs:
    mdbook build docs

# The binary of packages, and of figures under load: target/dist/bitcraps. Some minutes.
package:
    cargo build --profile dist

# A Debian package, which target/debian has then. Needs cargo-deb; some minutes.
deb: package
    mkdir -p target/package
    target/dist/bitcraps man target/package/man
    for shell in bash zsh fish; do target/dist/bitcraps completions $shell > target/package/bitcraps.$shell; done
    cargo deb --package bitcraps --profile dist --no-build
