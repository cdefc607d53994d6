"""The demo with a cloud of its own: its line is cut and restored as the README says."""

import os
import signal
import subprocess
import time

import pytest

from tests.cloudsync.process import EDGETWIN
from tests.typist import typed


@pytest.mark.timeout(120)
def test_the_unsent_leaves_rise_while_the_line_is_cut_and_fall_to_0_and_a_second_demo_takes_nothing(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGETWIN_")}
    environment["EDGETWIN_STATE"] = str(tmp_path / "demo")
    environment["PATH"] += ":/usr/sbin"

    def command(*words):
        return typed(words, environment, 60)

    refused = command("demo", "cut")
    assert refused.returncode != 0
    assert "make demo" in refused.stderr
    with (tmp_path / "demo.log").open("wb") as log:
        demo = subprocess.Popen([*EDGETWIN, "demo"], env=environment, stdout=log, stderr=log)
    try:
        ends_s = time.monotonic() + 60
        while "live" not in command("status").stdout:
            assert time.monotonic() < ends_s, (tmp_path / "demo.log").read_text()
        password = command("web", "show").stdout
        again = command("demo")
        assert again.returncode != 0
        assert f"runs on {tmp_path / 'demo'} already (process {demo.pid})" in again.stderr
        assert command("web", "show").stdout == password
        cut = command("demo", "cut").stdout
        assert "offline" in cut
        counts = [int(line.split()[1]) for line in cut.splitlines() if "unsent" in line]
        assert counts[0] < counts[-1]
        restored = command("demo", "restore")
        assert restored.returncode == 0, restored.stdout
        assert "the cloud has it all again" in restored.stdout
        assert "    0 unsent leaves" in restored.stdout
    finally:
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0
    assert not (tmp_path / "demo" / "run" / "line").exists()
