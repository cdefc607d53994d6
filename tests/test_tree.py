"""The tree itself: locks without addresses, a wheel of exactly our packages, one home for each outside library."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[1]
OUR_ROOTS = ("twin", "mappers", "edgehub", "mesh", "cloudsync", "hardware")
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z,-]+\])?==[^\s;\\]+( ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")

HOMES = {
    "paho": ("twin/link/",),
    "sqlite3": (
        "twin/sqlite_",
        "twin/query/reader.py",
        "twin/migrations/",
        "cloudsync/store/sqlite",
        "cloudsync/identity/sqlite_database.py",
    ),
    "asyncpg": ("cloudsync/store/postgres", "cloudsync/identity/postgres_database.py"),
    "dns": ("mesh/dns/rare.py", "mesh/dns/asking.py"),
    "uvicorn": ("cloudsync/web.py", "cloudsync/peer_certificate.py", "edgehub/web/process.py"),
    "h11": ("edgehub/pods/podman/http.py", "edgehub/kubeapi/server.py"),
    "sqlglot": ("twin/query/",),
    "tinydb": ("edgehub/registry.py", "edgehub/storage.py"),
    # The demo plant stands for the world outside; it runs in a process of its own.
    "pymodbus": ("mappers/modbus/", "edgehub/demo/plant.py"),
    "bleak": ("mappers/ble/",),
    "bumble": ("mappers/ble/virtual", "edgehub/demo/room.py"),
    "asyncua": ("mappers/opcua/", "edgehub/demo/press.py"),
    "serial": ("mappers/serialgpio/",),
    "gpiod": ("mappers/serialgpio/chip.py",),
}


@cache
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tracked_files() -> list[Path]:
    """What git would commit; files that nobody ignores count too, so that a mistake shows before the commit."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, timeout=30,
    )  # fmt: skip
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def our_sources() -> list[Path]:
    return [path for root in OUR_ROOTS for path in sorted((ROOT / root).rglob("*.py"))]


def test_there_are_four_locks():
    assert [path.name for path in LOCKS] == ["build.lock", "dev.lock", "gateway.lock", "run.lock"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_exact_versions_and_hashes_and_no_address(lock):
    lines = lock.read_text(encoding="utf-8").splitlines()
    strange = [line for line in lines if not PINNED.fullmatch(line) and not HASH.fullmatch(line)]
    assert strange == []
    assert not re.search(r"://|--index|--find-links|--trusted|file:", lock.read_text(encoding="utf-8"))


def test_the_locks_hold_every_library_that_the_project_names():
    extra = project()["project"]["optional-dependencies"]["dev"]
    assert names_of(project()["project"]["dependencies"]) <= locked("run.lock").keys()
    assert names_of(extra) <= locked("dev.lock").keys()
    assert names_of(project()["build-system"]["requires"]) == locked("build.lock").keys()


def test_the_tests_run_against_the_very_libraries_of_the_program():
    run, dev = locked("run.lock"), locked("dev.lock")
    assert {name: dev.get(name) for name in run} == run


def test_the_wheel_lists_every_package_and_no_tests():
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in our_sources()
        if path.name == "__init__.py"
    }  # fmt: skip
    assert set(project()["tool"]["setuptools"]["packages"]) == folders


def test_every_folder_with_sources_is_a_package():
    assert [path for path in our_sources() if not (path.parent / "__init__.py").exists()] == []


def test_files_that_are_no_sources_go_into_the_wheel():
    patterns = project()["tool"]["setuptools"]["package-data"]
    for path in tracked_files():
        parts = path.relative_to(ROOT).parts
        if parts[0] in OUR_ROOTS and path.suffix not in (".py", ".md"):  # pages are for readers of the tree
            package = ".".join(parts[:-1])
            assert any(path.match(pattern) for pattern in patterns.get(package, [])), path


@pytest.mark.parametrize(
    "name", ["edgetwin", ".ci/run", *(f"tools/{n}.sh" for n in ("setup", "mosquitto", "peers", "haproxy", "lock"))]
)
def test_a_program_of_the_tree_is_executable(name):
    assert os.access(ROOT / name, os.X_OK)
    assert (ROOT / name).read_text(encoding="utf-8").startswith("#!")


def test_continuous_integration_runs_exactly_make_test():
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if not line.startswith("#")]
    assert commands == [
        'cd "$(dirname "$0")/.." || exit',
        '[ "$(id -u)" -ne 0 ] || export EDGETWIN_NOT_SKIPPED=hardware',
        "exec make test",
    ]


def test_no_file_names_a_package_index():
    # Spelt in pieces, so that this file does not name them either.
    hosts = re.compile(
        "|".join(("py" + r"pi\.org", "python" + r"hosted\.org", "/simple" + "/?['\"]?$", "--extra-" + "index"))
    )
    found = [
        (path.relative_to(ROOT), line)
        for path in tracked_files()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if hosts.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("library", HOMES)
def test_an_outside_library_has_one_home(library):
    strangers = [
        name
        for path in our_sources()
        if library in imported(path) and not (name := path.relative_to(ROOT).as_posix()).startswith(HOMES[library])
    ]
    assert strangers == []


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def locked(name: str) -> dict[str, str]:
    pins = re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[.*?\])?==(\S+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE
    )
    return {canonical(name): version for name, version in pins}


def names_of(requirements: list[str]) -> set[str]:
    return {canonical(re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]) for requirement in requirements}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
