# The commands of every day; `just --list` names them.

# What plain `cargo test` covers: Rust only.
test:
    cargo test --locked

# What the gate runs before the lab.
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# Writes completions/ and man/ anew.
generate:
    cargo test --locked --test generated -- --ignored

# A real cluster on this machine.
lab:
    tests/lab/up

# Takes that cluster down.
lab-down:
    tests/lab/down

# Everything, as the gate does.
ci:
    .ci/run
