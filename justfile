# Lists what there is.
default:
    @just --list

# Everything that has to pass before a change is merged.
check:
    ./.ci/run

# All tests.
test:
    cargo test

# The tag in a real browser; needs chromium and chromedriver.
browser:
    cargo test --test browser

# Formatting and lints.
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# The crate's documentation, without a broken link.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# The whole story against the built-in platforms.
demo *ARGS:
    cargo run --release -- demo {{ ARGS }}

# What the relay can take, and what that costs; `just bench --redirects`: tracked links alone.
bench *ARGS:
    cargo bench --bench relay -- {{ ARGS }}

# Licences, advisories, sources and bans of all dependencies.
deny:
    cargo deny check
