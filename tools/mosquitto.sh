#!/usr/bin/env bash
# Sees that there is a mosquitto to run: the system's own, else Debian's package installed with root's rights,
# else the package unpacked into .cache/mosquitto, where the wrapper script `mosquitto` runs it.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/system.sh

place=$PWD/.cache/mosquitto
apt_options=(-q)

present() { command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ]; }

apt_says() { LC_ALL=C apt-cache "${apt_options[@]}" "$@" 2>/dev/null; }

# A machine that never ran an update has no package lists, and /var is root's: then keep lists below .cache.
find_lists() {
    [ -n "$(apt_says show mosquitto)" ] && return
    apt_options+=(-o "Dir::State=$PWD/.cache/apt/state" -o "Dir::Cache=$PWD/.cache/apt/cache"
        -o Dir::State::status=/var/lib/dpkg/status)
    mkdir -p .cache/apt/state/lists/partial .cache/apt/cache/archives/partial
    apt-get "${apt_options[@]}" update >>"$setup_log" 2>&1
    [ -n "$(apt_says show mosquitto)" ]
}

# unpack PACKAGE: fetch it and lay its files out below $place.new.
unpack() {
    local folder status=0
    folder=$(mktemp -d .cache/deb.XXXXXX)
    (cd "$folder" && apt-get "${apt_options[@]}" download "$1") >>"$setup_log" 2>&1 &&
        dpkg -x "$folder"/*.deb "$place.new" || status=$?
    rm -rf "$folder"
    return "$status"
}

write_wrapper() {
    cat >"$1/mosquitto" <<'WRAPPER'
#!/bin/sh
# Runs the mosquitto that is unpacked here, with the libraries unpacked beside it.
here=$(dirname "$(readlink -f "$0")")
for folder in "$here"/usr/lib/*-linux-gnu* "$here"/lib/*-linux-gnu*; do
    [ -d "$folder" ] && LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done
export LD_LIBRARY_PATH
[ "$1" = --libraries ] && exec ldd "$here/usr/sbin/mosquitto"
exec "$here/usr/sbin/mosquitto" "$@"
WRAPPER
    chmod 755 "$1/mosquitto"
}

lacks_libraries() { "$place.new/mosquitto" --libraries 2>&1 | grep -q 'not found'; }

not_installed() { ! dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

# Breadth first through the dependencies, until the loader finds every library.
unpack_with_libraries() {
    local seen=' mosquitto ' wave=(mosquitto) next package library
    rm -rf "$place.new" .cache/deb.*
    mkdir -p "$place.new"
    write_wrapper "$place.new"
    unpack mosquitto || return 1
    while lacks_libraries; do
        next=()
        for package in "${wave[@]}"; do
            for library in $(apt_says depends "$package" | sed -n 's/^ *|\{0,1\}Depends: \(lib[^ ]*\)$/\1/p'); do
                case "$seen" in *" $library "*) continue ;; esac
                seen+="$library "
                not_installed "$library" || continue
                unpack "$library" || return 1
                next+=("$library")
            done
        done
        [ "${#next[@]}" -gt 0 ] || return 1
        wave=("${next[@]}")
    done
    rm -rf "$place"
    mv "$place.new" "$place"
    rm -rf .cache/apt
}

if present || { [ -x "$place/mosquitto" ] && ! "$place/mosquitto" --libraries 2>&1 | grep -q 'not found'; }; then
    exit 0
fi
started=$SECONDS
if root_command >/dev/null; then
    say "Installing mosquitto with apt (no system service is left running) ..."
    apt_install mosquitto || true
    hash -r
fi
if ! present; then
    say "Unpacking Debian's mosquitto into .cache/mosquitto, no root needed ..."
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null || ! find_lists || ! unpack_with_libraries; then
        fail "mosquitto, the MQTT broker, is not there and could not be fetched (see $setup_log)" \
            "Install it ('apt-get install mosquitto', or your system's way), or name any MQTT 5 broker in broker.url."
    fi
fi
say "    done in $((SECONDS - started)) s"
