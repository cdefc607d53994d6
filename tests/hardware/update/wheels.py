"""Wheels without a network: of the libraries that are installed here, and of this tree under another version."""

from __future__ import annotations

import tomllib
import zipfile
from collections.abc import Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.tags import sys_tags
from packaging.utils import canonicalize_name

LEFT_OUT = ("asyncua", "bleak", "pytest")
"""Large ones that a hub without such devices does not import."""
TREE = Path(__file__).resolve().parents[3]


def needed() -> list[Distribution]:
    """All that edgetwin needs to run, as it is installed here."""
    said = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    found: dict[str, Distribution] = {}
    waiting = [Requirement(line) for line in said]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if (
            name in found
            or name in LEFT_OUT
            or (one.marker and not one.marker.evaluate({**default_environment(), "extra": ""}))
        ):
            continue
        found[name] = distribution(name)
        waiting += [Requirement(line) for line in found[name].requires or []]
    return list(found.values())


def installed_wheel(dist: Distribution, folder: Path) -> Path:
    """The wheel that a library was installed from, near enough."""
    purelib = "Root-Is-Purelib: true" in (dist.read_text("WHEEL") or "")
    tag = "py3-none-any" if purelib else str(next(iter(sys_tags())))
    name = dist.metadata["Name"].replace("-", "_").replace(".", "_")
    path = folder / f"{name}-{dist.version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for one in dist.files or []:
            outside = ".." in one.parts or one.suffix == ".pyc" or "tests" in one.parts
            if not outside and one.locate().is_file():
                wheel.write(one.locate(), str(one))
    return path


def own_wheel(version: str, folder: Path, changed: Mapping[str, str] = {}) -> Path:
    """This tree as a wheel of some version; ``changed`` files have another text."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))
    path = folder / f"edgetwin-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for package in project["tool"]["setuptools"]["packages"]:
            for file in sorted((TREE / package.replace(".", "/")).iterdir()):
                name = str(file.relative_to(TREE))
                if file.is_file() and name not in changed:
                    wheel.write(file, name)
        for name, text in changed.items():
            wheel.writestr(name, text)
        info = f"edgetwin-{version}.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: edgetwin\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        mappers = project["project"]["entry-points"]["edgetwin.mappers"]
        lines = "\n".join(f"{name} = {value}" for name, value in mappers.items())
        wheel.writestr(f"{info}/entry_points.txt", f"[edgetwin.mappers]\n{lines}\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def small_wheel(version: str, folder: Path, *, starts: bool = True, more: str = "") -> Path:
    """A wheel that has nothing of edgetwin but its name and `--version`."""
    path = folder / f"edgetwin-{version}-py3-none-any.whl"
    body = f"print('edgetwin {version}')" if starts else "raise SystemExit('broken on purpose')"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("edgehub/__init__.py", "")
        wheel.writestr("edgehub/cli.py", f"{more}def main():\n    {body}\n")
    return path
