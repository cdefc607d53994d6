"""The one folder that holds all state of a gateway, and the account file that the command line finds in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twin.errors import EdgetwinError
from twin.private_file import write_private


class NotRunning(EdgetwinError):
    """No hub runs on this state folder, or its broker cannot be reached."""

    code = "not_running"


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Where each thing lies."""

    path: Path

    @property
    def registry(self) -> Path:
        """Documents that people wrote."""
        return self.path / "registry.json"

    @property
    def database(self) -> Path:
        """Twins and their leaves."""
        return self.path / "state.db"

    @property
    def database_copy(self) -> Path:
        """The last good copy of the twins."""
        return self.path / "state.db.copy"

    @property
    def database_before(self) -> Path:
        """The twins as an earlier release had them, for its return."""
        return self.path / "state.db.before"

    @property
    def reserve(self) -> Path:
        """Room that is given back to a full disk."""
        return self.path / "reserve"

    @property
    def pushes(self) -> Path:
        """How far each push has delivered."""
        return self.path / "push.db"

    @property
    def run(self) -> Path:
        """What is true only while the hub runs."""
        return self.path / "run"

    @property
    def pods(self) -> Path:
        """What the pods were made from, their volumes and logs."""
        return self.path / "pods"

    @property
    def podman(self) -> Path:
        """Images and containers of an own podman."""
        return self.path / "podman"

    @property
    def cli(self) -> Path:
        """The command line's account on the broker."""
        return self.path / "cli.json"

    @property
    def logins(self) -> Path:
        """Accounts that the user made for programs."""
        return self.path / "accounts.json"

    @property
    def keys(self) -> Path:
        """The gateway's identity in the cloud."""
        return self.path / "keys"

    @property
    def kube_api(self) -> Path:
        """Keys of the local Kubernetes API, and the files by which its clients find it."""
        return self.path / "kube-api"

    @property
    def web(self) -> Path:
        """The login, sessions and certificate of the dashboard."""
        return self.path / "web"

    @property
    def health(self) -> Path:
        """How the hub is, for when the broker is not."""
        return self.run / "health.json"

    @property
    def wanted_release(self) -> Path:
        """The release that is desired of the gateway, for the updater."""
        return self.run / "release.json"

    @property
    def update(self) -> Path:
        """The updater's own folder, beside this one: the hub's user may change what is in this one."""
        return self.path.with_name(f"{self.path.name}-update")

    @property
    def update_report(self) -> Path:
        """What the updater says of itself."""
        return self.update / "report.json"

    @property
    def line(self) -> Path:
        """Whether the demo's line to its cloud is cut."""
        return self.run / "line"

    @property
    def cloud(self) -> Path:
        """The demo's own cloud."""
        return self.path / "cloud"

    def make(self) -> None:
        """Make the folders, for us alone. Raises EdgetwinError with the remedy if that is not possible."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.run.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            message = f"state folder {self.path} cannot be made: {error.strerror}"
            raise EdgetwinError(message, remedy="Name a folder that you may write to in EDGETWIN_STATE.") from None


class CliAccess(BaseModel):
    """How the command line reaches the broker; the file is 0600."""

    model_config = ConfigDict(frozen=True)

    host: str
    port: int
    account: str
    password: str = Field(repr=False)
    pid: int
    """The hub that wrote it."""

    def write(self, folder: StateFolder) -> None:
        """Put it where ``read`` finds it."""
        write_private(folder.cli, self.model_dump_json())

    @classmethod
    def read(cls, folder: StateFolder) -> Self:
        """Read it back. Raises NotRunning if no hub has left one."""
        try:
            return cls.model_validate_json(folder.cli.read_bytes())
        except FileNotFoundError:
            message = f"no hub runs on {folder.path}"
            raise NotRunning(message, remedy=START_REMEDY) from None
        except PermissionError:
            message = f"{folder.cli} may not be read by this user"
            raise NotRunning(message, remedy="Run the command as the user that runs the hub.") from None
        except OSError as error:
            message = f"{folder.cli} cannot be read: {error.strerror}"
            raise NotRunning(message, remedy="Name the hub's state folder in EDGETWIN_STATE.") from None
        except ValidationError:
            message = f"{folder.cli} is not readable as an account"
            raise NotRunning(message, remedy="Restart the hub; it writes the file anew.") from None

    def hub_lives(self) -> bool:
        """Whether the process that wrote the file is still there."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


START_REMEDY: Final = "Start one with `edgetwin run` (or `edgetwin demo`), or name its folder in EDGETWIN_STATE."
