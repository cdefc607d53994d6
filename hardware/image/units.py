"""The units of systemd that every gateway has, of an image or of a Debian that was there. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

USER: Final = "edgetwin"
STATE: Final = "/var/lib/edgetwin"
UPDATE: Final = "/var/lib/edgetwin-update"
ALIVE: Final = PurePosixPath("/run/edgetwin-update/alive")
"""When the updater last worked, seconds since the machine was started."""
SILENT_S: Final = 60
"""A hub that gives no sign of life for so long is started anew."""


def hub_unit(program: str) -> str:
    """The unit of the gateway. ``program``: the path of `edgetwin`."""
    return f"""[Unit]
Description=edgetwin gateway
After=local-fs.target edgetwin-provision.service
RequiresMountsFor={STATE}
StartLimitIntervalSec=0

[Service]
Type=notify
WatchdogSec={SILENT_S}
TimeoutStartSec=180
User={USER}
SupplementaryGroups=dialout
Environment=EDGETWIN_STATE={STATE}
ExecStartPre=+/bin/chown {USER}: {STATE}
ExecStart={program} run
Restart=always
RestartSec=1
KillMode=process
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
PrivateTmp=yes
RestrictSUIDSGID=yes
LockPersonality=yes
ReadWritePaths={STATE} -/run/edgetwin
AmbientCapabilities=
CapabilityBoundingSet=

[Install]
WantedBy=multi-user.target
"""


def update_unit(program: str) -> str:
    """The unit of the updater. It is root's, starts beside the hub, and lives on when that does not start."""
    return f"""[Unit]
Description=edgetwin updater
After=local-fs.target
RequiresMountsFor={STATE} {UPDATE}
StartLimitIntervalSec=0

[Service]
RuntimeDirectory={ALIVE.parent.name}
Environment=EDGETWIN_STATE={STATE}
WorkingDirectory=/
ExecStart={program} hardware update agent
Restart=always
RestartSec=5
Nice=10
NoNewPrivileges=yes
ProtectHome=yes
PrivateTmp=yes
LockPersonality=yes

[Install]
WantedBy=multi-user.target
"""


def provision_unit(program: str, file: str) -> str:
    """The unit that makes the machine a gateway, once somebody has put a provisioning file there."""
    return f"""[Unit]
Description=edgetwin provisioning
ConditionPathExists={file}
After=local-fs.target systemd-networkd.service
RequiresMountsFor={STATE} {PurePosixPath(file).parent}

[Service]
Type=oneshot
RemainAfterExit=yes
Environment=EDGETWIN_STATE={STATE}
WorkingDirectory=/
ExecStart={program} hardware provision {file}
ExecStartPost=/bin/chown -R {USER}: {STATE} /etc/edgetwin
ExecStartPost=-/bin/chown -R -H {USER}: {STATE}/run
ExecStopPost=/bin/chown -R {USER}: {STATE} /etc/edgetwin
ExecStopPost=-/bin/chown -R -H {USER}: {STATE}/run
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
"""
