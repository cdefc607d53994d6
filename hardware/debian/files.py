"""The files of the Debian package. Pure: release and architecture in, files out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from hardware.debian.release import CURRENT, HOME, PROVEN, RELEASES
from hardware.image.files import SystemFile
from hardware.image.units import STATE, UPDATE, USER, hub_unit, provision_unit, update_unit
from hardware.provision.file import FILE_NAME

NAME: Final = "edgetwin"
PROGRAM: Final = "/usr/bin/edgetwin"
SETTINGS: Final = "/etc/edgetwin/edgetwin.yaml"
PROVISIONING: Final = f"/etc/edgetwin/{FILE_NAME}"
"""Put there, it is applied by the service for it, whose keys are then the gateway's own, not root's."""
UNIT: Final = "edgetwin.service"
UPDATER: Final = "edgetwin-update.service"
PROVISION_UNIT: Final = "edgetwin-provision.service"
UNITS: Final = "usr/lib/systemd/system"
DEPENDS: Final = (
    *("python3 (>= 3.11)", "python3 (<< 3.12)", "libc6 (>= 2.34)"),
    *("mosquitto", "adduser", "init-system-helpers (>= 1.54)"),
)
"""The wheels are of one Python and of manylinux_2_34 at most; the broker is run by the gateway itself."""


_AS_DEBIAN: Final = r"s/\.?(a|b|rc|dev)([0-9])/~\1\2/; s/~dev/~~dev/"
"""What ``debian_version`` does, for sed."""


def debian_version(release: str) -> str:
    """A release as Debian orders it: 1.2.0rc1 comes before 1.2.0, and 1.2.0.dev3 before both."""
    return re.sub(r"\.?(a|b|rc|dev)(?=[0-9])", r"~\1", release).replace("~dev", "~~dev")


def package_files(settings: str) -> Iterator[SystemFile]:
    """Everything but the release itself. ``settings``: an example with every key, which is put in as comments."""
    yield SystemFile(PROGRAM[1:], _PROGRAM, 0o755)
    yield SystemFile(f"{UNITS}/{UNIT}", hub_unit(PROGRAM))
    yield SystemFile(f"{UNITS}/{UPDATER}", update_unit(f"{PROVEN}/bin/edgetwin"))
    yield SystemFile(f"{UNITS}/{PROVISION_UNIT}", provision_unit(PROGRAM, PROVISIONING))
    head = "# The gateway's settings; what is not said has these defaults. After a change: systemctl restart edgetwin\n"
    yield SystemFile(SETTINGS[1:], head + "".join(f"# {line}".rstrip() + "\n" for line in settings.splitlines()))
    yield SystemFile(f"usr/share/doc/{NAME}/copyright", _COPYRIGHT)


def control_files(release: str, arch: str, installed_kib: int) -> Iterator[SystemFile]:
    """What dpkg reads: about the package, and what it runs (Debian policy, chapters 5 and 6)."""
    fields = {
        "Package": NAME,
        "Version": debian_version(release),
        "Architecture": arch,
        "Maintainer": "edgetwin <edgetwin@localhost>",
        "Installed-Size": str(installed_kib),
        "Depends": ", ".join(DEPENDS),
        "Recommends": "nftables",
        "Suggests": "podman",
        "Section": "net",
        "Priority": "optional",
        "Description": "gateway of device twins that works for weeks without a cloud\n" + _LONG.rstrip(),
    }
    yield SystemFile("control", "".join(f"{key}: {value}\n" for key, value in fields.items()))
    yield SystemFile("conffiles", f"{SETTINGS}\n")
    yield SystemFile("postinst", _postinst(release), 0o755)
    yield SystemFile("prerm", _PRERM, 0o755)
    yield SystemFile("postrm", _POSTRM, 0o755)


_LONG: Final = """ It reads devices by Modbus, OPC UA, Bluetooth LE and serial lines, keeps their
 twins on disk, and agrees with a cloud whenever there is a line to it.
 .
 The program lies in /opt/edgetwin with libraries of its own; it uses none of
 Debian's Python packages, and no other program sees its.
"""

_COPYRIGHT: Final = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: edgetwin

Files: *
Copyright: the authors of edgetwin
License: Apache-2.0
 On Debian systems, the full text is in /usr/share/common-licenses/Apache-2.0.
 Each library in /opt/edgetwin has its own licence in its folder *.dist-info.
"""

_PROGRAM: Final = f"""#!/bin/sh
# The folder, not the link: what has started stays with its release when the link is switched.
exec "$(readlink -f {CURRENT})/bin/edgetwin" "$@"
"""


def _postinst(release: str) -> str:
    """A newer release that an update has put there stays the one that runs."""
    return f"""#!/bin/sh
set -e
case "$1" in configure|abort-upgrade|abort-remove|abort-deconfigure) ;; *) exit 0 ;; esac
adduser --quiet --system --group --no-create-home --home {STATE} {USER}
[ -d {STATE} ] || install -d -o {USER} -g {USER} -m 0700 {STATE}
chown root:{USER} /etc/edgetwin
chmod 0750 /etc/edgetwin
switch() {{
    ln -sfn "releases/{release}" "{HOME}/.$1.new"
    mv -Tf "{HOME}/.$1.new" "{HOME}/$1"
}}
running=$(basename "$(readlink -f {CURRENT} || true)" | sed -E '{_AS_DEBIAN}')
if [ ! -x {CURRENT}/bin/edgetwin ] || dpkg --compare-versions "{debian_version(release)}" gt "$running"; then
    switch current
    switch proven
fi
# An update that is being tried must have something to go back to.
[ -x {PROVEN}/bin/edgetwin ] || switch proven
[ -d {UPDATE} ] || install -d -m 0755 {UPDATE}
for unit in {UNIT} {PROVISION_UNIT} {UPDATER}; do
    deb-systemd-helper unmask "$unit" >/dev/null || true
    if deb-systemd-helper --quiet was-enabled "$unit"; then
        deb-systemd-helper enable "$unit" >/dev/null || true
    else
        deb-systemd-helper update-state "$unit" >/dev/null || true
    fi
done
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
    deb-systemd-invoke start {UNIT} {UPDATER} >/dev/null || true
fi
"""


_PRERM: Final = f"""#!/bin/sh
set -e
# Before an upgrade too: what runs must not load half of the old release and half of none.
if [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop {UNIT} {UPDATER} >/dev/null || true
fi
"""

_POSTRM: Final = f"""#!/bin/sh
set -e
case "$1" in
    remove)
        rm -f {CURRENT} {PROVEN} {HOME}/previous {HOME}/.*.new
        rm -rf {RELEASES}
        rmdir --ignore-fail-on-non-empty {HOME} 2>/dev/null || true
        ;;
    purge)
        rm -rf {STATE} {UPDATE} /etc/edgetwin {HOME}
        if [ -x /usr/bin/deb-systemd-helper ]; then
            deb-systemd-helper purge {UNIT} {PROVISION_UNIT} {UPDATER} >/dev/null || true
        fi
        if [ -x /usr/sbin/deluser ]; then
            deluser --quiet --system {USER} >/dev/null || true
        fi
        ;;
esac
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
"""
