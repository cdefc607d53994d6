"""Asks the cloud for certificates over HTTPS. The CA is known by its fingerprint, so no other can pass as the cloud."""

from __future__ import annotations

import asyncio
import http
import http.client
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edgehub.cloud_keys import CloudKeys
from twin.certificates import BEGIN, fingerprint, new_key, request, sign_renewal
from twin.errors import EdgetwinError, InvalidMessage, LinkError, StoreError, error_from_wire
from twin.private_file import write_private
from twin.wire.codec import decode, encode
from twin.wire.enrolment import (
    CA_PATH,
    JOIN_PATH,
    MAX_BYTES,
    MAX_LIST_BYTES,
    RENEW_PATH,
    REVOKED_PATH,
    Enrolled,
    JoinRequest,
    JoinToken,
    RenewRequest,
)

TIMEOUT_S: Final = 20.0
_CHECK: Final = "Check the address in the token, the network, and that the cloud runs."


async def join(token: JoinToken, gateway: str, keys: CloudKeys) -> Enrolled:
    """Make a key, have it signed, and keep both. Raises EdgetwinError; the identity that was there stands."""
    return await asyncio.to_thread(_join, token, gateway, keys)


async def renew(keys: CloudKeys) -> Enrolled:
    """Have a new key signed for the certificate in force, and keep both. Raises EdgetwinError; the old one stands."""
    return await asyncio.to_thread(_renew, keys)


async def revoked(keys: CloudKeys) -> bytes:
    """The cloud's list of revoked certificates of gateways, which is signed, but looked at by nobody yet.

    Raises EdgetwinError.
    """
    return await asyncio.to_thread(_revoked, keys)


def _revoked(keys: CloudKeys) -> bytes:
    url, context = keys.joined().enrol_url, _known(keys.ca.read_text(encoding="ascii"))
    return _exchange(url, "GET", REVOKED_PATH, b"", context, MAX_LIST_BYTES)


def _join(token: JoinToken, gateway: str, keys: CloudKeys) -> Enrolled:
    ca = _authority(token)
    key = _next_key(keys)
    body = encode(JoinRequest(secret=token.secret, gateway=gateway, csr=request(key, gateway)))
    enrolled = _checked(_ask(token.url, JOIN_PATH, body, ca), ca, gateway)
    _keep(keys.folder, lambda: keys.keep_joined(token, enrolled, key))
    return enrolled


def _renew(keys: CloudKeys) -> Enrolled:
    place = keys.joined()
    ca = keys.ca.read_text(encoding="ascii")
    old = keys.pair.read_text(encoding="ascii")
    certificate = old[old.index(BEGIN) :]
    key = _next_key(keys)
    csr = request(key, place.gateway)
    body = encode(RenewRequest(certificate=certificate, csr=csr, signature=sign_renewal(old, csr)))
    enrolled = _checked(_ask(place.enrol_url, RENEW_PATH, body, ca), ca, place.gateway)
    _keep(keys.folder, lambda: keys.keep_renewed(enrolled, key))
    return enrolled


def _authority(token: JoinToken) -> str:
    """The CA that the token names. It comes over a connection that proves nothing; its fingerprint proves it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    ca = _exchange(token.url, "GET", CA_PATH, b"", context).decode("ascii", "replace")
    try:
        found = fingerprint(ca)
    except InvalidMessage:
        found = "none"
    if found != token.ca:
        message = f"{token.url} has another CA than the join token says ({found[:16]}..., not {token.ca[:16]}...)"
        raise EdgetwinError(message, remedy="Somebody may be between you and the cloud. Ask for a new token.")
    return ca


def _next_key(keys: CloudKeys) -> str:
    """The key to ask for; the one of a try whose answer was lost, if there was one."""
    try:
        return keys.next_key.read_text(encoding="ascii")
    except OSError:
        key = new_key()
    keys.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(keys.next_key, key)
    return key


def _checked(answer: bytes, ca: str, gateway: str) -> Enrolled:
    enrolled = decode(Enrolled, answer, what="the cloud's answer", max_bytes=2 * MAX_BYTES)
    if enrolled.gateway != gateway:
        message = f"the cloud gave a certificate for {enrolled.gateway!r}, not for {gateway!r}"
        raise InvalidMessage(message, remedy="Ask the cloud's admin.")
    if fingerprint(enrolled.ca) != fingerprint(ca):
        message = "the cloud's answer names another CA than the one that was checked"
        raise InvalidMessage(message, remedy="Join again, with a new token.")
    return enrolled


def _ask(url: str, path: str, body: bytes, ca: str) -> bytes:
    return _exchange(url, "POST", path, body, _known(ca))


def _known(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _exchange(
    url: str, method: str, path: str, body: bytes, context: ssl.SSLContext, max_bytes: int = 2 * MAX_BYTES
) -> bytes:
    """One request. Raises LinkError if nobody answers, and the cloud's own error if it says no."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        message = f"{url} is no address of a cloud"
        raise InvalidMessage(message, remedy="It begins with https://. Ask for a new token.")
    connection = http.client.HTTPSConnection(parts.hostname, parts.port or 443, timeout=TIMEOUT_S, context=context)
    try:
        connection.request(method, path, body or None, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        answer = response.read(max_bytes + 1)
    except (OSError, http.client.HTTPException) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        message = f"no answer from the cloud at {url}: {why or type(error).__name__}"
        raise LinkError(message, remedy=_CHECK) from None
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise _refusal(response.status, answer, url)
    return answer


def _refusal(status: int, answer: bytes, url: str) -> EdgetwinError:
    try:
        body = json.loads(answer)
        return error_from_wire(str(body["code"]), str(body["message"])[:1000], str(body["remedy"])[:1000])
    except (ValueError, KeyError, TypeError, RecursionError):
        return LinkError(f"{url} answers with HTTP status {status}", remedy=_CHECK)


def _keep(folder: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        message = f"the certificate cannot be written to {folder}: {error.strerror}"
        raise StoreError(message, remedy="Make room, then run the command again; the cloud gives it again.") from error
