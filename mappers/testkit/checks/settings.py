"""What people write, and what listing a mapper costs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from mappers.sdk.capability import capabilities
from mappers.sdk.checks import LocalMapper, Part
from mappers.sdk.driver import ConnectionConfig, DeviceConfig, PointConfig
from mappers.testkit.bench import Bench
from mappers.testkit.promise import Promises, Want
from twin.model import NAME

ALL = Promises()

_SECRET: Final = ("password", "secret", "token", "apikey", "api_key", "bindkey", "passphrase")
_IMPORTS: Final = """
import importlib, json, sys
import mappers.sdk
before = set(sys.modules)
module, _, name = sys.argv[1].partition(":")
getattr(importlib.import_module(module), name)
own = module.partition(".")[0]
roots = {one.partition(".")[0] for one in before}
new = {one.partition(".")[0] for one in set(sys.modules) - before} - roots - {own, "mappers", "twin"}
new -= set(sys.stdlib_module_names)
roots = [getattr(sys.modules[one], "__file__", None) or "" for one in sorted(new) if one in sys.modules]
print(json.dumps([one for one in roots if "site-packages" in one or "dist-packages" in one]))
"""


@ALL()
async def the_mapper_has_a_name(bench: Bench) -> None:
    """Its name can stand in documents, and its models are those of the SDK."""
    mapper = bench.mapper
    assert NAME.fullmatch(mapper.name), f"{mapper.name!r} cannot be written in a document"
    assert issubclass(mapper.connection, ConnectionConfig)
    assert issubclass(mapper.device, DeviceConfig)
    assert issubclass(mapper.point, PointConfig)


@ALL()
async def listing_imports_no_driver(bench: Bench) -> None:
    """Importing the mapper imports no library but the SDK's: `mapper list` and the hub's checks pay for it."""
    argv = [sys.executable, "-c", _IMPORTS, bench.adapter.place]
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = await asyncio.to_thread(
        subprocess.run, argv, capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found, f"importing {bench.adapter.place} imports {', '.join(found)}: import it where the driver is made"


@ALL()
async def capabilities_are_as_said(bench: Bench) -> None:
    """What the mapper says that its driver offers is what the driver has."""
    said, had = bench.mapper.capabilities, capabilities(bench.driver())
    assert said == had, f"MAPPER says {sorted(said)}, the driver has {sorted(had)}"


@ALL()
async def schemas_are_json(bench: Bench) -> None:
    """Every model gives a JSON schema that is an object and can be sent."""
    for model in (*_models(bench).values(), bench.mapper.scan):
        schema = json.loads(json.dumps(model.model_json_schema()))
        assert schema.get("type") == "object" or "$ref" in schema, f"the schema of {model.__name__} is no object"


@ALL()
async def settings_survive_a_round_trip(bench: Bench) -> None:
    """Settings read, written out and read again are the same."""
    for part, given in _given(bench):
        model = _models(bench)[part]
        read = model.model_validate(dict(given))
        text = json.loads(json.dumps(dict(given)))
        assert model.model_validate(text) == read, f"{part}: {given} is another thing after JSON"
        again = model.model_validate(read.model_dump(by_alias=True, exclude_unset=True))
        assert again == read, f"{part}: {given} is another thing when it is written out and read"


@ALL()
async def unknown_keys_are_refused(bench: Bench) -> None:
    """A key with a typing error is not passed over."""
    for part, given in _given(bench):
        texts = _mistakes(bench, part, {**given, "noSuchKey": 1})
        assert any("noSuchKey" in text for text in texts), f"{part} takes a key noSuchKey"


@ALL()
async def missing_keys_are_named(bench: Bench) -> None:
    """A required key that is left out is named, with what to write."""
    for part, given in _given(bench):
        for key in given:
            rest = {other: one for other, one in given.items() if other != key}
            field = next(
                (one for name, one in _models(bench)[part].model_fields.items() if key in (name, one.alias)), None
            )
            if field is None or not field.is_required():
                continue
            texts = _mistakes(bench, part, rest)
            assert any(key in text for text in texts), f"{part} without {key}: {texts or 'taken'}"


@ALL()
async def a_value_of_the_wrong_kind_is_told_with_a_remedy(bench: Bench) -> None:
    """A map where a word or a number belongs is told in words, with what to write."""
    for part, given in _given(bench):
        for key in given:
            for text in _mistakes(bench, part, {**given, key: {"nonsense": [None]}}):
                assert "\n" in text, f"{part}.{key}: no remedy in {text!r}"


@ALL(Want.WRONG)
async def mistakes_are_told_with_a_remedy(bench: Bench) -> None:
    """The mistakes that people make are told in words, with what to write instead."""
    for wrong in bench.adapter.wrong:
        texts = _mistakes(bench, wrong.part, wrong.settings)
        assert texts, f"{wrong.part} takes {dict(wrong.settings)}"
        assert any(wrong.said in text for text in texts), f"{wrong.said!r} is not in {texts}"
        assert all("\n" in text for text in texts), f"no remedy in {texts}"


@ALL()
async def settings_are_values(bench: Bench) -> None:
    """Settings cannot be changed, and those of a device tell devices apart."""
    for part, given in _given(bench):
        read = _models(bench)[part].model_validate(dict(given))
        name = next(iter(type(read).model_fields), "")
        try:
            setattr(read, name, None)
        except (ValidationError, ValueError, AttributeError):
            continue
        message = f"{part}: {name} can be changed; keep model_config's frozen=True"
        raise AssertionError(message)


@ALL()
async def secrets_are_secret(bench: Bench) -> None:
    """A key that sounds like a secret is of a type that is never shown."""
    for part, model in _models(bench).items():
        for name, one in model.model_fields.items():
            sounds = any(word in name.lower() for word in _SECRET) and "file" not in name.lower()
            kinds = (one.annotation, *getattr(one.annotation, "__args__", ()))
            shown = not any(kind in (SecretStr, SecretBytes) for kind in kinds)
            assert not (sounds and shown), f"{part}.{name} would be shown in logs; make it a SecretStr"


@ALL()
async def making_a_driver_does_nothing(bench: Bench) -> None:
    """The constructor stores settings: it opens nothing and starts nothing."""
    bench.driver()  # what it opened or started would be left behind at the end, for close has nothing to close


def _models(bench: Bench) -> dict[Part, type[BaseModel]]:
    mapper = bench.mapper
    return {Part.CONNECTION: mapper.connection, Part.DEVICE: mapper.device, Part.POINT: mapper.point}


def _given(bench: Bench) -> Iterator[tuple[Part, Mapping[str, Any]]]:
    yield Part.CONNECTION, bench.adapter.connection(bench.line)
    yield Part.DEVICE, bench.adapter.device
    for wired in bench.points:
        yield Part.POINT, wired.visitor


def _mistakes(bench: Bench, part: Part, given: Mapping[str, Any]) -> list[str]:
    found = LocalMapper(bench.mapper).mistakes(part, given)
    return [f"{'.'.join(map(str, one.path))}: {one.text}" + (f"\n{one.remedy}" if one.remedy else "") for one in found]
