"""`edgetwin mapper new`: the project passes its own tests, installs, and is a mapper like any other."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgehub.cli import application
from mappers.sdk.scaffold import new_project

ROOT = Path(__file__).resolve().parents[2]


def run(*words: str):
    return CliRunner().invoke(application(words), list(words))


def child(*words: str, cwd: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    """A program beside the tree, with our packages and those in ``path``."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (path, str(ROOT))))}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def edgetwin(*words: str, cwd: Path, path: str) -> subprocess.CompletedProcess[str]:
    return child("-c", "from edgehub.cli import main; main()", *words, cwd=cwd, path=path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    done = run("mapper", "new", "soil-probe", "--folder", str(tmp_path / "soil-probe"))
    assert done.exit_code == 0, done.output
    return tmp_path / "soil-probe"


def code_lines(text: str) -> int:
    """Lines of code: without blank lines, comments and docstrings."""
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    said = {
        number
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
        for number in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for number, line in lines if number not in said and line.strip() and not line.strip().startswith("#"))


@pytest.mark.fast
def test_a_working_mapper_is_at_most_40_lines_in_a_project_of_at_most_5_files(project):
    files = [path for path in project.rglob("*") if path.is_file()]
    assert len(files) <= 5
    assert 20 < code_lines((project / "soil_probe_mapper.py").read_text()) <= 40


def test_its_tests_pass_at_once(project):
    done = child("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed, (\d+) skipped", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) > 80
    assert f"soil-probe: {int(passed[1]) - 2} done, {passed[2]} exempt" in done.stdout


def test_a_mistake_in_the_driver_fails_its_tests(project):
    module = project / "soil_probe_mapper.py"
    module.write_text(module.read_text().replace('f"get {place}"', '"get pump1.speed"'))
    assert child("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", cwd=project).returncode == 1


def test_installed_it_is_listed_and_described_and_its_sample_is_taken(project, tmp_path):
    place = tmp_path / "site"
    pip = ("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(place))
    done = child(*pip, str(project), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(edgetwin("mapper", "list", "--json", cwd=tmp_path, path=str(place)).stdout)["mappers"]
    (row,) = [row for row in rows if row["name"] == "soil-probe"]
    assert (row["package"], row["error"]) == ("edgetwin-mapper-soil-probe 0.1.0", None)
    schema = json.loads(edgetwin("mapper", "schema", "soil-probe", cwd=tmp_path, path=str(place)).stdout)
    assert "key" in schema["$defs"]["Address"]["properties"]
    fits = edgetwin("mapper", "check", "soil-probe/sample.yaml", cwd=tmp_path, path=str(place))
    assert (fits.returncode, fits.stdout) == (0, "1 device model, 1 connection, 1 device: all fit\n")
    shown = edgetwin("mapper", "simulate", "soil-probe/sample.yaml", "--once", cwd=tmp_path, path=str(place))
    assert "default/soil-probe-pump-1  speed " in shown.stdout
    told = edgetwin("apply", "-f", "soil-probe/sample.yaml", "--dry-run", cwd=tmp_path, path=str(place))
    assert told.returncode == 0, told.stderr


@pytest.mark.fast
@pytest.mark.parametrize(
    "name", ["Soil", "soil_probe", "3com", "a--b", "-a", "a-", "", "ä", "a/b", "../x", "a" * 31, "soil.probe"]
)
def test_a_bad_name_is_refused_and_nothing_is_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("mapper", "new", "--", name)
    assert done.exit_code == 4
    assert f"error: {name!r} cannot be the name of a mapper\n  Use small letters" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fast
def test_a_name_that_is_taken_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("mapper", "new", "modbus")
    assert (done.exit_code, list(tmp_path.iterdir())) == (4, [])
    assert "error: a mapper 'modbus' is installed already\n  Choose another name" in done.stderr


@pytest.mark.fast
def test_a_folder_that_is_there_is_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "probe").mkdir()
    done = run("mapper", "new", "probe")
    assert done.exit_code == 4
    assert done.stderr == "error: probe is there already\n  Name another place, or move it away.\n"
    assert list((tmp_path / "probe").iterdir()) == []


@pytest.mark.fast
def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("mapper", "new", "probe", "--folder", str(tmp_path / "file/probe"))
    assert done.exit_code == 4
    assert "was not written: Not a directory\n  Name a place that may be written to." in done.stderr


@pytest.mark.fast
def test_a_dry_run_says_the_files_and_writes_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("mapper", "new", "probe", "--dry-run")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()][:5] == [f"probe/{name}" for name in files_of("probe")]
    assert json.loads(run("mapper", "new", "probe", "--dry-run", "--json").stdout)["written"] is False
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fast
@pytest.mark.parametrize("name", ["a", "x9", "soil-probe-2"])
def test_the_module_is_one_that_python_can_import(name):
    made = new_project(name)
    assert made.module.isidentifier()
    assert not re.search("@[A-Z]+@", "".join(made.files.values()))


def files_of(name: str) -> list[str]:
    return list(new_project(name).files)
