# Recipes for work on talkover-exporter: the same names here and in CI. `just` alone lists them; CONTRIBUTING.md says more.
# just itself is a package of most distributions and registries; `ci/tools` installs it below target/.

[private]
list:
    @just --list --unsorted

# formats Rust, Python and this file
fmt:
    cargo fmt --all
    ruff format ci
    just --fmt

# what the compiler, rustfmt and clippy have to say
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# everything that needs no other program: the README's test command
test *arguments:
    cargo test {{ arguments }}

# the documentation of the code, without a broken link
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# the binary that is shipped
build:
    cargo build --release --locked

# what a release consists of, in target/dist: binaries, Debian packages, chart, SBOM, checksums
release *targets:
    ci/release {{ targets }}

# builds a release twice and compares every byte
reproducible *targets:
    ci/reproducible {{ targets }}

# measures CPU time as ratios within one run: backlog, schedule or spans
bench NAME="backlog":
    cargo bench --bench {{ NAME }}

# writes the chart's copies of dashboards/, and the manifests of kustomize
manifests:
    ci/manifests

# one section of the checks: a script in ci/, with its arguments
check SECTION *arguments:
    ci/{{ SECTION }} {{ arguments }}

# everything that must hold before a change lands
ci:
    ci/all

# mutation tests of the ledger and of reading a list that moves; any option of `cargo mutants`
mutants *arguments:
    ci/mutants {{ arguments }}

# looks for bytes that break a property: wire or config
fuzz TARGET="wire" SECONDS="180":
    ci/fuzz {{ TARGET }} {{ SECONDS }}
