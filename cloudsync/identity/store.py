"""Where accounts, certificates and join tokens are kept: one contract, in the database of the cloud's store.

Each change raises one revision for all, in its own transaction; who follows asks for what has changed since one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from cloudsync.identity.model import Account, AccountKind, Issued, Token


@dataclass(frozen=True, slots=True)
class Changes:
    """Accounts that changed since a revision, and the revision they bring one to."""

    accounts: tuple[Account, ...]
    revision: int


class IdentityStore(Protocol):
    """Every method raises StoreError when it fails; what raises has changed nothing."""

    async def __aenter__(self) -> Self:
        """Connect and bring the tables up to date. Raises StoreTooNew for those of a later release."""
        ...

    async def __aexit__(self, *exc: object) -> None:
        """Let go."""
        ...

    async def put_token(self, token: Token, secret_hash: str) -> None:
        """Keep a new token."""
        ...

    async def tokens(self) -> list[Token]:
        """All of them, oldest first."""
        ...

    async def revoke_token(self, token_id: str, at: int) -> None:
        """End a token. Raises UnknownAccount; nothing happens to one that was used."""
        ...

    async def enrol(self, secret_hash: str, key: str, issued: Issued, at: int) -> None:
        """Use up a token for a certificate: the gateway is there afterwards, and its other certificates are revoked.

        The same key may use the same token again while it is valid: its answer was lost. Raises JoinRefused for a
        token that is unknown, used, revoked, over or for another gateway, NameTaken for a name that another has.
        """
        ...

    async def put_user(self, account: Account, api_token_hash: str, issued: Issued, *, replace: bool) -> None:
        """Make a user. Raises NameTaken, unless it is to replace the credentials of an old one, which are revoked."""
        ...

    async def put_certificate(self, issued: Issued) -> None:
        """Keep a further certificate. Raises RenewalRefused if the account is not active."""
        ...

    async def certificate(self, serial: str) -> Issued | None:
        """One that was given out."""
        ...

    async def revoked(self, kind: AccountKind, at: int) -> list[Issued]:
        """The revoked certificates of one kind of account that would still be good, by serial."""
        ...

    async def ends(self, kind: AccountKind) -> dict[str, int]:
        """When the newest good certificate of each active account ends."""
        ...

    async def revoke(self, name: str, kind: AccountKind, at: int) -> Account:
        """End an account with its certificates. Raises UnknownAccount; revoked already is fine."""
        ...

    async def account(self, name: str) -> Account | None:
        """One of them."""
        ...

    async def changes(self, since: int) -> Changes:
        """Accounts that changed after a revision; 0 gives all."""
        ...

    async def user_of(self, api_token_hash: str) -> Account | None:
        """The active user with this API token."""
        ...

    async def publish(self, files: Sequence[tuple[str, str]]) -> None:
        """Keep texts (revocation lists) for brokers on other machines; the revision rises, so that they look."""
        ...

    async def published(self) -> dict[str, str]:
        """Name and text of each."""
        ...
