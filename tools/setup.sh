#!/usr/bin/env bash
# Makes .venv exactly as the lock files say: `setup.sh run` for the program, `setup.sh dev` for the tests too.
# Does nothing when .venv already stands as they say.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/system.sh

set_name=${1:?run or dev}
# A virtual environment holds absolute paths, so a tree that was moved needs a new one.
wanted=$(printf '%s\n' "$PWD" | cat - requirements/*.lock pyproject.toml | cksum)

stands() { [ "$(cat ".venv/.$1-stands" 2>/dev/null)" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; }

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}

# install_locked WHAT PIP_ARGUMENT...: pip with a running count on a terminal, its full words in the log.
install_locked() {
    local started=$SECONDS what=$1 count=no
    shift
    [ -t 1 ] && count=yes
    say "Installing $what ..."
    .venv/bin/python -m pip --disable-pip-version-check --no-input install --no-deps --progress-bar off "$@" 2>&1 |
        tee -a "$setup_log" |
        awk -v count="$count" '/^Collecting /  { n++; if (count == "yes") printf "\r\033[K    %d %s", n, $2; fflush() }
                               END             { if (count == "yes" && n) printf "\r\033[K" }' || {
        tail -n 12 "$setup_log" >&2
        fail "pip could not install $what (all it said: $setup_log)" \
            "Check the network and any pip settings of yours, then run the same command again."
    }
    say "    done in $((SECONDS - started)) s"
}

if stands "$set_name" || { [ "$set_name" = run ] && stands dev; }; then
    exit 0
fi
: >"$setup_log"

python=$(find_python) || fail "no Python 3.11 or newer was found" \
    "Install one: on Debian 12 and Ubuntu 24.04 'apt-get install python3 python3-venv'."
if [ "$(cat .venv/.place 2>/dev/null)" != "$PWD" ] || ! .venv/bin/python -c '' 2>/dev/null; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python cannot make virtual environments" \
        "Install what it lacks: 'apt-get install python3-venv' (as root, or with sudo)."
    say "Making the virtual environment .venv ($("$python" --version)) ..."
    rm -rf .venv
    "$python" -m venv .venv >>"$setup_log" 2>&1 || fail "$python -m venv failed (see $setup_log)" \
        "On Debian and Ubuntu 'apt-get install python3-venv' gives what it lacks."
    echo "$PWD" >.venv/.place
fi
rm -f .venv/.*-stands
install_locked "the build backend" --require-hashes -r requirements/build.lock
install_locked "the libraries of requirements/$set_name.lock" --require-hashes -r "requirements/$set_name.lock"
install_locked "edgetwin itself" --no-build-isolation --editable .
printf '%s\n' "$wanted" >".venv/.$set_name-stands"
