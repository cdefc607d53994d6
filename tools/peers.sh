#!/usr/bin/env bash
# Sees that the real parts which the tests talk to are there: a C compiler, libmodbus, socat, stunnel, dbus-daemon,
# kubectl, and node-opcua and modbus-serial where there is npm.
# What only some need (libfiu and mkfs.xfs: the fault tests; podman and busybox: its pods; mosquitto-clients: pages; nft, wrk and the like: the
# mesh; chromium: the dashboard; rauc, mtools, qemu: hardware, with the word vm all that images need) is installed where
# that is possible; without it they are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/system.sh

missing() {
    command -v gcc >/dev/null || echo gcc libc6-dev
    [ -n "$(find /usr/include/modbus /usr/local/include/modbus -name modbus.h 2>/dev/null)" ] || echo libmodbus-dev
    command -v socat >/dev/null || echo socat
    command -v dbus-daemon >/dev/null || echo dbus-daemon
    command -v kubectl >/dev/null || echo kubernetes-client
    [ -x /usr/bin/stunnel4 ] || echo stunnel4
}

# npm_peer NAME VERSION WHAT: a package of npm that the tests of WHAT talk to; without npm they are skipped.
npm_peer() {
    local stamp=.cache/peers/${1%-server}
    command -v npm >/dev/null && [ "$(cat "$stamp" 2>/dev/null)" != "$2" ] || return 0
    say "Installing $1 $2, which the tests of $3 talk to ..."
    mkdir -p .cache/peers
    [ -e .cache/peers/package.json ] || echo '{}' >.cache/peers/package.json
    if npm install --prefix .cache/peers --no-audit --no-fund --ignore-scripts "$1@$2" >>"$setup_log" 2>&1; then
        echo "$2" >"$stamp"
    else
        say "    npm could not install it (see $setup_log); the tests of $3 are skipped"
    fi
}

npm_peer node-opcua-server 2.186.4 'OPC UA'
npm_peer modbus-serial 8.0.25 Modbus

wanted() {
    [ -e /usr/lib/fiu/fiu_posix_preload.so ] || echo fiu-utils
    PATH=$PATH:/usr/sbin command -v mkfs.xfs >/dev/null || echo xfsprogs
    local program
    for program in podman runc catatonit iptables; do
        PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || echo "$program"
    done
    [ -x /usr/lib/podman/netavark ] || [ -x /usr/libexec/podman/netavark ] || echo netavark
    [ -x /bin/busybox ] || echo busybox-static
    command -v mosquitto_rr >/dev/null || echo mosquitto-clients
    command -v sqlite3 >/dev/null || echo sqlite3
    command -v chromium >/dev/null || command -v google-chrome >/dev/null || echo chromium
    # Images, bundles and disks of hardware/; qemu for `hardware run`.
    for program in rauc:rauc mksquashfs:squashfs-tools mcopy:mtools mkfs.vfat:dosfstools mkfs.ext4:e2fsprogs \
        sfdisk:fdisk grub-script-check:grub-common openssl:openssl qemu-system-x86_64:qemu-system-x86; do
        PATH=$PATH:/usr/sbin command -v "${program%:*}" >/dev/null || echo "${program#*:}"
    done
    [ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || echo ovmf
    if [ "${1:-}" = vm ]; then
        for program in mmdebstrap:mmdebstrap qemu-system-aarch64:qemu-system-arm arch-test:arch-test \
            qemu-aarch64-static:qemu-user-static; do
            command -v "${program%:*}" >/dev/null || echo "${program#*:}"
        done
        [ -e /usr/share/AAVMF/AAVMF_CODE.fd ] || echo qemu-efi-aarch64
    fi
    for program in nft:nftables wrk:wrk iperf3:iperf3 dnsperf:dnsperf dnsmasq:dnsmasq-base dig:bind9-dnsutils \
        conntrack:conntrack ip:iproute2; do
        PATH=$PATH:/usr/sbin command -v "${program%:*}" >/dev/null || echo "${program#*:}"
    done
}

packages=$(wanted "$@" | tr '\n' ' ')
if [ -n "$packages" ]; then
    say "Installing what some tests need with apt: $packages..."
    # shellcheck disable=SC2086  # a list of words
    apt_install $packages || say "    They are skipped; as root install: $packages"
fi
if ! command -v kubectl >/dev/null; then
    apt_install kubernetes-client || say "The tests with kubectl are skipped; Debian has it in kubernetes-client"
fi
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
