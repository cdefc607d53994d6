"""What the hub asks mappers about settings: ours in this process, plugins each in one of its own.

A plugin that hangs, crashes or eats memory while it is asked is an error with its name, and nothing else.
"""

from __future__ import annotations

import logging
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from mappers.sdk.checks import CheckedMapper, Part
from mappers.sdk.errors import InvalidSettings
from mappers.sdk.inquiry import Answer, AskAliases, AskMismatch, AskMistakes, AskSplit
from mappers.sdk.registry import Registry
from twin.manifest.mistakes import Mistake
from twin.model import ValueType

log = logging.getLogger(__name__)

ANSWER_S: Final = 8.0  # the first answer takes the plugin's import
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
_REMEMBERED: Final = 10_000
_FAILED_S: Final = 60.0  # a plugin that failed is asked again after so long


class HubMappers:
    """The installed mappers as the hub knows them; no code of a plugin runs in this process.

    Calls may take seconds; ``rest`` ends the processes that answered. Answers are remembered.
    """

    def __init__(self, registry: Registry, answer_s: float = ANSWER_S) -> None:
        self._registry = registry
        self._answer_s = answer_s
        self._plugins: dict[str, PluginMapper] = {}

    def names(self) -> tuple[str, ...]:
        """Names of all mappers, working or not."""
        return self._registry.names()

    def is_plugin(self, name: str) -> bool:
        """Whether a mapper is another distribution's."""
        return self._registry.is_plugin(name)

    def checked(self, name: str) -> CheckedMapper:
        """One mapper. Raises InvalidSettings if it is unknown or broken."""
        if not self._registry.is_plugin(name) or self._registry.is_ambiguous(name):
            return self._registry.checked(name)
        plugin = self._plugin(name)
        plugin.aliases()
        return plugin

    def speaking(self, protocol: str) -> CheckedMapper | None:
        """The mapper for a KubeEdge protocolName: one of ours, else a plugin of that name or alias."""
        wanted = protocol.lower()
        plugins = [name for name in self.names() if self.is_plugin(name)]
        ours = self._registry.without(plugins).speaking(protocol)
        if ours is not None:
            return ours
        for name in sorted(plugins, key=lambda name: name != wanted):
            try:
                mapper = self.checked(name)
                if wanted == name or (isinstance(mapper, PluginMapper) and wanted in mapper.aliases()):
                    return mapper
            except InvalidSettings as error:
                log.debug("mapper %s is left out: %s", name, error)
        return None

    def rest(self) -> None:
        """End the processes of plugins until they are asked again."""
        for plugin in self._plugins.values():
            plugin.rest()

    def _plugin(self, name: str) -> PluginMapper:
        if name not in self._plugins:
            self._plugins[name] = PluginMapper(name, self._answer_s)
        return self._plugins[name]


class PluginMapper:
    """A plugin, asked over pipes."""

    def __init__(self, name: str, answer_s: float) -> None:
        self.name = name
        self._answer_s = answer_s
        self._known: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: InvalidSettings | None = None
        self._failed_until = 0.0

    def aliases(self) -> Sequence[str]:
        """KubeEdge's protocol names for it."""
        return list(map(str, self._ask(AskAliases())))

    def split(self, config: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
        """KubeEdge's one map as the keys of the connection and those of the device."""
        connection, device = self._ask(AskSplit(config=dict(config)))
        return dict(connection), dict(device)

    def mistakes(self, part: Part, given: Mapping[str, Any]) -> Sequence[Mistake]:
        """What is wrong with one part."""
        said = self._ask(AskMistakes(part=part, given=dict(given)))
        return [Mistake(tuple(path), text, remedy) for path, text, remedy in said]

    def mismatch(self, visitor: Mapping[str, Any], value_type: ValueType) -> str:
        """Why a property of that type cannot be read by a visitor; empty if it can."""
        return str(self._ask(AskMismatch(given=dict(visitor), type=value_type)))

    def rest(self) -> None:
        """End its process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()

    def _ask(self, question: BaseModel) -> Any:
        """Ask once. Raises InvalidSettings with what the plugin did instead of an answer."""
        line = question.model_dump_json()
        if line in self._known:
            return self._known[line]
        if self._failure is not None and time.monotonic() < self._failed_until:
            raise self._failure
        try:
            answer = Answer.model_validate_json(self._exchange(line.encode() + b"\n"))
        except (OSError, ValidationError) as error:
            text = str(error) if isinstance(error, OSError) else "it wrote what is no answer"
            message = f"mapper {self.name!r} cannot be asked about its settings: {text}"
            failure = InvalidSettings(message, remedy="This is a fault of the mapper; tell its authors.")
            self.rest()
            self._failure, self._failed_until = failure, time.monotonic() + _FAILED_S
            raise failure from error
        if answer.failure:
            raise InvalidSettings(answer.failure, remedy=answer.remedy)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[line] = answer.said
        return answer.said

    def _exchange(self, line: bytes) -> bytes:
        """Write a line, read one. Raises OSError with a text of ours."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        ends_at = time.monotonic() + self._answer_s
        read = b""
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except OSError:
            raise OSError(self._ending(process)) from None
        while not read.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, ends_at - time.monotonic()))
            if not ready:
                message = f"it gave no answer in {self._answer_s:g} s and was ended"
                raise OSError(message)
            chunk = process.stdout.read1(65536)  # type: ignore[attr-defined]  # a buffered pipe has it
            if not chunk:
                raise OSError(self._ending(process))
            read += chunk
            if len(read) > _MAX_ANSWER_BYTES:
                message = f"its answer is over {_MAX_ANSWER_BYTES} bytes"
                raise OSError(message)
        return read

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            argv = (sys.executable, "-m", "mappers.sdk.inquiry", self.name)
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._process

    def _ending(self, process: subprocess.Popen[bytes]) -> str:
        code = process.wait()
        return f"its process ended with {f'exit code {code}' if code >= 0 else f'signal {-code}'}"
