"""Writes docs/reference/*.md from the code: settings, topics, errors, commands, metrics, schemas.

Run it after a change of what a user meets: ``.venv/bin/python -m tools.reference``. A test compares the pages with the
code. What has no words of its own in the code is refused by name: give it a description there.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import typer.main
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

import cloudsync
import edgehub
import hardware
import mappers
import twin
from cloudsync.metrics import METRICS as CLOUD_METRICS
from cloudsync.settings import FILE as CLOUD_FILE
from cloudsync.settings import CloudSettings
from edgehub.cli import COMMANDS, Entry, application
from edgehub.metrics import METRICS as GATEWAY_METRICS
from edgehub.settings import FILE, Settings
from mesh.prometheus import MeshCollector
from mesh.snapshot import Snapshot
from tools.schemas import schemas
from twin.errors import EdgetwinError
from twin.wire import topics

TREE: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = TREE / "docs" / "reference"
GENERATED: Final = "Written from the code by `python -m tools.reference`; do not edit."
PACKAGES: Final = (twin, mappers, edgehub, cloudsync, hardware)


class Undocumented(Exception):
    """Something that a user meets and that has no words."""


def needed(words: str | None, what: str, where: str) -> str:
    """The words, if there are any. Raises Undocumented."""
    if words:
        return words
    message = f"{what} has no words of its own; write them in {where}, then run python -m tools.reference"
    raise Undocumented(message)


def pages() -> dict[str, str]:
    """Every page by its file name. Raises Undocumented."""
    makers: dict[str, tuple[str, Callable[[], Iterator[str]]]] = {
        "settings.md": ("Settings of a gateway", lambda: settings_lines(Settings, FILE.variable_of)),
        "cloud-settings.md": ("Settings of a cloud", lambda: settings_lines(CloudSettings, CLOUD_FILE.variable_of)),
        "topics.md": ("Topics", topic_lines),
        "errors.md": ("Error codes", error_lines),
        "commands.md": ("Commands and options", command_lines),
        "metrics.md": ("Metrics", metric_lines),
        "schemas.md": ("Schemas", schema_lines),
    }
    return {
        name: "\n".join([f"# {title}", "", GENERATED, "", *make()]) + "\n" for name, (title, make) in makers.items()
    }


def settings_lines(model: type[BaseModel], variable_of: Callable[[tuple[str, ...]], str]) -> Iterator[str]:
    """A table of each section: key, type, default, meaning, variable."""
    yield from ("| key | type | default | meaning | variable |", "|---|---|---|---|---|")
    for path, field in fields_of(model):
        key = ".".join(path)
        words = needed(field.description, f"the setting {key}", f"its Field(description=...) in {model.__module__}")
        row = (f"`{key}`", type_text(field), default_text(field), words, f"`{variable_of(path)}`")
        yield table_row(row)


def fields_of(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every key with its path, through sections and their sections."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields_of(field.annotation, (*above, name))
        else:
            yield (*above, name), field


def type_text(field: FieldInfo) -> str:
    """What may be written, in words."""
    if field.annotation is SecretStr:
        return "text, kept secret"
    shown = str(getattr(field.annotation, "__name__", field.annotation))
    if choices := getattr(field.annotation, "__args__", ()):
        if shown == "Literal":
            return " or ".join(f"`{one}`" for one in choices)
        shown = {"dict": "names and texts", "list": "a list", "tuple": "a list"}.get(shown, shown)
    text = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(shown, shown)
    limits = {
        name: getattr(one, name) for one in field.metadata for name in ("ge", "gt", "le", "lt") if hasattr(one, name)
    }
    words = {"ge": "at least", "gt": "over", "le": "at most", "lt": "under"}
    return ", ".join([text, *(f"{words[name]} {limit}" for name, limit in limits.items())])


def default_text(field: FieldInfo) -> str:
    """The default as it would be written in the file."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value in ("", None):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def topic_lines() -> Iterator[str]:
    """The module that builds every topic says them."""
    text = (topics.__doc__ or "").partition("\n\n")[2].strip("\n")
    for part in text.split("\n\n"):  # tables are indented, the rest is text
        yield from (
            [*("```text", *(line.removeprefix("    ") for line in part.splitlines()), "```", "")]
            if part.startswith("    ")
            else [part, ""]
        )
    yield "Messages and their rules are in [the wire](../wire.md)."


def error_lines() -> Iterator[str]:
    """Every code with the class that owns it and what it means."""
    yield from ("When each comes, and with which exit code, is in [errors.md](../errors.md).", "")
    yield from ("| code | class | meaning |", "|---|---|---|")
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    names = {package.__name__ for package in PACKAGES}
    found = {one for one in children_of(EdgetwinError) if one.__module__.partition(".")[0] in names}
    for one in sorted(found, key=lambda each: (each.code, each.__module__, each.__qualname__)):
        words = needed(
            first_line(one.__dict__.get("__doc__")),
            f"the error {one.code}",
            f"the docstring of {one.__module__}.{one.__qualname__}",
        )
        yield table_row((f"`{one.code}`", f"`{one.__module__}.{one.__qualname__}`", words))


def children_of(cls: type[EdgetwinError]) -> Iterator[type[EdgetwinError]]:
    """The class and all below it."""
    yield cls
    for child in cls.__subclasses__():
        yield from children_of(child)


def command_lines() -> Iterator[str]:
    """Every command with its arguments and options; ``cli.md`` has them with output."""
    yield from ("With example output: [cli.md](../cli.md). `edgetwin COMMAND --help` says the same.", "")
    for words in leaf_words(COMMANDS):
        command: Any = typer.main.get_command(application(words))
        for word in words:
            command = command.commands[word]
        name = " ".join(words)
        about = needed(command.help, f"the command {name}", "the docstring of its function")
        yield from (f"## {name}", "", *prose(about))
        rows = [row for one in command.params if one.name != "help" for row in parameter_rows(name, one)]
        if rows:
            yield from ("| argument, option | default | meaning |", "|---|---|---|", *rows, "")


def prose(text: str) -> Iterator[str]:
    """A docstring, its example as a command."""
    for part in re.split(r"\n\s*\n", text.strip()):
        line = " ".join(part.split())
        example = line.removeprefix("Example: ")
        yield from (f"Example: `{example}`" if example != line else line, "")


def parameter_rows(command: str, one: Any) -> Iterator[str]:
    """The row of one argument or option."""
    shown = (
        ", ".join((*one.opts, *one.secondary_opts))
        if one.param_type_name == "option"
        else (one.metavar or one.name).upper()
    )
    words = needed(one.help, f"{shown} of the command {command}", "its typer.Argument or typer.Option")
    yield table_row((f"`{shown}`", "needed" if one.required else written_default(one.default), words))


def written_default(default: object) -> str:
    """The default of an option; a place in this tree as it is in any other."""
    if default in (None, False, "") or callable(default):
        return ""
    if isinstance(default, Path) and default.is_relative_to(TREE):
        default = default.relative_to(TREE)
    return f"`{getattr(default, 'value', default)}`"


def leaf_words(commands: Mapping[str, Entry], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command; a group that is a command as well comes before its own."""
    for name, entry in commands.items():
        if entry.target:
            yield (*above, name)
        yield from leaf_words(entry.commands, (*above, name))


def metric_lines() -> Iterator[str]:
    """The tables of gateway and cloud, and the families that a mesh of nothing gives."""
    yield from (
        "How they are scraped: [metrics.md](../metrics.md); the mesh: [flow control](../mesh-flow.md#metrics).",
        "",
    )
    for title, table in (("Of a gateway", GATEWAY_METRICS), ("Of a cloud's worker", CLOUD_METRICS)):
        yield from (f"## {title}", "", "| metric | kind | labels | meaning |", "|---|---|---|---|")
        for one in table.values():
            words = needed(one.help, f"the metric {one.name}", "its Metric")
            yield table_row((f"`{one.name}`", one.type.value, ", ".join(f"`{label}`" for label in one.labels), words))
        yield ""
    yield from ("## Of the mesh", "", "| metric | kind | meaning |", "|---|---|---|")
    for family in MeshCollector(lambda: Snapshot(0.0)).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        words = needed(family.documentation, f"the metric {name}", "mesh/prometheus.py")
        yield table_row((f"`{name}`", family.type, words))


def schema_lines() -> Iterator[str]:
    """Every file of docs/schemas with what it describes."""
    yield from ("| file | describes |", "|---|---|")
    for name, schema in sorted(schemas().items()):
        words = needed(schema_words(schema), f"the schema {name}", f"the docstring of {schema['title']} or of its spec")
        yield table_row((f"[{name}](../schemas/{name})", words))


def schema_words(schema: Mapping[str, Any]) -> str:
    """What a schema says of itself; of a document, what its spec says."""
    spec = schema.get("properties", {}).get("spec", {}).get("$ref", "").rpartition("/")[2]
    return first_line(schema.get("description") or schema.get("$defs", {}).get(spec, {}).get("description"))


def first_line(text: str | None) -> str:
    """The first paragraph on one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


def table_row(cells: tuple[str, ...]) -> str:
    """A row of a table; what would end a cell or be taken for a tag is escaped outside code."""
    parts = [re.split(r"(`[^`]*`)", cell) for cell in cells]
    texts = ["".join(one if one.startswith("`") else one.replace("<", "&lt;") for one in part) for part in parts]
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def main() -> None:
    """Write every page, and remove those that are no more."""
    wanted = pages()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.md"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
