"""A reader who types a page from top to bottom, and compares what is said with what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.conftest import ROOT, Block, CommandLine, Page, lines_of
from tests.docs.typist import run_edgetwin

COMES_WITHIN_S = 60.0
PASSWORD = "9MFTvRy3nrknrveSVFVHYRGEHEMPkOIdaNOWPDnijM4"
"""The one that pages show."""


def shape(text: str) -> str:
    """A text without what differs from run to run: numbers, times, ids, the width of columns."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r"\b(?=\w*\d)[0-9a-f]{16}\b", "ID", text)
    text = re.sub(r"(?<![\w-])-?\d+(\.\d+)?( (ms|s|min|h|d)\b)?", "0", text)
    return re.sub(r"[ \t]+", " ", text).strip()


def fits(said: str, shown: str, *, moves: bool = False) -> bool:
    """Whether a command said what the page shows, where ``...`` stands for any words; ``moves``: yes may be no."""
    if moves:
        said, shown = (re.sub(r"\b(true|false) *", "false ", text) for text in (said, shown))
    parts = [re.escape(part) for part in re.split(r" ?\.\.\. ?", shape(_bare(shown)))]
    return re.fullmatch(r".*?".join(parts), shape(_bare(said)), re.DOTALL) is not None


def _bare(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines())


@dataclass
class Reader:
    """Types the ``console`` blocks of a page, and the ``sh`` blocks that say ``runs``: they run to the end of the page.

    Marks of a block: ``until`` (again, until it is so), ``moves`` (true may be false), ``second`` (in a second
    terminal, whose output is looked at in the end), ``later`` (another test types it).
    """

    state: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)
    """What the page writes, and what is true here, such as ports."""
    in_a_shell: bool = False
    """Every command is a new program, because what is installed changes on the way."""
    terminals: list[tuple[CommandLine, subprocess.Popen[str]]] = field(default_factory=list)
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def read(self, page: Page) -> None:
        """Type it all. Fails with the place of what differs."""
        try:
            for block in page.blocks:
                if block.kind == "console" and "later" not in block.words:
                    for one in lines_of(block):
                        self._type(block, one)
                elif block.kind == "sh" and "runs" in block.words:
                    self.programs += map(self._begin, block.text.splitlines())
            for one, process in self.terminals:
                said, _ = process.communicate(timeout=COMES_WITHIN_S)
                self._compare(one, self._without_debug(said))
        finally:
            for _, process in self.terminals:
                process.kill()
                process.communicate()
            for program in self.programs:
                program.send_signal(signal.SIGINT)
                program.wait(timeout=30)

    def _type(self, block: Block, one: CommandLine) -> None:
        if "second" in block.words:
            self.terminals.append((one, self._listen(one)))
            return
        ends_s = time.monotonic() + COMES_WITHIN_S
        while True:
            done = self._run(one.line)
            wrong = done.returncode != 0 and not one.output.startswith("error:")
            said = done.stderr if one.output.startswith("error:") else done.stdout
            if "until" not in block.words or time.monotonic() > ends_s:
                assert not wrong, f"{one.place}: {one.line}: exit {done.returncode}\n{done.stdout}{done.stderr}"
                self._compare(one, said, moves="moves" in block.words)
                return
            if not wrong and fits(said, one.output, moves="moves" in block.words):
                return
            time.sleep(0.1)

    def _compare(self, one: CommandLine, said: str, *, moves: bool = False) -> None:
        if one.output:
            same = fits(said, one.output, moves=moves)
            log = self._log.read_text() if self._log.exists() else ""
            assert same, f"{one.place}: {one.line}\nsaid:\n{said}\nthe page shows:\n{one.output}\n{log}"

    def _run(self, line: str) -> subprocess.CompletedProcess[str]:
        line = self._here(line)
        if assigned := re.fullmatch(r"(?:export )?([A-Z_]+)=(.*)", line):
            done = self._shell(f"printf %s {assigned[2]}")
            self.environment[assigned[1]] = done.stdout
            return subprocess.CompletedProcess(line, done.returncode, "", done.stderr)
        if line.startswith("cd "):
            self.folder = (self.folder / line.removeprefix("cd ")).resolve()
            return subprocess.CompletedProcess(line, 0 if self.folder.is_dir() else 1, "", "")
        words = shlex.split(line)
        if words[0].removeprefix("./") == "edgetwin" and not self.in_a_shell and "|" not in words and "$" not in line:
            if words[1:3] == ["account", "create"]:
                return self._account(words)
            return run_edgetwin(self.state, tuple(words[1:]), self.environment, 60.0, self.folder)
        return self._shell(line)

    def _account(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        """Make the account, and keep its password as the page tells to."""
        done = run_edgetwin(self.state, tuple(words[1:]), self.environment, 60.0, self.folder)
        password = done.stdout.split()[-1]
        self.environment["PASSWORD"] = password
        return subprocess.CompletedProcess(words, done.returncode, done.stdout.replace(password, PASSWORD), done.stderr)

    def _shell(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self._whole(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _listen(self, one: CommandLine) -> subprocess.Popen[str]:
        """Start it, and wait until it has subscribed; an account that was just made may need a second try."""
        line = self._here(one.line)
        assert line.startswith("mosquitto_sub ")
        line = line.replace("mosquitto_sub ", "exec stdbuf -oL mosquitto_sub -d ", 1)  # -d: it says when it listens
        ends_s = time.monotonic() + COMES_WITHIN_S
        while True:
            process = subprocess.Popen(
                ["bash", "-c", line], cwd=self.folder, env=self._whole(), text=True, stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            if any(said.startswith("Subscribed") for said in process.stdout):
                return process
            process.communicate()
            assert time.monotonic() < ends_s, f"{one.place}: {line}: it does not listen"
            time.sleep(0.1)

    def _begin(self, line: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                ["bash", "-c", f"exec {self._here(line)}"], cwd=ROOT, env=self._whole(), stdout=log, stderr=log
            )

    @property
    def _log(self) -> Path:
        """What the programs say that run to the end of the page."""
        return self.state.with_name(f"{self.state.name}.log")

    def _here(self, line: str) -> str:
        for shown, here in self.instead.items():
            line = line.replace(shown, here)
        return line

    def _whole(self) -> dict[str, str]:
        return {**os.environ, "EDGETWIN_STATE": str(self.state), **self.environment}

    @staticmethod
    def _without_debug(said: str) -> str:
        return "".join(line + "\n" for line in said.splitlines() if not line.startswith(("Client ", "Subscribed")))
