"""What podman answers, as types; of each answer only what is used."""

from __future__ import annotations

import signal
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Answer(BaseModel):
    """Any answer."""

    model_config = ConfigDict(frozen=True)


class Listed(Answer):
    """One container of a list."""

    id: str = Field(alias="Id")
    labels: dict[str, str] | None = Field(None, alias="Labels")


class State(Answer):
    """What podman knows of the processes of a container."""

    status: str = Field(alias="Status")
    pid: int = Field(0, alias="Pid")
    conmon: int = Field(0, alias="ConmonPid")
    code: int = Field(0, alias="ExitCode")
    oom: bool = Field(False, alias="OOMKilled")
    started_at: datetime = Field(alias="StartedAt")
    finished_at: datetime = Field(alias="FinishedAt")

    @property
    def is_over(self) -> bool:
        """Whether it ran and has ended."""
        return self.status in ("exited", "stopped")


class Network(Answer):
    """A container's place in one network."""

    address: str = Field("", alias="IPAddress")


class Networks(Answer):
    """A container's networks."""

    by_name: dict[str, Network] | None = Field(None, alias="Networks")


def _signal(value: object) -> object:
    """Podman 4 gives the number of a signal, podman 5 its name."""
    if isinstance(value, str):
        name = value.upper() if value.upper().startswith("SIG") else f"SIG{value.upper()}"
        return int(value) if value.isdigit() else getattr(signal, name, signal.SIGTERM)
    return value


class Config(Answer):
    """What a container was made with."""

    labels: dict[str, str] | None = Field(None, alias="Labels")
    stop_signal: Annotated[int, BeforeValidator(_signal)] = Field(0, alias="StopSignal")


class Inspected(Answer):
    """All that is asked about one container."""

    id: str = Field(alias="Id")
    state: State = Field(alias="State")
    config: Config = Field(Config(), alias="Config")
    networks: Networks = Field(Networks(), alias="NetworkSettings")

    @property
    def address(self) -> str:
        """Its address in a network of its own, empty without."""
        return next((one.address for one in (self.networks.by_name or {}).values() if one.address), "")


class PodInspected(Answer):
    """What is asked about one pod."""

    id: str = Field(alias="Id")
    infra: str = Field("", alias="InfraContainerID")


class Fault(Answer):
    """Why not."""

    message: str = ""
    error: str = ""


class Made(Answer):
    """What was made."""

    id: str = Field(alias="Id")


class Session(Answer):
    """One command in a container."""

    pid: int = Field(0, alias="Pid")
    code: int = Field(0, alias="ExitCode")
