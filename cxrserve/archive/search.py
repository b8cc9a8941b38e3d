"""What the worklist is searched by: names and numbers without case, in any script.

Databases tell no capital letters but A to Z from small ones (SQLite, and PostgreSQL in the locale C), so both
sides are folded here.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_BETWEEN_PARTS: Final = str.maketrans("^=", "  ")  # of a person's name: PS3.5 6.2.1


def folded(*texts: str) -> str:
    """`texts` without case, width and what stands between the parts of a name; a line for each."""
    return "\n".join(
        unicodedata.normalize("NFKC", text).casefold().translate(_BETWEEN_PARTS) for text in texts
    )


def pattern(search: str) -> str:
    r"""A pattern for LIKE, with \ as escape, of what `folded` makes of texts in which `search` is found."""
    plain = folded(search).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{plain}%"
