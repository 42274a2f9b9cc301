"""Texts as XML holds them."""

from __future__ import annotations

import re
from html import escape

# What XML 1.0 has no way to say, not even escaped (section 2.2).
_IMPOSSIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def xml(text: str) -> str:
    """*text* for an element or an attribute; what XML cannot hold becomes U+FFFD."""
    return escape(_IMPOSSIBLE.sub("\ufffd", text))
