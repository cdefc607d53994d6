"""What may be done with identities: each act checks, changes the store, and leaves a line in the audit log.

token ──> join (key made on the gateway) ──> certificate ──> renewed until revoked
user  ──> credentials (certificate and API token)        ──> revoked
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from cloudsync.identity.ca import DAY_MS, Authority, key_of, name_of, serial_of
from cloudsync.identity.credentials import Credentials, Servers
from cloudsync.identity.errors import NotInitialised
from cloudsync.identity.folder import GATEWAYS, list_file
from cloudsync.identity.model import Account, AccountKind, Token
from cloudsync.identity.roles import Role
from cloudsync.identity.secret import hashed, new_secret
from cloudsync.identity.store import IdentityStore
from cloudsync.store import AuditEntry
from twin.certificates import fingerprint, is_signed_renewal, life, new_key, request
from twin.clock import Clock
from twin.errors import IdentityRefused, RenewalRefused
from twin.model import checked_name
from twin.wire.enrolment import Enrolled, JoinRequest, JoinToken, RenewRequest

Audit = Callable[[AuditEntry], Awaitable[None]]
MAX_TTL_S: Final = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Lives:
    """For how long things are good."""

    gateway_days: int = 30
    user_days: int = 365
    grace_days: int = 90
    """How long after its end a gateway's certificate can be renewed."""


class Identities:
    """The cloud's identities, with the keys that sign."""

    def __init__(
        self,
        store: IdentityStore,
        gateways: Authority,
        users: Authority,
        *,
        servers: Servers,
        lives: Lives,
        clock: Clock,
        audit: Audit,
    ) -> None:
        self._store = store
        self._gateways = gateways
        self._users = users
        self._servers = servers
        self._lives = lives
        self._clock = clock
        self._audit = audit

    async def create_token(self, gateway: str, ttl_s: float, *, by: str) -> tuple[Token, str]:
        """A token for one gateway, or for whoever has it; and the text that is shown once."""
        if gateway:
            checked_name(gateway, "gateway")
        if not 1 <= ttl_s <= MAX_TTL_S:
            message = f"a join token cannot be good for {ttl_s:g} s"
            raise IdentityRefused(message, remedy="Give it from 1s to 30d.")
        now, secret = self._now(), new_secret()
        token = Token(secrets.token_hex(6), gateway, by, now, now + int(ttl_s * 1000))
        await self._store.put_token(token, hashed(secret))
        await self._tell(by, "token.create", gateway or "any gateway", f"token {token.id}, good for {ttl_s:g} s")
        text = JoinToken(
            url=self._servers.url,
            host=self._servers.gateways_host,
            port=self._servers.gateways_port,
            ca=fingerprint(self._gateways.certificate),
            secret=secret,
            gateway=gateway,
        ).text()
        return token, text

    async def revoke_token(self, token_id: str, *, by: str) -> None:
        """End a token. Raises UnknownAccount."""
        await self._store.revoke_token(token_id, self._now())
        await self._tell(by, "token.revoke", f"token {token_id}")

    async def join(self, asked: JoinRequest, *, where: str) -> Enrolled:
        """Give a gateway its first certificate. Raises JoinRefused, NameTaken, InvalidName, InvalidMessage."""
        name = checked_name(asked.gateway, "gateway")
        try:
            certificate, issued = self._gateways.issue_gateway(
                asked.csr, name, now=self._now(), days=self._lives.gateway_days
            )
            await self._store.enrol(hashed(asked.secret), key_of(asked.csr), issued, self._now())
        except IdentityRefused as error:
            await self._tell(name, "gateway.join", name, f"from {where}: {error.message}", outcome=error.code)
            raise
        await self._tell(name, "gateway.join", name, f"from {where}, certificate {issued.serial}")
        return Enrolled(gateway=name, certificate=certificate, ca=self._gateways.certificate)

    async def renew(self, asked: RenewRequest, *, where: str) -> Enrolled:
        """Give a gateway a new certificate for its old one. Raises RenewalRefused, InvalidMessage."""
        name = await self._renewable(asked, where)
        certificate, issued = self._gateways.issue_gateway(
            asked.csr, name, now=self._now(), days=self._lives.gateway_days
        )
        await self._store.put_certificate(issued)
        await self._tell(name, "gateway.renew", name, f"from {where}, certificate {issued.serial}")
        return Enrolled(gateway=name, certificate=certificate, ca=self._gateways.certificate)

    async def add_user(self, name: str, role: Role, *, by: str, replace: bool = False) -> Credentials:
        """Make a user; the credentials are nowhere kept. Raises NameTaken, InvalidName."""
        checked_name(name, "user")
        key, api_token = new_key(), new_secret()
        certificate, issued = self._users.issue(request(key, name), name, now=self._now(), days=self._lives.user_days)
        account = Account(name, AccountKind.USER, role, self._now())
        await self._store.put_user(account, hashed(api_token), issued, replace=replace)
        await self._tell(by, "user.add", name, f"role {role}, certificate {issued.serial}")
        return Credentials(
            account=name,
            role=role,
            host=self._servers.apps_host,
            port=self._servers.apps_port,
            url=self._servers.url,
            ca=self._gateways.certificate,
            certificate=certificate,
            key=key,
            api_token=api_token,
        )

    async def revoke(self, name: str, kind: AccountKind, *, by: str) -> Account:
        """End a gateway or a user. Raises UnknownAccount."""
        account = await self._store.revoke(name, kind, self._now())
        await self._tell(by, f"{kind}.revoke", name)
        return account

    async def deny(self, name: str, what: str) -> None:
        """Note that somebody asked for what its role does not grant."""
        await self._tell(name, "identity", what, outcome="forbidden")

    async def revocations(self) -> str:
        """The gateways' revoked certificates, as the list was signed and published last. Raises NotInitialised."""
        text = (await self._store.published()).get(list_file(GATEWAYS))
        if text is None:
            message = "no list of revoked certificates was published yet"
            raise NotInitialised(message, remedy="It comes with the brokers of this cloud.")
        return text

    async def _renewable(self, asked: RenewRequest, where: str) -> str:
        """The name of the gateway that may have a new certificate."""
        now = self._now()
        certificate = asked.certificate
        name = name_of(certificate)
        ends_at = life(certificate).ends_at
        kept = await self._store.certificate(serial_of(certificate)) if self._gateways.has_signed(certificate) else None
        if kept is None or kept.account != name:
            why = "the certificate is none that this cloud gave to a gateway"
        elif kept.revoked_at:
            why = f"the certificate of {name} was revoked"
        elif not is_signed_renewal(certificate, asked.csr, asked.signature):
            why = f"the request is not signed by the key of {name}"
        elif now > ends_at + self._lives.grace_days * DAY_MS:
            why = f"the certificate of {name} ended more than {self._lives.grace_days} days ago"
        else:
            return name
        await self._tell(name[:63], "gateway.renew", name[:63], f"from {where}: {why}", outcome=RenewalRefused.code)
        raise RenewalRefused(why, remedy="Join again, with a token of `edgetwin cloud token create`.")

    def _now(self) -> int:
        return self._clock.now_us() // 1000

    async def _tell(self, by: str, action: str, subject: str, what: str = "", outcome: str = "accepted") -> None:
        await self._audit(AuditEntry(self._now(), by, action, subject, what, outcome))
