"""`edgetwin cloud token`, `gateway` and `user`: who may come to the cloud."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cloudsync.cli import ADMIN, Config, Json
from cloudsync.identity.model import Account, AccountKind
from cloudsync.identity.roles import Role
from cloudsync.local import local_identities
from twin.clock import SystemClock
from twin.console import ExitCode, run_command
from twin.errors import Refused

Out = Annotated[Path | None, typer.Option("--out", help="Write the credentials to this file, 0600, instead.")]


# -- tokens ------------------------------------------------------------------------------------------------------


def token_create(
    gateway: Annotated[
        str, typer.Option("--gateway", help="Only for a gateway of this name; also to replace one.")
    ] = "",
    ttl: Annotated[str, typer.Option("--ttl", help="For how long it is good: 10m, 1h, 2d.")] = "1h",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a join token: one use, shown once. On the gateway: edgetwin join TOKEN.

    Example: edgetwin cloud token create --gateway hall-1 --ttl 1h
    """
    run_command(_token_create(gateway, ttl, config, as_json))


async def _token_create(gateway: str, ttl: str, config: Path | None, as_json: bool) -> int:
    async with local_identities(config) as (identities, _):
        token, text = await identities.create_token(gateway, _seconds(ttl), by=ADMIN)
    if as_json:
        typer.echo(json.dumps({"id": token.id, "gateway": gateway, "expires_at": token.expires_at, "token": text}))
    else:
        typer.echo(text)
        typer.echo(f"token {token.id} for {gateway or 'any gateway'}, until {_time(token.expires_at)}", err=True)
    return ExitCode.DONE


def token_list(config: Config = None, as_json: Json = False) -> None:
    """List join tokens: for whom, until when, who used it. Secrets are not kept.

    Example: edgetwin cloud token list
    """
    run_command(_token_list(config, as_json))


async def _token_list(config: Path | None, as_json: bool) -> int:
    async with local_identities(config) as (_, store):
        tokens = await store.tokens()
    now = SystemClock().now_us() // 1000
    if as_json:
        typer.echo(json.dumps({"tokens": [asdict(token) | {"state": token.state(now)} for token in tokens]}))
        return ExitCode.DONE
    for token in tokens:
        used = f" by {token.used_by}" if token.used_by else ""
        typer.echo(
            f"{token.id}  {token.state(now)}{used}, for {token.gateway or 'any'}, until {_time(token.expires_at)}"
        )
    if not tokens:
        typer.echo("No tokens.")
    return ExitCode.DONE


def token_revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="number of the token; `token list` shows it")],
    config: Config = None,
) -> None:
    """End a join token that was not used yet.

    Example: edgetwin cloud token revoke 0123456789ab
    """
    run_command(_token_revoke(token_id, config))


async def _token_revoke(token_id: str, config: Path | None) -> int:
    async with local_identities(config) as (identities, _):
        await identities.revoke_token(token_id, by=ADMIN)
    typer.echo(f"token {token_id} is revoked")
    return ExitCode.DONE


# -- gateways and users ------------------------------------------------------------------------------------------


def gateway_list(config: Config = None, as_json: Json = False) -> None:
    """List the gateways that have joined, and until when their certificates are good.

    Example: edgetwin cloud gateway list
    """
    run_command(_list(AccountKind.GATEWAY, config, as_json))


def gateway_revoke(name: Annotated[str, typer.Argument(help="name of the gateway")], config: Config = None) -> None:
    """Shut a gateway out: its certificates are revoked and its live session is cut within 5 s.

    Example: edgetwin cloud gateway revoke hall-1
    """
    run_command(_revoke(name, AccountKind.GATEWAY, config))


def user_add(
    name: Annotated[str, typer.Argument(help="name of the user, which is also its account")],
    role: Annotated[Role, typer.Option(help="viewer reads, operator sets too, admin may all.")],
    out: Out = None,
    pem: Annotated[
        Path | None, typer.Option(help="Folder for ca.pem, cert.pem and key.pem, which other MQTT clients take.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="New credentials for one that is there.")] = False,
    config: Config = None,
) -> None:
    """Make a user and print the credentials file: certificate and API token. They are shown once.

    Example: edgetwin cloud user add anna --role operator --out anna.json --pem anna
    """
    run_command(_user_add(name, role, out, pem, replace, config))


async def _user_add(
    name: str, role: Role, out: Path | None, pem: Path | None, replace: bool, config: Path | None
) -> int:
    async with local_identities(config) as (identities, _):
        credentials = await identities.add_user(name, role, by=ADMIN, replace=replace)
    if pem is not None:
        credentials.write_pem(pem)
    if out is None:
        typer.echo(credentials.text(), nl=False)
        return ExitCode.DONE
    credentials.write(out)
    typer.echo(f"user {name}, {role}: credentials in {out}")
    return ExitCode.DONE


def user_list(config: Config = None, as_json: Json = False) -> None:
    """List users, their roles, and until when their certificates are good.

    Example: edgetwin cloud user list
    """
    run_command(_list(AccountKind.USER, config, as_json))


def user_revoke(name: Annotated[str, typer.Argument(help="name of the user")], config: Config = None) -> None:
    """Shut a user out: certificate and API token are not good any more, live sessions are cut within 5 s.

    Example: edgetwin cloud user revoke anna
    """
    run_command(_revoke(name, AccountKind.USER, config))


async def _list(kind: AccountKind, config: Path | None, as_json: bool) -> int:
    async with local_identities(config) as (_, store):
        accounts = [one for one in (await store.changes(0)).accounts if one.kind is kind]
        ends = await store.ends(kind)
    if as_json:
        typer.echo(json.dumps({f"{kind}s": [asdict(one) | {"ends_at": ends.get(one.name, 0)} for one in accounts]}))
        return ExitCode.DONE
    for one in accounts:
        typer.echo(f"{one.name}  {_state(one, ends.get(one.name, 0))}")
    if not accounts:
        typer.echo(f"No {kind}s.")
    return ExitCode.DONE


async def _revoke(name: str, kind: AccountKind, config: Path | None) -> int:
    async with local_identities(config) as (identities, _):
        await identities.revoke(name, kind, by=ADMIN)
    typer.echo(f"{kind} {name} is revoked")
    return ExitCode.DONE


def _state(account: Account, ends_at: int) -> str:
    role = f"{account.role}, " if account.role else ""
    if not account.active:
        return f"{role}revoked {_time(account.revoked_at)}"
    return f"{role}since {_time(account.created_at)}, certificate until {_time(ends_at)}"


def _seconds(text: str) -> float:
    """Read a duration. Raises Refused."""
    from twin.manifest.fields import parsed_duration_ms

    found = parsed_duration_ms(text)
    if not found:
        message = f"--ttl {text!r} is not a duration"
        raise Refused(message, remedy="Write 10m, 1h or 2d.")
    return found / 1000


def _time(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at / 1000))
