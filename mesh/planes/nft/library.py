"""libnftables through ctypes: says to the kernel what has been written as nft's text, one transaction each.

The context is kept, for starting a program instead costs 20 ms. It is bound to the network namespace of the thread that
opened it, and must be used by one thread at a time.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final, Self

from mesh.errors import PlaneError

_NAMES: Final = ("libnftables.so.1", "libnftables.so")
_REMEDY: Final = "Install it (Debian: libnftables1, Fedora: nftables), or let userspace carry the services"
_LONGEST: Final = 500
_LARGE: Final = 50_000
"""A text from which on the memory that it took is given back: 40 MB with 1 000 services, which would stay otherwise."""


class Nft:
    """A context of libnftables."""

    def __init__(self) -> None:
        self._lib: ctypes.CDLL | None = None
        self._context: int | None = None

    def open(self, *, dry: bool = False) -> Self:
        """Load the library; ``dry``: nothing is put in force. Raises PlaneError if this machine has none."""
        self._lib = _load()
        context = self._lib.nft_ctx_new(0)
        if not context:
            msg = "libnftables gives no context"
            raise PlaneError(msg, remedy="Look whether the machine is out of memory")
        self._context = context
        self._lib.nft_ctx_buffer_error(context)
        self._lib.nft_ctx_buffer_output(context)
        self._lib.nft_ctx_set_dry_run(context, dry)
        return self

    def run(self, text: str) -> None:
        """Carry out all of it or nothing. Raises PlaneError with the first complaint."""
        if self._lib is None or self._context is None:
            msg = "libnftables is not open"
            raise PlaneError(msg)
        failed = self._lib.nft_run_cmd_from_buffer(self._context, text.encode())
        complaint: bytes = self._lib.nft_ctx_get_error_buffer(self._context)
        self._lib.nft_ctx_get_output_buffer(self._context)
        if len(text) > _LARGE:
            _give_memory_back()
        if failed:
            text = " ".join(complaint.decode(errors="replace").split())
            msg = f"nftables refuses: {text[:_LONGEST] or 'no reason given'}"
            raise PlaneError(msg)

    def close(self) -> None:
        """Give it back."""
        if self._lib is not None and self._context is not None:
            self._lib.nft_ctx_free(self._context)
        self._context = None


def _load() -> ctypes.CDLL:
    for name in _NAMES:
        try:
            lib = ctypes.CDLL(name)
        except OSError:
            continue
        lib.nft_ctx_new.restype = ctypes.c_void_p
        lib.nft_ctx_new.argtypes = [ctypes.c_uint32]
        lib.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        lib.nft_ctx_set_dry_run.argtypes = [ctypes.c_void_p, ctypes.c_bool]
        for function in (lib.nft_ctx_buffer_error, lib.nft_ctx_buffer_output, lib.nft_ctx_free):
            function.argtypes = [ctypes.c_void_p]
        for function in (lib.nft_ctx_get_error_buffer, lib.nft_ctx_get_output_buffer):
            function.argtypes = [ctypes.c_void_p]
            function.restype = ctypes.c_char_p
        return lib
    msg = "there is no libnftables on this machine"
    raise PlaneError(msg, remedy=_REMEDY)


def _give_memory_back() -> None:
    with suppress(AttributeError):  # it is glibc's own
        ctypes.CDLL(None).malloc_trim(0)
