"""Status codes of the DIMSE services and of STOW-RS, by their names in the standard.

Failure Reason (0008,1197) in a STOW-RS answer takes the codes of C-STORE: PS3.18 Table 10.5.3-1.
"""

from __future__ import annotations

from typing import Final

# PS3.7 Annex C: any service may answer with these.
SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_SOP_INSTANCE: Final = 0x0111
NO_SUCH_SOP_INSTANCE: Final = 0x0112  # also a Failure Reason of Storage Commitment: PS3.3 C.14.1.1
INVALID_ARGUMENT_VALUE: Final = 0x0115
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NO_SUCH_ACTION: Final = 0x0123
NOT_AUTHORIZED: Final = 0x0124

# PS3.4 Table B.2-1: C-STORE.
OUT_OF_RESOURCES: Final = 0xA700
DATA_SET_DOES_NOT_MATCH_SOP_CLASS: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000

# The ranges of PS3.4 Table B.2-1, in which the last digits are the implementation's own.
DATA_SET_MISMATCHES: Final = range(0xA900, 0xAA00)
WARNINGS: Final = range(0xB000, 0xC000)  # stored, with something changed
CANNOT_UNDERSTANDS: Final = range(0xC000, 0xD000)
