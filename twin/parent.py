"""A child process that must not outlive the process that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

from twin.errors import EdgetwinError

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class ParentGone(EdgetwinError):
    """The process that started us has ended already."""

    code = "parent_gone"


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; without Linux the parent's care must do.

    Raises ParentGone if the parent ended before this call, which the kernel would not tell us.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    if os.getppid() != parent_pid:
        message = f"the parent process {parent_pid} has ended before process {os.getpid()} was ready"
        raise ParentGone(message, remedy="Nothing: start the hub again, it starts its children.")
