"""Fuzzes every target for its share of the time: ``python -m tests.fuzz.run [--seconds 600] [NAME ...]``.

Each target runs in a child of its own, guided by atheris. The inputs that reached something new stay in .cache/fuzz and
are where the next run begins. An input that failed is kept there too, and named with the command that tries it again.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / ".cache" / "fuzz"
SLOW_S = 2
"""An input that takes longer is a fault as well."""
SLACK_S = 60


def say(text: str = "", *, end: str = "\n", file=None) -> None:
    print(text, end=end, file=file, flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz.run", description=__doc__)
    parser.add_argument("names", nargs="*", help="targets; all without any")
    parser.add_argument("--seconds", type=int, default=600, help="for all of them together (default: 600)")
    parser.add_argument("--try", dest="again", type=Path, help="one input for the one target that is named")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if given.child:
            fuzz(given.names[0], Path(folder), given.seconds)
        known = targets_in(Path(folder))
        if unknown := [name for name in given.names if name not in known]:
            parser.error(f"no target {', '.join(unknown)}; there are {', '.join(known)}")
        names = given.names or list(known)
        if given.again:
            known[names[0]].run(given.again.read_bytes())
            say(f"{given.again} is fine")
            return 0
        share_s = max(1, given.seconds // len(names))
        failed = [name for name in names if not fuzzed(name, known[name].seeds(), share_s)]
    if failed:
        say(f"error: {len(failed)} of {len(names)} targets failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def targets_in(folder: Path):
    from tests.fuzz.targets import targets  # only now: in a child, atheris has to see it imported

    return targets(folder)


def fuzzed(name: str, seeds, seconds: int) -> bool:
    """Run one target in a child; whether nothing was found."""
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    started = time.monotonic()
    say(f"{name:12} ...", end=" ")
    child = [sys.executable, "-m", "tests.fuzz.run", "--child", "--seconds", str(seconds), name]
    ran = subprocess.run(child, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=seconds + SLACK_S)
    counted = re.findall(r"^#(\d+)|^Done (\d+) runs", ran.stderr, re.MULTILINE)
    count = max((int(one or other) for one, other in counted), default=0)
    say(f"{count} inputs in {time.monotonic() - started:.0f} s: {'nothing found' if not ran.returncode else 'FAILED'}")
    if ran.returncode:
        say("\n".join((ran.stdout + ran.stderr).splitlines()[-30:]))
        for found in sorted(CORPUS.glob(f"{name}-*")):
            say(f"  Try it again: .venv/bin/python -m tests.fuzz.run --try {found.relative_to(ROOT)} {name}")
    return not ran.returncode


def fuzz(name: str, folder: Path, seconds: int) -> None:
    """Fuzz in this process, which ends with it."""
    import atheris  # only here: its wheels are not for every machine

    with atheris.instrument_imports(include=["edgehub", "mappers", "twin"]):
        target = targets_in(folder)[name]
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={SLOW_S}",
        f"-artifact_prefix={CORPUS}/{name}-",
        "-rss_limit_mb=2048",
        "-max_len=8192",
    ]
    atheris.Setup([sys.argv[0], *options, str(CORPUS / name)], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
