"""Logins for programs of the user's: `edgetwin account create` writes them, the hub gives them to the broker.

Passwords are kept as Mosquitto's own hashes; the file is 0600.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from edgehub import accounts
from twin.broker_accounts import SALT_BYTES, Account, new_password, password_hash
from twin.errors import EdgetwinError, StoreError
from twin.model import TwinKey, checked_name
from twin.private_file import write_private

RESERVED: Final = frozenset({accounts.HUB, accounts.CLI, accounts.WEB, accounts.MAPPER})


class InvalidLogin(EdgetwinError):
    """A login that cannot be made or read."""

    code = "invalid_login"


class Login(BaseModel):
    """One login: which devices it may report on, besides asking the API."""

    model_config = ConfigDict(frozen=True)

    name: str
    hashed: str
    devices: tuple[str, ...] = ()

    def account(self, names: accounts.DialectNames) -> Account:
        """The broker account of this login."""
        keys = [TwinKey.parse(device) for device in self.devices]
        return accounts.program_account(self.name, self.hashed, keys, names)


class Logins(BaseModel):
    """All logins of a gateway."""

    model_config = ConfigDict(frozen=True)

    logins: tuple[Login, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Logins:
        """Read the file; none there means no logins. Raises InvalidLogin if it is not readable as what it should be."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except (OSError, ValidationError) as error:
            message = f"{path} is not readable as a list of logins: {error}"
            raise InvalidLogin(message, remedy="Remove the file and create the logins again.") from None

    def with_login(self, name: str, devices: tuple[str, ...]) -> tuple[Logins, str]:
        """The logins with one made or replaced, and its password, which is nowhere kept."""
        checked_name(name, "account")
        if name in RESERVED or name.startswith(accounts.PLUGIN_PREFIX):
            message = f"account {name!r} is the gateway's own"
            raise InvalidLogin(message, remedy="Choose another name.")
        password = new_password()
        keys = tuple(str(TwinKey.parse(device)) for device in devices)
        login = Login(name=name, hashed=password_hash(password, secrets.token_bytes(SALT_BYTES)), devices=keys)
        others = tuple(one for one in self.logins if one.name != name)
        return Logins(logins=(*others, login)), password

    def without(self, name: str) -> Logins:
        """The logins with one removed. Raises InvalidLogin if there is none of this name."""
        others = tuple(one for one in self.logins if one.name != name)
        if len(others) == len(self.logins):
            known = ", ".join(one.name for one in self.logins) or "none"
            message = f"there is no account {name!r}"
            raise InvalidLogin(message, remedy=f"Accounts are: {known}.")
        return Logins(logins=others)

    def write(self, path: Path) -> None:
        """Put the file in place, whole. Raises StoreError; the logins stay as they were."""
        try:
            write_private(path, self.model_dump_json(indent=2))
        except OSError as error:
            message = f"{path} cannot be written: {error.strerror}; the accounts are as they were"
            raise StoreError(message, remedy="Check free space, permissions and the disk's health.") from error
