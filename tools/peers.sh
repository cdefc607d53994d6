#!/usr/bin/env bash
# Sees that the real parts which the tests talk to are there: a C compiler, libmodbus, socat.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/system.sh

missing() {
    command -v gcc >/dev/null || echo gcc libc6-dev
    [ -n "$(find /usr/include/modbus /usr/local/include/modbus -name modbus.h 2>/dev/null)" ] || echo libmodbus-dev
    command -v socat >/dev/null || echo socat
}

packages=$(missing | tr '\n' ' ')
[ -n "$packages" ] || exit 0
started=$SECONDS
say "Installing what the tests talk to with apt: $packages..."
# shellcheck disable=SC2086  # a list of words
apt_install $packages || true
packages=$(missing | tr '\n' ' ')
[ -z "$packages" ] || fail "the tests need what is not installed here: $packages(see $setup_log)" \
    "Run, as root or with sudo: apt-get install $packages"
say "    done in $((SECONDS - started)) s"
