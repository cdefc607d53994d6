"""The identity store in SQL that SQLite and PostgreSQL both speak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as changed
from typing import Any, Final, Self

from cloudsync.identity.database import Database, Session, database_of
from cloudsync.identity.model import Account, AccountKind, Issued, Token
from cloudsync.identity.roles import Role
from cloudsync.identity.store import Changes
from twin.errors import JoinRefused, NameTaken, RenewalRefused, StoreTooNew, UnknownAccount

VERSION: Final = 1
KEPT_MS: Final = 400 * 24 * 3600 * 1000
"""How long what is over is kept: longer than any grace."""

_TABLES: Final = (
    """CREATE TABLE identity_state (one INTEGER PRIMARY KEY, version INTEGER NOT NULL, revision BIGINT NOT NULL)""",
    """CREATE TABLE identity_account (
        name TEXT PRIMARY KEY, kind TEXT NOT NULL, role TEXT NOT NULL, created_at BIGINT NOT NULL,
        revoked_at BIGINT NOT NULL, api_token TEXT NOT NULL, revision BIGINT NOT NULL)""",
    """CREATE INDEX identity_account_revision ON identity_account (revision)""",
    """CREATE INDEX identity_account_api_token ON identity_account (api_token)""",
    """CREATE TABLE identity_certificate (
        serial TEXT PRIMARY KEY, account TEXT NOT NULL, begins_at BIGINT NOT NULL, ends_at BIGINT NOT NULL,
        revoked_at BIGINT NOT NULL)""",
    """CREATE INDEX identity_certificate_account ON identity_certificate (account)""",
    """CREATE TABLE identity_token (
        id TEXT PRIMARY KEY, secret TEXT NOT NULL UNIQUE, gateway TEXT NOT NULL, created_by TEXT NOT NULL,
        created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, used_at BIGINT NOT NULL, used_by TEXT NOT NULL,
        used_key TEXT NOT NULL, revoked_at BIGINT NOT NULL)""",
    """CREATE TABLE identity_file (name TEXT PRIMARY KEY, text TEXT NOT NULL)""",
    f"""INSERT INTO identity_state (one, version, revision) VALUES (1, {VERSION}, 0)""",
)
_ACCOUNT: Final = "name, kind, role, created_at, revoked_at"
_ISSUED: Final = "serial, account, begins_at, ends_at, revoked_at"
_TOKEN: Final = "id, gateway, created_by, created_at, expires_at, used_at, used_by, revoked_at"


class SqlIdentityStore:
    """An IdentityStore on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __aenter__(self) -> Self:
        """Connect and make the tables."""
        try:
            await self._database.open(_prepare)
        except BaseException:
            await self._database.close()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Let go."""
        await self._database.close()

    async def put_token(self, token: Token, secret_hash: str) -> None:
        """Keep a new token."""
        async with self._database.transaction() as session:
            await session.fetch(
                "INSERT INTO identity_token (id, secret, gateway, created_by, created_at, expires_at, used_at, used_by,"
                " used_key, revoked_at) VALUES ($1, $2, $3, $4, $5, $6, 0, '', '', 0)",
                *(token.id, secret_hash, token.gateway, token.created_by, token.created_at, token.expires_at),
            )
            await session.fetch("DELETE FROM identity_token WHERE expires_at < $1", token.created_at - KEPT_MS)

    async def tokens(self) -> list[Token]:
        """All of them, oldest first."""
        async with self._database.reading() as session:
            rows = await session.fetch(f"SELECT {_TOKEN} FROM identity_token ORDER BY created_at, id")
        return [Token(*row) for row in rows]

    async def revoke_token(self, token_id: str, at: int) -> None:
        """End a token."""
        async with self._database.transaction() as session:
            found = await session.fetch(
                "UPDATE identity_token SET revoked_at = CASE WHEN used_at = 0 AND revoked_at = 0 THEN $1"
                " ELSE revoked_at END WHERE id = $2 RETURNING id",
                *(at, token_id),
            )
            if not found:
                message = f"there is no token {token_id!r}"
                raise UnknownAccount(message, remedy="`edgetwin cloud token list` shows them.")

    async def enrol(self, secret_hash: str, key: str, issued: Issued, at: int) -> None:
        """Use up a token for a certificate."""
        name = issued.account
        async with self._database.transaction() as session:
            revision = await _next_revision(session)
            found = await session.fetch(f"SELECT {_TOKEN}, used_key FROM identity_token WHERE secret = $1", secret_hash)
            token, used_key = (Token(*found[0][:-1]), found[0][-1]) if found else (None, "")
            again = token is not None and (token.used_by, used_key) == (name, key)
            _check_token(token, name, at, again=again)
            known = await _account(session, name)
            if known is not None and (
                known.kind is not AccountKind.GATEWAY or not (again or (token and token.gateway == name))
            ):
                raise _taken(known)
            await session.fetch(
                "UPDATE identity_token SET used_at = $1, used_by = $2, used_key = $3 WHERE secret = $4",
                *(at, name, key, secret_hash),
            )
            await _revoke_certificates(session, name, at)
            await session.fetch(
                "INSERT INTO identity_account (name, kind, role, created_at, revoked_at, api_token, revision)"
                " VALUES ($1, $2, '', $3, 0, '', $4)"
                " ON CONFLICT (name) DO UPDATE SET revoked_at = 0, revision = EXCLUDED.revision",
                *(name, AccountKind.GATEWAY.value, at, revision),
            )
            await _add_certificate(session, issued)

    async def put_user(self, account: Account, api_token_hash: str, issued: Issued, *, replace: bool) -> None:
        """Make a user."""
        async with self._database.transaction() as session:
            revision = await _next_revision(session)
            known = await _account(session, account.name)
            if known is not None and (known.kind is not AccountKind.USER or (known.active and not replace)):
                raise _taken(known)
            await _revoke_certificates(session, account.name, account.created_at)
            await session.fetch(
                "INSERT INTO identity_account (name, kind, role, created_at, revoked_at, api_token, revision)"
                " VALUES ($1, $2, $3, $4, 0, $5, $6) ON CONFLICT (name) DO UPDATE SET role = EXCLUDED.role,"
                " revoked_at = 0, api_token = EXCLUDED.api_token, revision = EXCLUDED.revision",
                *(account.name, AccountKind.USER.value, (account.role or Role.VIEWER).value, account.created_at),
                *(api_token_hash, revision),
            )
            await _add_certificate(session, issued)

    async def put_certificate(self, issued: Issued) -> None:
        """Keep a further certificate."""
        async with self._database.transaction() as session:
            await _next_revision(session)
            known = await _account(session, issued.account)
            if known is None or not known.active:
                message = f"{issued.account} is {'revoked' if known else 'not known here'}"
                raise RenewalRefused(message, remedy="Join again, with a token of `edgetwin cloud token create`.")
            await _add_certificate(session, issued)
            await session.fetch(
                "DELETE FROM identity_certificate WHERE account = $1 AND ends_at < $2",
                *(issued.account, issued.begins_at - KEPT_MS),
            )

    async def certificate(self, serial: str) -> Issued | None:
        """One that was given out."""
        async with self._database.reading() as session:
            rows = await session.fetch(f"SELECT {_ISSUED} FROM identity_certificate WHERE serial = $1", serial)
        return Issued(*rows[0]) if rows else None

    async def revoked(self, kind: AccountKind, at: int) -> list[Issued]:
        """The revoked certificates of one kind of account that would still be good, by serial."""
        async with self._database.reading() as session:
            rows = await session.fetch(
                "SELECT c.serial, c.account, c.begins_at, c.ends_at, c.revoked_at FROM identity_certificate c"
                " JOIN identity_account a ON a.name = c.account"
                " WHERE a.kind = $1 AND c.revoked_at <> 0 AND c.ends_at > $2 ORDER BY c.serial",
                *(kind.value, at),
            )
        return [Issued(*row) for row in rows]

    async def ends(self, kind: AccountKind) -> dict[str, int]:
        """When the newest good certificate of each active account ends."""
        async with self._database.reading() as session:
            rows = await session.fetch(
                "SELECT c.account, MAX(c.ends_at) FROM identity_certificate c JOIN identity_account a"
                " ON a.name = c.account WHERE a.kind = $1 AND a.revoked_at = 0 AND c.revoked_at = 0 GROUP BY c.account",
                kind.value,
            )
        return dict(rows)

    async def revoke(self, name: str, kind: AccountKind, at: int) -> Account:
        """End an account with its certificates."""
        async with self._database.transaction() as session:
            revision = await _next_revision(session)
            known = await _account(session, name)
            if known is None or known.kind is not kind:
                message = f"there is no {kind} {name!r}"
                raise UnknownAccount(message, remedy=f"`edgetwin cloud {kind} list` shows them.")
            if not known.active:
                return known
            await session.fetch(
                "UPDATE identity_account SET revoked_at = $1, api_token = '', revision = $2 WHERE name = $3",
                *(at, revision, name),
            )
            await _revoke_certificates(session, name, at)
            return changed(known, revoked_at=at)

    async def account(self, name: str) -> Account | None:
        """One of them."""
        async with self._database.reading() as session:
            return await _account(session, name)

    async def changes(self, since: int) -> Changes:
        """Accounts that changed after a revision."""
        async with self._database.reading() as session:
            (now,) = (await session.fetch("SELECT revision FROM identity_state"))[0]
            rows = []
            if now != since:
                rows = await session.fetch(
                    f"SELECT {_ACCOUNT} FROM identity_account WHERE revision > $1 AND revision <= $2 ORDER BY name",
                    *(since, now),
                )
        return Changes(tuple(map(_read_account, rows)), now)

    async def user_of(self, api_token_hash: str) -> Account | None:
        """The active user with this API token."""
        async with self._database.reading() as session:
            rows = await session.fetch(
                f"SELECT {_ACCOUNT} FROM identity_account WHERE api_token = $1 AND api_token <> '' AND revoked_at = 0",
                api_token_hash,
            )
        return _read_account(rows[0]) if rows else None

    async def publish(self, files: Sequence[tuple[str, str]]) -> None:
        """Keep texts for brokers on other machines."""
        async with self._database.transaction() as session:
            await _next_revision(session)
            for name, text in files:
                await session.fetch(
                    "INSERT INTO identity_file (name, text) VALUES ($1, $2)"
                    " ON CONFLICT (name) DO UPDATE SET text = EXCLUDED.text",
                    *(name, text),
                )

    async def published(self) -> dict[str, str]:
        """Name and text of each."""
        async with self._database.reading() as session:
            rows = await session.fetch("SELECT name, text FROM identity_file")
        return dict(rows)


def identity_store(url: str) -> SqlIdentityStore:
    """The identities in the database of a store's URL."""
    return SqlIdentityStore(database_of(url))


async def _prepare(session: Session) -> None:
    if not await session.has_table("identity_state"):
        for statement in _TABLES:
            await session.fetch(statement)
        return
    (version,) = (await session.fetch("SELECT version FROM identity_state"))[0]
    if version > VERSION:
        message = f"the identities were written by a later release (version {version}, this one knows {VERSION})"
        raise StoreTooNew(message, remedy="Use the release that wrote them, or a later one.")


async def _next_revision(session: Session) -> int:
    """Raise the revision. It locks its row, so that whoever writes does so one after the other."""
    rows = await session.fetch("UPDATE identity_state SET revision = revision + 1 RETURNING revision")
    revision: int = rows[0][0]
    return revision


async def _account(session: Session, name: str) -> Account | None:
    rows = await session.fetch(f"SELECT {_ACCOUNT} FROM identity_account WHERE name = $1", name)
    return _read_account(rows[0]) if rows else None


async def _add_certificate(session: Session, issued: Issued) -> None:
    await session.fetch(
        f"INSERT INTO identity_certificate ({_ISSUED}) VALUES ($1, $2, $3, $4, 0)",
        *(issued.serial, issued.account, issued.begins_at, issued.ends_at),
    )


async def _revoke_certificates(session: Session, name: str, at: int) -> None:
    await session.fetch(
        "UPDATE identity_certificate SET revoked_at = $1 WHERE account = $2 AND revoked_at = 0", *(at, name)
    )


def _read_account(row: tuple[Any, ...]) -> Account:
    name, kind, role, created_at, revoked_at = row
    return Account(name, AccountKind(kind), Role(role) if role else None, created_at, revoked_at)


def _check_token(token: Token | None, name: str, at: int, *, again: bool) -> None:
    if token is None:
        message = "the cloud does not know this join token"
    elif token.revoked_at:
        message = "the join token was revoked"
    elif token.expires_at <= at:
        message = "the join token is over"
    elif token.used_at and not again:
        message = "the join token was used already"
    elif token.gateway not in ("", name):
        message = f"the join token is for the gateway {token.gateway}, not for {name}"
    else:
        return
    raise JoinRefused(message, remedy="Ask for another: `edgetwin cloud token create`.")


def _taken(known: Account) -> NameTaken:
    state = "" if known.active else ", which is revoked"
    message = f"{known.name} is the name of a {known.kind} already{state}"
    if known.kind is AccountKind.GATEWAY:
        remedy = (
            f"To replace that gateway: `edgetwin cloud token create --gateway {known.name}`. Else use another name."
        )
    else:
        remedy = "Choose another name, or --replace its credentials; gateways and users share one list."
    return NameTaken(message, remedy=remedy)
