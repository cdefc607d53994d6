"""What the pages show as code is what the product takes and gives."""

from __future__ import annotations

import ast
import re
import shlex
from contextlib import ExitStack

import pytest
import typer
import typer.main
import yaml

from edgehub.cli import COMMANDS, Entry, application
from edgehub.documents import open_documents
from edgehub.settings import Settings
from hardware.provision.file import read_file
from mappers.sdk.config import HostSettings
from twin import alarm, release
from twin.errors import InvalidDocuments
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source
from twin.wire import api, cloud_api, codec, enrolment, mesh, messages, peers, push, sync, sync_bodies
from twin.wire.api import ApplyRequest, DocumentSource

pytestmark = pytest.mark.fast

STARTS = (
    *("sudo apt install", "git clone", "cd ", ".venv/bin/python ", "kubectl ", "export "),
    *("sqlite3 ", "tar ", "mkdir ", "cp "),
    *(
        "mosquitto_pub ",
        "mosquitto_sub ",
        "mosquitto_rr ",
        "curl ",
        "python ",
        "sed ",
        "APP=",
        "ANSWER=",
        "MQTT=",
        "TOKEN=",
    ),
)
"""Other words that a command line may begin with, besides make and edgetwin."""


NO_GROUP = Entry("", "")
USAGE_ERROR = typer.BadParameter.__mro__[1]
"""Typer shows only its leaves."""


def test_every_kind_of_block_is_one_that_is_checked(pages):
    known = {"sh", "console", "yaml", "json", "python", "text", "toml", "ini"}
    assert [str(block) for page in pages for block in page.blocks if block.kind not in known] == []


def test_every_yaml_block_is_documents_or_settings(pages, tmp_path):
    for block in pages.blocks("yaml"):
        if "bad" in block.words:
            continue
        if "provisioning" in block.words:
            path = tmp_path / "provisioning.yaml"
            path.write_text(block.text)
            assert read_file(path).said.version == 1
            continue
        if not block.text.lstrip("#\n ").startswith("apiVersion"):
            Settings.model_validate(yaml.safe_load(block.text) or {})
            continue
        manifest = read_documents([Source(str(block), block.text.encode())])
        assert manifest.documents
        assert not manifest.warnings


@pytest.mark.parametrize("name", ["meter.yaml", "kubeedge-modbus.yaml", "kubeedge-v1alpha2.yaml"])
def test_the_example_documents_are_taken_whole(root, tmp_path, name):
    text = (root / "docs/examples" / name).read_text(encoding="utf-8")
    with open_documents(tmp_path / "registry.json", "gw-1") as documents:
        reply = documents.apply(ApplyRequest(sources=[DocumentSource(name=name, text=text)]))
        assert {change.action for change in reply.changes} == {"created"}
        (connection,) = documents.host_settings().connections
        assert connection.devices[0].points


def test_every_bad_block_is_refused_with_the_text_below_it(pages, tmp_path):
    tried = 0
    for page in pages:
        for block, shown in zip(page.blocks, page.blocks[1:], strict=False):
            if "bad" not in block.words:
                continue
            tried += 1
            with (
                open_documents(tmp_path / f"{tried}.json", "gw-1") as documents,
                pytest.raises(InvalidDocuments) as caught,
            ):
                documents.apply(ApplyRequest(sources=[DocumentSource(name="plant.yaml", text=block.text)]))
            assert f"error: {caught.value}\n" == shown.text, str(block)
    assert tried >= 2


def test_every_json_block_is_a_message(pages):
    for block in pages.blocks("json"):
        assert len(block.words) > 1, f"{block} does not say which message it is"
        message = codec.decode(model_of(block.words[1]), block.text.strip().encode(), what=str(block))
        again = codec.decode(model_of(block.words[1]), codec.encode(message), what=str(block))
        assert again == message
        if block.words[1].startswith("Sync"):
            written = sync.encode_json(sync.decode(block.text.strip().encode()))
            assert codec.decode(model_of(block.words[1]), written, what=str(block)) == message
        if len(block.words) > 2:
            assert isinstance(message, api.Reply)
            model_of(block.words[2]).model_validate(message.result)


def test_every_python_block_is_part_of_an_example_that_runs(pages, root):
    for block in pages.blocks("python"):
        name = block.words[1].removeprefix("file=")
        assert block.text in (root / "docs" / name).read_text(encoding="utf-8"), str(block)


def test_every_command_line_begins_with_a_command_and_parses(pages, root):
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    unknown = []
    for one in pages.command_lines():
        words = without_environment(shlex.split(one.line))
        if not words:
            continue
        if words[0] == "make":
            if words[1] not in targets:
                unknown.append(f"{one.place}: {one.line}: no such target")
        elif words[0] in ("edgetwin", "./edgetwin"):
            if fault := usage_fault(words[1:]):
                unknown.append(f"{one.place}: {one.line}: {fault}")
        elif not one.line.startswith(STARTS):
            unknown.append(f"{one.place}: {one.line}: not a command of ours")
        unknown += [f"{one.place}: {word} does not exist" for word in words if missing_file(root, word)]
    assert unknown == []


def test_the_commands_that_pages_name_in_passing_exist(pages):
    named = {word for page in pages for word in re.findall(r"`(?:\./)?edgetwin ([a-z-]+(?: [a-z-]+)?)", page.prose)}
    commands = {words if COMMANDS.get(words.split()[0], NO_GROUP).commands else words.split()[0] for words in named}
    assert {words for words in commands if usage_fault([*words.split(), "--help"])} == set()


def test_every_function_that_the_walk_names_is_there(pages, root):
    named = re.findall(r"`([\w/]+\.py):([\w.]+)`", pages["docs/one-reading.md"].prose)
    assert len(named) > 15
    assert [f"{file}:{name}" for file, name in named if not defines((root / file).read_text(), name)] == []


def test_the_drawings_of_the_walk_name_functions_of_its_text(pages):
    page = pages["docs/one-reading.md"]
    drawings = "".join(block.text for block in page.blocks if block.kind == "text")
    drawn = set(re.findall(r"^ \d  (\w+\.\w+)", drawings, re.MULTILINE))
    assert len(drawn) > 10
    assert [name for name in drawn if f":{name}`" not in page.prose] == []


def model_of(name: str):
    for module in (messages, api, mesh, cloud_api, sync_bodies, enrolment, peers, push, release, alarm):
        if hasattr(module, name):
            return getattr(module, name)
    return {"HostSettings": HostSettings}[name]


def without_environment(words: list[str]) -> list[str]:
    while words and re.fullmatch(r"EDGETWIN_[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words


def usage_fault(arguments: list[str]) -> str:
    """What is wrong with a command line, read by the real application; empty if it parses."""
    group = typer.main.get_command(application(arguments))
    rest = list(arguments)
    try:
        with ExitStack() as stack:
            context = stack.enter_context(group.make_context("edgetwin", rest))
            while hasattr(group, "commands"):
                at = next((index for index, word in enumerate(rest) if not word.startswith("-")), len(rest))
                name, rest = "".join(rest[at : at + 1]), rest[at + 1 :]
                if not name and getattr(group, "invoke_without_command", False):
                    return ""
                if name not in group.commands:
                    return f"no command {name}"
                group = group.commands[name]
                context = stack.enter_context(group.make_context(name, list(rest), parent=context))
    except typer.Exit:
        return ""
    except USAGE_ERROR as error:
        return f"{type(error).__name__}: {error}"
    return ""


def missing_file(root, word: str) -> bool:
    return word.startswith("docs/") and not (root / word).exists()


DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def defines(source: str, dotted: str) -> bool:
    body = ast.parse(source).body
    for name in dotted.split("."):
        found = [node for node in body if isinstance(node, DEFINITIONS) and node.name == name]
        if not found:
            return False
        body = found[0].body
    return True
