"""The small process beside each container: it starts the program, owns its log and writes down how it ended.

    hub ──spawn──> shim ──fork──> [init, pid 1 of its own namespaces ──fork──>] program
                    │ fd 3: a lock that is held while the shim lives, so that any hub can tell
                    │ fd 4: one line to the hub that started it: "running" or why not
                    │ fd 5: what to run, in memory, so that Secrets in variables never touch the disk
                    └─ TERM is passed on, USR1 kills

It outlives the hub. It imports nothing of ours and little of Python, because a gateway has one for each container.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any, Final, NoReturn

LOCK_FD: Final = 3
HUB_FD: Final = 4
LAUNCH_FD: Final = 5
FDS: Final = (LOCK_FD, HUB_FD, LAUNCH_FD)
EXIT_BYTES: Final = 256
"""Room that the exit file takes at the start, so that a disk that is full by then cannot keep the end from it."""

_NEWNS, _NEWPID = 0x00020000, 0x20000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_PDEATHSIG, _SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Run the container whose folder is the argument; ends when the container has ended."""
    os.setsid()
    os.chdir(sys.argv[1])
    for fd in FDS:
        os.set_inheritable(fd, False)
    ends = os.open("exit.json", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(ends, 0)
        os.pwrite(ends, b" " * EXIT_BYTES, 0)
        os.fsync(ends)
        with open(LAUNCH_FD, encoding="utf-8") as file:  # noqa: PTH123  # pathlib costs memory a container
            launch = json.load(file)
        Shim(launch, ends).run()
    except Exception as error:  # noqa: BLE001  # a supervisor boundary: the hub must hear why
        _tell_hub(_said(error))
        sys.exit(1)


class Shim:
    """One run of one container."""

    def __init__(self, launch: dict[str, Any], ends: int) -> None:
        self._launch = launch
        self._ends = ends
        self._child = 0
        self._log = Log(launch["log_max_bytes"], launch["log_files"])

    def run(self) -> None:
        """Start the program, carry its output to the log, write down its end."""
        _libc.prctl(_SUBREAPER, 1, 0, 0, 0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: self._signal(signal.SIGTERM))
        signal.signal(signal.SIGUSR1, lambda *_: self._signal(signal.SIGKILL))
        output, said = os.pipe()
        fault_of, fault = os.pipe()
        if self._launch["isolate"] and _libc.unshare(_NEWPID):
            _raise("its own processes")
        self._child = os.fork()
        if self._child == 0:
            for fd in (output, fault_of, self._ends, HUB_FD):
                os.close(fd)
            _be_child(self._launch, said, fault)
        os.close(said)
        os.close(fault)
        broken = _read_all(fault_of)
        if broken:
            os.waitpid(self._child, 0)
            _tell_hub(broken)
            sys.exit(1)
        self._say_started()
        _tell_hub("running")
        status = self._follow(output)
        code = os.waitstatus_to_exitcode(status)
        self._kill_left()
        end = json.dumps({"run": self._launch["run"], "code": code, "at": _boot_s(), "boot": _boot_id()})
        os.pwrite(self._ends, end.ljust(EXIT_BYTES - 1).encode() + b"\n", 0)
        os.fsync(self._ends)

    def _say_started(self) -> None:
        said = {"run": self._launch["run"], "shim": os.getpid(), "pid": self._child, "at": _boot_s()}
        with open("started.tmp", "w", encoding="utf-8") as file:  # noqa: PTH123  # pathlib costs memory a container
            json.dump({**said, "boot": _boot_id()}, file)
        os.rename("started.tmp", "started.json")  # noqa: PTH104  # as above

    def _follow(self, output: int) -> int:
        """Carry output until the program ends; what it left in the pipe is carried too."""
        ended = os.pidfd_open(self._child)
        os.set_blocking(output, False)
        poll = select.poll()
        poll.register(output, select.POLLIN)
        poll.register(ended, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if output in ready and not self._log.copy(output):
                poll.unregister(output)
            if ended in ready:
                while self._log.copy(output):
                    pass
                return os.waitpid(self._child, 0)[1]

    def _signal(self, number: int) -> None:
        if not self._child:
            return
        try:
            if number == signal.SIGKILL and not self._launch["isolate"]:
                os.killpg(self._child, number)
            else:
                os.kill(self._child, number)
        except ProcessLookupError:
            pass

    def _kill_left(self) -> None:
        """Kill what the program has left behind: its group, and whoever came to us as an orphan."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child, signal.SIGKILL)
        for _ in range(100):
            try:
                with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:  # noqa: PTH123
                    orphans = [int(pid) for pid in file.read().split()]
            except OSError:
                return
            if not orphans:
                return
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


class Log:
    """The container's output as it came, in files of bounded size; a full disk loses output, nothing else."""

    def __init__(self, max_bytes: int, files: int) -> None:
        self._max_bytes = max_bytes
        self._files = files
        self._open()

    def copy(self, source: int) -> bool:
        """Copy what is there; False when there is no more for now."""
        try:
            chunk = os.read(source, min(65536, self._max_bytes))
        except BlockingIOError:
            return False
        if not chunk:
            return False
        try:
            if self._size + len(chunk) > self._max_bytes and self._size:
                self._rotate()
            os.write(self._fd, chunk)
            self._size += len(chunk)
        except OSError:
            pass
        return True

    def _open(self) -> None:
        self._fd = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        os.close(self._fd)
        for number in range(self._files - 1, 0, -1):
            older = "log" if number == 1 else f"log.{number - 1}"
            if os.path.exists(older):  # noqa: PTH110  # pathlib costs memory a container
                os.rename(older, f"log.{number}")  # noqa: PTH104  # as above
        if self._files == 1:
            os.truncate("log", 0)
        self._open()


def _be_child(launch: dict[str, Any], said: int, fault: int) -> NoReturn:
    """Become the program, or the init that starts it; never returns."""
    try:
        _libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.setpgid(0, 0)
        for path in launch["cgroups"]:
            with open(f"{path}/cgroup.procs", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write("0")
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        if launch["isolate"]:
            _enter(launch)
            _be_init(fault)
        _exec(launch)
    except BaseException as error:  # noqa: BLE001  # whatever it is, the shim must hear it
        os.write(fault, _said(error).encode()[:2000])
    os._exit(127)


def _be_init(fault: int) -> None:
    """Start the program as pid 2, pass TERM on, reap orphans, end as it ends. Returns in the program."""
    program = os.fork()
    if program == 0:
        os.setpgid(0, 0)
        return
    os.close(fault)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(program, signal.SIGTERM))
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            os._exit(127)
        if pid == program:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _enter(launch: dict[str, Any]) -> None:
    """Make the container's own view of files: a root if it has one, its volumes, its own /proc."""
    if _libc.unshare(_NEWNS):
        _raise("its own mounts")
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    root = launch["root"]
    if root:
        layers = f"lowerdir={launch['image']},upperdir={root}/upper,workdir={root}/work"
        root = f"{root}/merged"
        _mount("overlay", root, "overlay", 0, layers)
        for system in ("dev", "sys"):
            os.makedirs(f"{root}/{system}", exist_ok=True)  # noqa: PTH103  # pathlib costs memory a container
            _mount(f"/{system}", f"{root}/{system}", None, _MS_BIND | _MS_REC)
        os.makedirs(f"{root}/proc", exist_ok=True)  # noqa: PTH103  # as above
    for source, target, read_only in launch["mounts"]:
        place = root + target
        if os.path.isdir(source):  # noqa: PTH112  # as above
            os.makedirs(place, exist_ok=True)  # noqa: PTH103  # as above
        elif not os.path.exists(place):  # noqa: PTH110  # as above
            os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120  # as above
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
        _mount(source, place, None, _MS_BIND | _MS_REC)
        if read_only:
            _mount(source, place, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY)
    if root:
        os.chroot(root)
        os.chdir("/")
    _mount("proc", "/proc", "proc", 0)


def _exec(launch: dict[str, Any]) -> NoReturn:
    os.chdir(launch["cwd"] or "/")
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    program = launch["argv"][0]
    try:
        os.execvpe(program, launch["argv"], launch["env"])
    except OSError as error:  # the library names the last place that it looked at
        raise OSError(error.errno, error.strerror, program) from None


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, options)]
    if _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]):
        _raise(f"{kind or source} at {target}")


def _raise(what: str) -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), what)


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {error}"


def _tell_hub(line: str) -> None:
    try:
        os.write(HUB_FD, line.encode()[:4000])
        os.close(HUB_FD)
    except OSError:
        pass  # the hub that started us has ended; the next one reads our files


def _read_all(fd: int) -> str:
    parts = []
    while part := os.read(fd, 4096):
        parts.append(part)
    os.close(fd)
    return b"".join(parts).decode(errors="replace")


def _boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
        return file.read().strip()


if __name__ == "__main__":
    main()
