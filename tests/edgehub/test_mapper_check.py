"""`edgetwin mapper check`: each class of mistake is told with file, line, key path, value and remedy, word for word.

tests/golden/config/<protocol>/<mistake>.yaml is what somebody wrote, the .txt beside it what they are told.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgehub.checking import checked
from edgehub.cli import application
from mappers.sdk.registry import Registry
from twin.manifest.problems import InvalidManifest
from twin.manifest.yaml import Source

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/config"
MISTAKES = sorted(GOLDEN.rglob("*.yaml"))
SAMPLES = sorted((ROOT / "mappers").rglob("sample.yaml"))


def run(*words: str, given: str = ""):
    return CliRunner().invoke(application(words), list(words), input=given)


@pytest.mark.parametrize("path", MISTAKES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_mistake_is_told_as_recorded(path):
    with pytest.raises(InvalidManifest) as caught:
        checked([Source(path.name, path.read_bytes())], Registry.installed())
    said = f"{caught.value}\n"
    # Names of other mappers come and go.
    assert (
        said.replace(", ".join(Registry.installed().names()), "(the mappers)") == path.with_suffix(".txt").read_text()
    )


def test_every_recorded_text_has_a_place_and_a_remedy():
    assert {path.stem for path in GOLDEN.rglob("*.txt")} == {path.stem for path in MISTAKES}
    assert len(MISTAKES) > 60
    for path in MISTAKES:
        lines = path.with_suffix(".txt").read_text().splitlines()
        assert len(lines) % 2 == 0
        for place, remedy in zip(lines[::2], lines[1::2], strict=True):
            assert place.startswith(f"{path.name}:")
            assert ": spec." in place or ": metadata." in place
            assert remedy.startswith("  ")
            assert remedy.endswith((".", "?"))


def test_a_secret_is_never_shown():
    assert [
        path.name for path in GOLDEN.rglob("*.txt") if "4711" in path.read_text() or "secret@" in path.read_text()
    ] == []


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.parent.name)
def test_the_samples_of_the_mappers_fit(path):
    done = run("mapper", "check", str(path))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.endswith(": all fit\n")


def test_what_fits_is_counted():
    done = run("mapper", "check", str(ROOT / "docs/examples/meter.yaml"))
    assert (done.exit_code, done.stdout) == (0, "1 device model, 1 connection, 1 device: all fit\n")


def test_problems_of_several_files_are_told_together_and_as_json():
    files = [str(GOLDEN / "modbus/port-too-high.yaml"), str(GOLDEN / "any/no-such-mapper.yaml")]
    done = run("mapper", "check", files[0])
    assert done.exit_code == 4
    assert done.stderr.startswith(f"error: {files[0]}:17: spec.config.port: port 99999 is over 65535\n  Write a whole")
    done = run("mapper", "check", files[0], "--json")
    assert done.exit_code == 4
    assert json.loads(done.stdout)["problems"] == [
        {
            "file": files[0],
            "line": 17,
            "path": "spec.config.port",
            "text": "port 99999 is over 65535",
            "remedy": "Write a whole number from 1 to 65535.",
        }
    ]
    done = run("mapper", "check", str(GOLDEN / "any"))
    assert "any/connection-twice.yaml:8: " in done.stderr
    assert "any/no-such-model.yaml:3: " in done.stderr
    assert json.loads(run("mapper", "check", str(ROOT / "docs/examples/meter.yaml"), "--json").stdout)["problems"] == []


def test_a_fault_of_a_model_is_told_once_however_many_devices_have_it():
    text = (GOLDEN / "modbus/six-digit-address.yaml").read_text()
    device = text[text.rindex("---") :]
    done = run("mapper", "check", "-", given=text + device.replace("pump-1", "pump-2"))
    assert done.exit_code == 4
    assert done.stderr.count("is over 65535") == 1
    assert done.stderr.startswith("error: stdin:10: ")


def test_a_file_that_is_not_there_is_refused():
    done = run("mapper", "check", "no-such-file.yaml")
    assert done.exit_code == 4
    assert done.stderr.startswith("error: no-such-file.yaml cannot be read: ")
