"""What every command that asks a cloud needs: credentials, and a connection to the apps' broker."""

from __future__ import annotations

import os
import random
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from cloudsync.identity.credentials import Credentials, InvalidCredentials
from cloudsync.identity.folder import CloudFolder, state_folder
from twin.client import TwinClient
from twin.errors import LinkError
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions, TlsOptions
from twin.private_file import write_private

CREDENTIALS_ENV: Final = "EDGETWIN_CLOUD_CREDENTIALS"
CONNECT_S: Final = 5.0

CredentialsFile = Annotated[
    Path | None,
    typer.Option(
        "--credentials", help=f"Credentials file; else ${CREDENTIALS_ENV}, else that of the admin of the cloud here."
    ),
]


def find_credentials(given: Path | None, environment: Mapping[str, str]) -> Credentials:
    """The credentials to ask with. Raises InvalidCredentials if there are none."""
    if given is not None:
        return Credentials.read(given)
    if named := environment.get(CREDENTIALS_ENV):
        return Credentials.read(Path(named))
    own = CloudFolder(state_folder(environment)).admin
    if own.exists():
        return Credentials.read(own)
    message = "no credentials for a cloud"
    remedy = (
        f"Name a file with --credentials or in {CREDENTIALS_ENV}; an admin makes one with `edgetwin cloud user add`."
    )
    raise InvalidCredentials(message, remedy=remedy)


@asynccontextmanager
async def cloud_client(given: Path | None, *, timeout_s: float = 10.0) -> AsyncIterator[TwinClient]:
    """Connect to the cloud. Raises InvalidCredentials, LinkError with the reason."""
    credentials = find_credentials(given, os.environ)
    with tempfile.TemporaryDirectory(prefix="edgetwin-") as folder:  # 0700; ssl reads keys from files only
        ca, pair = Path(folder, "ca.pem"), Path(folder, "pair.pem")
        write_private(ca, credentials.ca)
        write_private(pair, credentials.certificate + credentials.key)
        name = f"{credentials.account}-cli-{secrets.token_hex(6)}"
        options = MqttOptions(credentials.host, credentials.port, name, tls=TlsOptions(ca=ca, cert=pair, key=pair))
        async with MqttLink(options, rng=random.Random()) as link:
            try:
                await link.connected(CONNECT_S)
            except LinkError as error:
                message = f"the cloud does not answer: {error.message}"
                remedy = "Check that it runs (`edgetwin cloud status` on its machine), its address, and the network."
                raise LinkError(message, remedy=remedy) from None
            async with TwinClient(
                link, account=credentials.account, client=name, timeout_s=timeout_s, cloud=True
            ) as client:
                yield client
