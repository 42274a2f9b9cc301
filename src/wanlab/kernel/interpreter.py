"""Python processes of wanlab's own, which run nothing of their caller's."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


def own_process(code: str) -> list[str]:
    """The command that runs *code*, which may import wanlab, in an interpreter of its own.

    -I -S: nothing of the caller's environment or site-packages is wanted, and it starts in half the time.
    """
    return [sys.executable, "-IS", "-c", f"import sys; sys.path.append({_PACKAGE_ROOT!r}); {code}"]
