"""Runs the tests against each broken rule; a mutant that survives is a rule without proof. See rules.py.

A mutant exists only inside the child process that tries it: its module is changed while it is imported, never on disk.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import subprocess
import sys
import time

import pytest

from tests.mutants.alarm_rules import ALARM_MUTANTS
from tests.mutants.cloud_rules import CLOUD_MUTANTS
from tests.mutants.dns_rules import DNS_MUTANTS
from tests.mutants.export_rules import EXPORT_MUTANTS
from tests.mutants.http_rules import HTTP_MUTANTS
from tests.mutants.identity_rules import IDENTITY_MUTANTS
from tests.mutants.kube_rules import KUBE_MUTANTS
from tests.mutants.media_rules import MEDIA_MUTANTS
from tests.mutants.mesh_core import CORE_MUTANTS
from tests.mutants.mesh_documents import DOCUMENT_MUTANTS
from tests.mutants.mesh_hub import HUB_MUTANTS
from tests.mutants.mesh_rules import MESH_MUTANTS
from tests.mutants.mutant import Mutant
from tests.mutants.page_rules import PAGE_MUTANTS
from tests.mutants.peer_rules import PEER_MUTANTS
from tests.mutants.push_rules import PUSH_MUTANTS
from tests.mutants.rollout_rules import ROLLOUT_MUTANTS
from tests.mutants.rules import MUTANTS
from tests.mutants.scheduler_rules import SCHEDULER_MUTANTS
from tests.mutants.update_rules import UPDATE_MUTANTS

LIMIT_S = 120
ALL = (
    *MUTANTS,
    *CLOUD_MUTANTS,
    *IDENTITY_MUTANTS,
    *KUBE_MUTANTS,
    *SCHEDULER_MUTANTS,
    *ROLLOUT_MUTANTS,
    *MESH_MUTANTS,
    *CORE_MUTANTS,
    *DNS_MUTANTS,
    *DOCUMENT_MUTANTS,
    *PEER_MUTANTS,
    *HTTP_MUTANTS,
    *HUB_MUTANTS,
    *UPDATE_MUTANTS,
    *PAGE_MUTANTS,
    *MEDIA_MUTANTS,
    *ALARM_MUTANTS,
    *PUSH_MUTANTS,
    *EXPORT_MUTANTS,
)
# A mutant that cannot run proves nothing of the tests.
NOT_A_MUTANT = ("NameError", "AttributeError", "ImportError", "SyntaxError", "TypeError", "UnboundLocalError")
# Far from 1 and 2, which any crash of Python or pytest gives.
PASSED, FAILED, BROKEN = 40, 41, 42
BY = "by "


class MutantLoader(importlib.machinery.SourceFileLoader):
    """Loads one module with one rule changed."""

    loaded = False

    def __init__(self, mutant: Mutant, path: str) -> None:
        super().__init__(mutant.module, path)
        self._mutant = mutant

    def get_code(self, fullname: str):
        source = self.get_source(fullname)
        found = source.count(self._mutant.was)
        if found != 1:
            raise SystemExit(f"mutant {self._mutant.name}: its text is {found} times in {fullname}; mend rules.py")
        MutantLoader.loaded = True
        return compile(source.replace(self._mutant.was, self._mutant.becomes), self.path, "exec")


class MutantFinder:
    """Finds the module of one mutant before anyone else does."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, fullname: str, path, target=None):
        if fullname != self._mutant.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        spec.loader = MutantLoader(self._mutant, spec.origin)
        return spec


class Verdict:
    """Counts what pytest ran, and remembers the first test that failed: an exit code alone may be any crash."""

    def __init__(self) -> None:
        self.ran = 0
        self.failed = ""

    def pytest_configure(self) -> None:
        # Imported here, because pytest must come first. Without shrinking: that a test fails is enough.
        from hypothesis import Phase, settings

        settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report) -> None:
        self.ran += report.when == "call"
        if report.failed and not self.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = crash.message.splitlines()[0] if crash else "no reason given"
            self.failed = f"{report.nodeid.rpartition('/')[2]}: {reason}"


def main(arguments: list[str]) -> int:
    """Try all mutants, or those that are named; 1 if one survives."""
    if arguments[:1] == ["--child"]:
        return _child(arguments[1], arguments[2:])
    chosen = [one for one in ALL if not arguments or one.name in arguments]
    # First the rules as they are: tests that fail anyway, or do not run at all, prove nothing.
    every_test = tuple(sorted({test for one in chosen for test in one.tests}))
    control = Mutant("control", "twin.tick", "class Ticker", "class Ticker", every_test)
    if _tried(control) != "SURVIVED":
        sys.stdout.write("the tests fail without any mutant\n")
        return 1
    verdicts = [_tried(mutant) for mutant in chosen]
    return 0 if verdicts and set(verdicts) == {"killed"} else 1


def _tried(mutant: Mutant) -> str:
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.mutants.run", "--child", mutant.name, *mutant.tests]
    output = ""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        verdict = {PASSED: "SURVIVED", FAILED: "killed"}.get(run.returncode, "BROKEN")
        output = run.stdout + run.stderr
    except subprocess.TimeoutExpired:
        verdict = "TIMEOUT"
    shown = "passed, as it must" if mutant.name == "control" and verdict == "SURVIVED" else verdict
    why = next((line for line in output.splitlines() if line.startswith(BY)), "")
    sys.stdout.write(f"{shown:8} {mutant.name:30} {time.monotonic() - began:5.1f} s  {why[:150]}\n")
    if verdict == "BROKEN":
        sys.stdout.write(output[-2000:])
    sys.stdout.flush()
    return verdict


def _child(name: str, tests: list[str]) -> int:
    mutant = next((one for one in ALL if one.name == name), None)
    if mutant is not None:
        sys.meta_path.insert(0, MutantFinder(mutant))
    verdict = Verdict()
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not torture", *tests], plugins=[verdict])
    if mutant is not None and not MutantLoader.loaded:
        return BROKEN  # the tests ran without the mutant
    if code == pytest.ExitCode.TESTS_FAILED and verdict.failed:
        sys.stdout.write(f"\n{BY}{verdict.failed}\n")
        return BROKEN if verdict.failed.partition(": ")[2].startswith(NOT_A_MUTANT) else FAILED
    return PASSED if code == pytest.ExitCode.OK and verdict.ran else BROKEN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
