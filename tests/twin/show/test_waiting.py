"""What is waited for is shown on a terminal, on stderr, and nowhere else."""

import os
import pty
import subprocess
import sys

import pytest

pytestmark = pytest.mark.fast

PROGRAM = """
import sys
from twin.show.waiting import waiting
with waiting("asking [the] cloud", quiet=sys.argv[1:] == ["--json"]):
    print("answer")
print("error: it is not there", file=sys.stderr)
"""


def seen(stderr, *arguments):
    """What comes on stdout of the program."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=60, check=True).stdout


def on_terminal(*arguments):
    """What comes on stdout, and on a terminal that is stderr."""
    ours, theirs = pty.openpty()
    try:
        answer = seen(theirs, *arguments)
        return answer, os.read(ours, 65536).decode()
    finally:
        os.close(theirs)
        os.close(ours)


def test_it_is_shown_on_a_terminal_and_the_answer_is_where_it_was():
    answer, shown = on_terminal()
    assert answer == "answer\n"
    assert "asking [the] cloud" in shown
    assert "0:00:00" in shown
    assert shown.rpartition("\x1b[2K")[2] == "error: it is not there\r\n"  # the line was cleared before


def test_nothing_is_shown_with_json_nor_where_nobody_looks(tmp_path):
    assert on_terminal("--json") == ("answer\n", "error: it is not there\r\n")
    file = tmp_path / "stderr"
    with file.open("w") as stderr:
        assert seen(stderr) == "answer\n"
    assert file.read_text() == "error: it is not there\n"
