"""The certificate that the cloud's servers show: signed by the gateways' authority, made anew in good time."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from typing import Final

from cloudsync.brokers import SERVERS
from cloudsync.identity.ca import DAY_MS, hosts_of
from cloudsync.identity.errors import NotInitialised
from cloudsync.identity.folder import GATEWAYS, CloudFolder
from cloudsync.settings import CloudSettings
from twin.certificates import life, read_certificate
from twin.errors import InvalidMessage
from twin.private_file import write_private
from twin.wire.enrolment import server_wildcard

SERVER_DAYS: Final = 365
RENEWED_DAYS: Final = 120
"""Before its end."""

log = logging.getLogger(__name__)


def hosts_to_serve(settings: CloudSettings) -> tuple[str, ...]:
    """Names and addresses by which the servers may be dialled."""
    servers = settings.servers
    named = (settings.host, servers.gateways_host, servers.apps_host, socket.gethostname().lower())
    wildcards = filter(None, map(server_wildcard, (settings.host, servers.gateways_host)))
    return tuple(dict.fromkeys((*named, "localhost", "127.0.0.1", "::1", *wildcards)))


def keep_server_certificate(folder: CloudFolder, hosts: Sequence[str], now: int) -> bool:
    """Make the certificate if there is none for these hosts that is good for a while; whether it was made.

    Raises NotInitialised if it is wanted and there is no CA here to sign it.
    """
    if _is_good(folder, hosts, now):
        return False
    authority = folder.authority(GATEWAYS)
    certificate, key = authority.issue_server(hosts, now=now, days=SERVER_DAYS)
    write_private(folder.key(SERVERS), key)
    # With the CA behind it, so that a gateway that knows but the fingerprint sees all it needs.
    write_private(folder.certificate(SERVERS), certificate + authority.certificate)
    log.info("made a certificate for %s, good for %d days", ", ".join(hosts), SERVER_DAYS)
    return True


def _is_good(folder: CloudFolder, hosts: Sequence[str], now: int) -> bool:
    try:
        certificate = folder.certificate(SERVERS).read_text(encoding="ascii")
        folder.key(SERVERS).read_bytes()
        if folder.has_authority():
            signed = folder.authority(GATEWAYS).has_signed(certificate)
            names = set(_plain(hosts)) <= set(_plain(hosts_of(certificate)))
            return signed and names and life(certificate).ends_at > now + RENEWED_DAYS * DAY_MS
        read_certificate(certificate)
    except (OSError, InvalidMessage, NotInitialised):
        return False
    return life(certificate).ends_at > now


def _plain(hosts: Sequence[str]) -> list[str]:
    return [host.lower() for host in hosts]
