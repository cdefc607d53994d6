"""A settings file of a process of ours: one pydantic model, every key with a default, overrides from the environment.

Looked for in ``--config``, ``$EDGETWIN_..._CONFIG``, the current folder, ``/etc/edgetwin/``. An empty file, or none, is
valid. Every key has a variable: the prefix and the path of the key, in capitals, with underscores between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from twin.errors import EdgetwinError

FOLDER: Final = Path("/etc/edgetwin")


class InvalidSettings(EdgetwinError):
    """A settings file or override that cannot be used; the text lists every problem."""

    code = "invalid_settings"


class Section(BaseModel):
    """What sections of settings have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=Section)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[Model]):
    """Settings, and where they came from."""

    settings: Model
    file: Path | None
    overrides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettingsFile(Generic[Model]):
    """Which file, for which model. ``variable`` names the file; ``reserved`` begin with the prefix and are no keys."""

    model: type[Model]
    name: str
    prefix: str
    variable: str
    reserved: frozenset[str]
    page: str = "docs/operations.md"

    def load(self, explicit: Path | None, environment: Mapping[str, str]) -> Loaded[Model]:
        """Find, read and check the settings. Raises InvalidSettings with every problem found."""
        file = self._find(explicit, environment)
        tree = _read(file) if file is not None else {}
        overrides = self._override(tree, environment)
        try:
            settings = self.model.model_validate(tree)
        except ValidationError as error:
            lines = [self._line(problem, file, overrides) for problem in error.errors(include_url=False)]
            raise InvalidSettings("\n".join(lines), remedy=f"{self.page} lists every key.") from None
        return Loaded(settings, file, tuple(sorted(overrides)))

    def keys(self) -> Iterator[tuple[str, ...]]:
        """The path of every key, through sections and their sections."""
        return keys_of(self.model)

    def variable_of(self, path: tuple[str, ...]) -> str:
        """The environment variable that overrides a key."""
        return self.prefix + "_".join(path).upper()

    def _find(self, explicit: Path | None, environment: Mapping[str, str]) -> Path | None:
        named = explicit or (Path(environment[self.variable]) if environment.get(self.variable) else None)
        if named is not None:
            if not named.is_file():
                message = f"settings file {named} does not exist"
                raise InvalidSettings(message, remedy="Name an existing file, or leave it out for the defaults.")
            return named
        return next((place for place in (Path(self.name), FOLDER / self.name) if place.is_file()), None)

    def _override(self, tree: dict[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
        """Lay environment variables over the tree; returns key path -> variable."""
        found = {}
        for path in self.keys():
            variable = self.variable_of(path)
            if variable not in environment or variable in self.reserved:
                continue
            branch: Any = tree
            for step in path[:-1]:
                branch = branch.setdefault(step, {}) if isinstance(branch, dict) else None
            if isinstance(branch, dict):
                branch[path[-1]] = environment[variable]
                found[".".join(path)] = variable
        return found

    def _line(self, problem: Any, file: Path | None, overrides: Mapping[str, str]) -> str:
        steps = [str(step) for step in problem["loc"]]
        path = ".".join(steps)
        place = overrides.get(path) or f"{file}: {path}"
        if problem["type"] == "extra_forbidden":
            import difflib  # memory that only who makes a mistake should pay

            known = self._keys_beside(steps)
            near = difflib.get_close_matches(steps[-1], known, 1)
            return f"{place}: there is no such key; " + (f"did you mean {near[0]}?" if near else f"keys are {known}")
        text = str(problem["msg"]).removeprefix("Value error, ")
        shown = "" if self._is_secret(steps) else f" (it is {_without_login(problem['input'])!r})"
        return f"{place}: {text}{shown}"

    def _is_secret(self, steps: list[str]) -> bool:
        """Whether a key, or all keys of a section beside it, may hold a secret."""
        model: Any = self.model
        for step in steps:
            field = model.model_fields.get(step)
            if field is None:
                return False
            model = field.annotation
            if model is SecretStr:
                return True
            if not (isinstance(model, type) and issubclass(model, Section)):
                return False
        return any(field.annotation is SecretStr for field in model.model_fields.values())

    def _keys_beside(self, steps: list[str]) -> list[str]:
        above = steps[:-1]
        return list(dict.fromkeys(path[len(above)] for path in self.keys() if list(path[: len(above)]) == above))


def _without_login(value: object) -> object:
    """An address as it may be shown."""
    return re.sub(r"//[^/@]*@", "//...@", value) if isinstance(value, str) else value


def keys_of(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """The path of every key of a model."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from ((name, *path) for path in keys_of(inner))
        else:
            yield (name,)


def _read(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        message = f"{file}: {' '.join(str(error).split())}"
        raise InvalidSettings(message, remedy="The file must be readable YAML in UTF-8.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        message = f"{file}: the settings must be keys and values, not {type(tree).__name__}"
        raise InvalidSettings(message, remedy="Begin with a section, such as `broker:`.")
    return tree
