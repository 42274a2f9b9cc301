"""nftables by libnftables in this process: a tenth of what an `nft` child costs."""

from __future__ import annotations

import ctypes
import functools

from wanlab.errors import KernelError, MachineError


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError:
        raise MachineError(
            "this lab has a router with rules, and libnftables.so.1 is not installed",
            hint="install it: apt-get install libnftables1 (Debian, Ubuntu), dnf install nftables (Fedora)",
        ) from None
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_free.argtypes = [ctypes.c_void_p]
    library.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
    library.nft_ctx_buffer_output.argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    library.nft_ctx_get_output_buffer.argtypes = [ctypes.c_void_p]
    library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def require() -> None:
    """Raise MachineError where libnftables is missing."""
    _library()


def load(ruleset: str) -> None:
    """Load *ruleset* into the namespace that the caller is in, whole or not at all.

    Raises KernelError with nft's own words, MachineError where the library is missing.
    """
    _run(ruleset)


def listing() -> str:
    """All rules of the namespace that the caller is in, as `nft list ruleset` prints them. Raises as `load`."""
    return _run("list ruleset")


def _run(command: str) -> str:
    library = _library()
    # A context's netlink socket belongs to the namespace that it was made in: one context for each command.
    context = library.nft_ctx_new(0)
    if not context:
        raise KernelError("libnftables cannot open a netlink socket")
    try:
        library.nft_ctx_buffer_error(context)
        library.nft_ctx_buffer_output(context)
        if library.nft_run_cmd_from_buffer(context, command.encode()) != 0:
            words = (library.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace")
            raise KernelError(" ".join(words.split()) or "libnftables gave no reason")
        return (library.nft_ctx_get_output_buffer(context) or b"").decode(errors="replace")
    finally:
        library.nft_ctx_free(context)
