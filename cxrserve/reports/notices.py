"""Research-use notices: the sentences that every answer and every report carries."""

from __future__ import annotations

from typing import Final

DISCLAIMER: Final = (
    "Research use only. Not a medical device: not for diagnosis, not for any decision about a patient."
)
# In reports, which may be taken for a physician's.
REPORT_DISCLAIMER: Final = (
    "Research use only. Not a medical device: not for diagnosis. Not reviewed by a physician."
)
# On pictures, which have little room.
PICTURE_DISCLAIMER: Final = "Research use only. Not for diagnosis."
PICTURE_WARNING: Final = "RESEARCH USE ONLY - NOT FOR DIAGNOSIS"
