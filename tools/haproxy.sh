#!/usr/bin/env bash
# Sees that there is an HAProxy, which `make scale-demo` puts before several brokers.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/system.sh

present() { PATH=$PATH:/usr/sbin command -v haproxy >/dev/null; }

present && exit 0
started=$SECONDS
say "Installing haproxy with apt (no system service is left running) ..."
apt_install haproxy || true
hash -r
present || fail "haproxy is not there and could not be installed (see $setup_log)" \
    "Run, as root or with sudo: apt-get install haproxy"
say "    done in $((SECONDS - started)) s"
