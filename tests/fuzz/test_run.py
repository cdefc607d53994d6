"""The long runs: a fault is found, kept and named; a name that is no target is refused."""

import subprocess
import sys

import pytest

from tests.fuzz.run import ROOT, main

PLANTED = """
import sys
from pathlib import Path
from tests.fuzz import run

class Planted:
    def run(given):
        if len(given) > 3:
            raise IndexError("planted")

run.CORPUS = Path(sys.argv.pop())
(run.CORPUS / "planted").mkdir()
run.targets_in = lambda folder: {"planted": Planted}
run.fuzz("planted", run.CORPUS, 30)
"""


def test_a_planted_fault_is_found_and_its_input_is_kept(tmp_path):
    pytest.importorskip("atheris", reason="atheris has no wheel for this machine")
    ran = subprocess.run(
        [sys.executable, "-c", PLANTED, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode
    assert "IndexError: planted" in ran.stdout + ran.stderr
    (found,) = tmp_path.glob("planted-crash-*")
    assert len(found.read_bytes()) > 3


def test_an_input_is_tried_again_by_its_file(tmp_path, capsys):
    found = tmp_path / "crash"
    found.write_bytes(b"{")
    assert main(["--try", str(found), "documents"]) == 0
    assert "is fine" in capsys.readouterr().out


def test_a_name_that_is_no_target_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["nothing"])
    assert "no target nothing; there are" in capsys.readouterr().err
