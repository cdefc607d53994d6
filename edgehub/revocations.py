"""The cloud's list of revoked gateways, kept here so that gateways which reach each other directly know it too.

Asked for now and then while the cloud is reached. A list counts if the authority of gateways has signed it and it is
newer than the one that is here: an old one, sent again by somebody, takes nobody back in.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from edgehub.cloud_keys import CloudKeys
from twin.errors import EdgetwinError, InvalidMessage
from twin.private_file import write_private

if TYPE_CHECKING:  # the library for certificates is memory that only a gateway with tunnels should pay
    from cryptography import x509

FIRST_S: Final = 30.0
LOOK_S: Final = 600.0
_REMEDY: Final = "The list that was here before counts. Ask the cloud's admin."

log = logging.getLogger(__name__)


class Revocations:
    """One gateway's. ``keep`` runs beside the session, until cancelled."""

    def __init__(self, keys: CloudKeys, rng: random.Random) -> None:
        self._keys = keys
        self._rng = rng
        self._failure = ""

    async def keep(self) -> None:
        """Ask now and then, each gateway at another time."""
        wait_s = FIRST_S
        while True:
            await asyncio.sleep(wait_s * (0.5 + self._rng.random()))
            await self.step()
            wait_s = LOOK_S

    async def step(self) -> bool:
        """Ask once, if there is a cloud; whether the list is another now."""
        try:
            if self._keys.connection() is None:
                return False
            from edgehub.enrolment import revoked  # as above

            text = await revoked(self._keys)
            news = is_news(text, self._before(), self._keys.ca.read_bytes())
            if news:
                write_private(self._keys.revoked, text.decode("ascii"))
                log.info("the list of revoked gateways is another")
        except (EdgetwinError, OSError) as error:
            # No cloud is no fault, and anything else is said once.
            level = logging.DEBUG if str(error) == self._failure else logging.INFO
            log.log(level, "the list of revoked gateways is not renewed: %s", error)
            self._failure = str(error)
            return False
        self._failure = ""
        return news

    def _before(self) -> bytes:
        try:
            return self._keys.revoked.read_bytes()
        except FileNotFoundError:
            return b""


def is_news(text: bytes, before: bytes, authority: bytes) -> bool:
    """Whether a list is newer than the one before, if any; PEM all of them.

    Raises InvalidMessage for what is no list, or was not signed by the authority.
    """
    from cryptography import x509  # as above

    try:
        listed = x509.load_pem_x509_crl(text)
        signed = listed.is_signature_valid(x509.load_pem_x509_certificate(authority).public_key())  # type: ignore[arg-type]
        number = _number(listed)
    except (ValueError, TypeError, x509.ExtensionNotFound):
        message = "what the cloud calls its list of revoked gateways is none"
        raise InvalidMessage(message, remedy=_REMEDY) from None
    if not signed:
        message = "the list of revoked gateways was not signed by the authority of the gateways"
        raise InvalidMessage(message, remedy=_REMEDY)
    try:
        return not before or number > _number(x509.load_pem_x509_crl(before))
    except (ValueError, x509.ExtensionNotFound):
        return True  # what is here is broken, and better replaced


def _number(listed: x509.CertificateRevocationList) -> int:
    from cryptography import x509  # as above

    return listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
