"""Case folding for the worklist's search: names and numbers, in any script.

Databases fold the case of A to Z only (SQLite, and PostgreSQL in the locale C), so both sides are folded
here.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_BETWEEN_PARTS: Final = str.maketrans("^=", "  ")  # of a person's name: PS3.5 6.2.1


def folded(*texts: str) -> str:
    """`texts` without case, width and the delimiters between the parts of a name; one line each."""
    return "\n".join(
        unicodedata.normalize("NFKC", text).casefold().translate(_BETWEEN_PARTS) for text in texts
    )


def pattern(search: str) -> str:
    r"""A LIKE pattern, with \ as its escape, for folded texts that contain `search`."""
    plain = folded(search).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{plain}%"
