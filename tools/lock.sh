#!/usr/bin/env bash
# Writes requirements/*.lock anew from pyproject.toml: the newest versions it allows, with the hashes of every
# platform's files, and no address of any index or file.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/system.sh

.venv/bin/python -c 'import uv' 2>/dev/null || .venv/bin/python -m pip install --quiet uv

# lock NAME UV_ARGUMENT...: compile into requirements/NAME.lock, keeping nothing when that fails.
lock() {
    local name=$1
    shift
    say "Locking requirements/$name.lock ..."
    .venv/bin/python -m uv pip compile "$@" --quiet --upgrade --generate-hashes --universal --python-version 3.11 \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file ".cache/$name.lock" >/dev/null
    mv ".cache/$name.lock" "requirements/$name.lock"
}

# The two sets are locked together, so that the tests run against the very libraries the program gets.
lock dev pyproject.toml --extra dev
lock run pyproject.toml --extra cloud --extra demo --extra push --constraint requirements/dev.lock
lock gateway pyproject.toml --extra mesh --extra gpiochip --extra push --constraint requirements/dev.lock
.venv/bin/python - >.cache/build.in <<'PYTHON'
import tomllib
from pathlib import Path

print("\n".join(tomllib.loads(Path("pyproject.toml").read_text())["build-system"]["requires"]))
PYTHON
lock build .cache/build.in
