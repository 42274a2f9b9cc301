"""nftables by libnftables in this process: a tenth of what an `nft` child costs."""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

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
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def require() -> None:
    """Raise MachineError where libnftables is missing."""
    _library()


_HANDLES, _JSON, _TERSE = 1 << 3, 1 << 4, 1 << 11  # enum nft_ctx_output_flags in nftables/libnftables.h
_TOO_LONG = os.strerror(errno.EMSGSIZE)
_TABLE = re.compile(r"^table (\S+ \S+) \{\n", re.MULTILINE)


def load(ruleset: str) -> None:
    """Load *ruleset* into the namespace that the caller is in, whole or not at all.

    What is more than the kernel takes in one transaction (without privileges over the machine: what a socket's buffer
    holds) is loaded in parts. Then a failure takes away the table that the last part of the text makes.

    Raises KernelError with nft's own words, MachineError where the library is missing.
    """
    try:
        _transact(ruleset)
    except KernelError as error:
        table = list(_TABLE.finditer(ruleset))
        if _TOO_LONG not in error.what or not table:
            raise
        name, head, body = table[-1][1], ruleset[: table[-1].end()], ruleset[table[-1].end() :]
        # A block is a chain, a map or a set, and ends at the closing brace of its own indentation.
        blocks = re.findall(r"\t\S.*?^\t\}\n", body, re.MULTILINE | re.DOTALL)
        try:
            _load_blocks(head, blocks)
        except KernelError:
            with suppress(KernelError):
                _transact(f"delete table {name}\n")
            raise


def _load_blocks(head: str, blocks: Sequence[str]) -> None:
    """Add the blocks to the table that *head* opens, as many at once as go into one transaction.

    Each may name only blocks before it: then it does not matter where the text is cut.
    """
    try:
        _transact(f"{head}{''.join(blocks)}}}\n")
    except KernelError as error:
        if _TOO_LONG not in error.what or len(blocks) < 2:
            raise
        half = len(blocks) // 2
        _load_blocks(head, blocks[:half])
        _load_blocks(f"table {_TABLE.findall(head)[-1]} {{\n", blocks[half:])


def as_json(command: str) -> list[dict[str, Any]]:
    """What a command lists, as libnftables-json(5) has it, without what it says of itself. Raises as `load`."""
    found = json.loads(_transact(command, _JSON) or '{"nftables": []}')["nftables"]
    return [each for each in found if "metainfo" not in each]


def names_of_maps() -> list[dict[str, Any]]:
    """The sets and maps of the namespace, without their elements."""
    found = []
    for kind in ("set", "map"):
        listed = json.loads(_transact(f"list {kind}s", _JSON | _TERSE) or '{"nftables": []}')["nftables"]
        found += [{"kind": kind, **each[kind]} for each in listed if kind in each]
    return found


def listing(*, handles: bool = False) -> str:
    """All rules of the namespace that the caller is in, as `nft list ruleset` prints them. Raises as `load`.

    With *handles*, as `nft -a list ruleset`.
    """
    return _transact("list ruleset", _HANDLES if handles else 0)


def _transact(text: str, output: int = 0) -> str:
    """Run commands in one transaction of the kernel's; what they print, in a form that *output* flags."""
    library = _library()
    # A context's netlink socket belongs to the namespace that it was made in: one context for each command.
    context = library.nft_ctx_new(0)
    if not context:
        raise KernelError("libnftables cannot open a netlink socket")
    try:
        library.nft_ctx_buffer_error(context)
        library.nft_ctx_buffer_output(context)
        if output:
            library.nft_ctx_output_set_flags(context, output)
        if library.nft_run_cmd_from_buffer(context, text.encode()) != 0:
            words = (library.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace")
            raise KernelError(" ".join(words.split()) or "libnftables gave no reason")
        return (library.nft_ctx_get_output_buffer(context) or b"").decode(errors="replace")
    finally:
        library.nft_ctx_free(context)
