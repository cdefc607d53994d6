"""Carries a provisioning file out. Each step compares first, so that a second run changes nothing.

A step that fails does not keep the others from being tried; only joining the cloud waits for the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from hardware.provision.file import USED, Provisioning
from hardware.provision.machine import Machine
from hardware.provision.receipt import State, StepResult
from hardware.provision.render import (
    NETWORK_PREFIX,
    OURS,
    MachineFile,
    identity_files,
    network_files,
    radio_unit,
    settings_files,
    time_files,
)
from twin.errors import EdgetwinError, LinkError


async def apply(said: Provisioning, machine: Machine) -> tuple[StepResult, ...]:
    """Do all that the file says and that is possible now; say what came of each step."""
    return (
        _files("identity", identity_files(said), machine, ("hostnamectl", "set-hostname", said.gateway.name)),
        _network(said, machine),
        _time(said, machine),
        _settings(said, machine),
        await _devices(said, machine),
        await _cloud(said, machine),
    )


def only_comments(text: str) -> bool:
    """Whether a file says nothing, as the settings that the Debian package brings: it may be replaced."""
    return all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines())


def without_secrets(content: bytes, said: Provisioning, steps: Iterable[StepResult]) -> bytes:
    """The file after its secrets have done their work: it lies on a partition that anyone can read."""
    good = {one.step for one in steps if one.state in (State.APPLIED, State.UNCHANGED)}
    secrets = []
    if "cloud" in good and said.cloud is not None:
        secrets.append(said.cloud.token.get_secret_value())
    if "network" in good:
        secrets += [one.wifi.password.get_secret_value() for one in said.network if one.wifi is not None]
    for secret in filter(None, secrets):
        content = content.replace(secret.encode(), USED.encode())
    return content


def _network(said: Provisioning, machine: Machine) -> StepResult:
    if not said.network:
        return StepResult(step="network", state=State.NOT_SAID)
    used = {one.name for one in said.network if one.wifi and one.wifi.password.get_secret_value() == USED}
    files = [
        one for one in network_files(said) if not (one.secret and one.path.stem.rpartition("supplicant-")[2] in used)
    ]
    wanted = {one.path for one in files}
    try:
        old = [
            one
            for one in machine.names(PurePosixPath("/etc/systemd/network"))
            if one.name.startswith(NETWORK_PREFIX) and one not in wanted
        ]
        for path in old:
            machine.remove(path)
    except OSError as error:
        return _failed("network", error)
    units = [radio_unit(one.name) for one in said.network if one.wifi is not None and one.name]
    # A radio may not be there yet: its unit waits for it, and we do not.
    verbs = (("daemon-reload",), ("enable", *units), ("restart", "--no-block", *units)) if units else ()
    radios = [("systemctl", *verb) for verb in verbs]
    return _files("network", files, machine, ("networkctl", "reload"), *radios, changed=bool(old))


def _time(said: Provisioning, machine: Machine) -> StepResult:
    if said.time is None:
        return StepResult(step="time", state=State.NOT_SAID)
    return _files("time", time_files(said), machine, ("systemctl", "try-restart", "systemd-timesyncd"))


def _settings(said: Provisioning, machine: Machine) -> StepResult:
    files = list(settings_files(said))
    for file in files:
        try:
            there = machine.read(file.path)
        except (OSError, UnicodeDecodeError) as error:
            return _failed("settings", error)
        if there and not there.startswith(OURS) and not only_comments(there):
            detail = f"{file.path} was written by somebody; move it away, or put its keys under settings of the file"
            return StepResult(step="settings", state=State.FAILED, detail=detail)
    return _files("settings", files, machine, ("systemctl", "try-restart", "edgetwin"))


async def _devices(said: Provisioning, machine: Machine) -> StepResult:
    if not said.devices.strip():
        return StepResult(step="devices", state=State.NOT_SAID)
    try:
        changed = await machine.apply(said.devices)
    except EdgetwinError as error:
        return StepResult(step="devices", state=State.FAILED, detail=str(error))
    return StepResult(step="devices", state=State.APPLIED if changed else State.UNCHANGED)


async def _cloud(said: Provisioning, machine: Machine) -> StepResult:
    if said.cloud is None:
        return StepResult(step="cloud", state=State.NOT_SAID)
    if known := machine.joined():
        if known == said.gateway.name:
            return StepResult(step="cloud", state=State.UNCHANGED, detail=f"has joined as {known}")
        detail = f"this gateway has joined a cloud as {known} already; `edgetwin join --again` leaves it"
        return StepResult(step="cloud", state=State.FAILED, detail=detail)
    if said.cloud.used:
        detail = "the token was used, and the keys it gave are gone; ask for another one"
        return StepResult(step="cloud", state=State.FAILED, detail=detail)
    if doubt := machine.doubt_of_clock():
        return StepResult(step="cloud", state=State.WAITING, detail=doubt)
    try:
        await machine.join(said.cloud.join_token(), said.gateway.name)
    except LinkError as error:
        return StepResult(step="cloud", state=State.WAITING, detail=str(error))
    except EdgetwinError as error:
        return StepResult(step="cloud", state=State.FAILED, detail=str(error))
    return StepResult(step="cloud", state=State.APPLIED, detail=f"joined as {said.gateway.name}")


def _files(
    step: str, files: Iterable[MachineFile], machine: Machine, *tell: tuple[str, ...], changed: bool = False
) -> StepResult:
    """Write those that are other, and tell the running system when there was one."""
    try:
        for file in files:
            if machine.read(file.path) != file.text:
                machine.write(file)
                changed = True
    except (OSError, UnicodeDecodeError) as error:
        return _failed(step, error)
    if not changed:
        return StepResult(step=step, state=State.UNCHANGED)
    why = next(filter(None, [machine.run(*one) for one in tell]), "")
    return StepResult(step=step, state=State.APPLIED, detail=f"in force at the next start: {why}" if why else "")


def _failed(step: str, error: OSError | UnicodeDecodeError) -> StepResult:
    return StepResult(step=step, state=State.FAILED, detail=str(error))
