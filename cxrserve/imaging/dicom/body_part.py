"""The body part that a DICOM header names, in any wording or language.

The standard has terms for Body Part Examined (PS3.16 Annex L), and makers and hospitals have their own:
abbreviated, run together, translated. So a text is searched for stems. The most specific element that names
anything decides; where one text names the chest and more, it is the chest.
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from cxrserve.imaging.dicom.body_part_words import CHEST, OTHER_LATIN, OTHER_SCRIPTS
from cxrserve.imaging.dicom.dataset import text, texts

_MAX_CHARACTERS: Final = 1000  # a value has at most 64 (PS3.5 6.2), an element may hold gigabytes
_CHEST: Final = re.compile(
    r"CHEST|CHST|CXR|THORAX|TORAX|TORAKS|TORACE|BRUSTKORB|BABYGRAM|MEDIASTIN|STERNUM|HEART|BRONCH|DIAPHRAG"
    r"|PULMO|POUMON|POLMON|PECHO|\bLUNG|\bRIB(?!O)|RIBS\b|RIPPEN|COSTILLA"
)
# Of the chest, or of the spine beside it: "thoracic spine", "thoracolumbar".
_THORACIC: Final = re.compile(r"THORA[CK]|TORA[CK]")
_THORACIC_SPINE: Final = re.compile(r"(THORA[CK]|TORA[CK])O ?LUMB|[CZ]ERVI[CK]O ?(THORA[CK]|TORA[CK])")

# Each name with the words that mean it. A side may stand before it in one word: LHAND, RTKNEE.
_SIDE: Final = r"\b(?:LEFT|RIGHT|LT|RT|[LR](?=[^AEIOU ]))?"
_OTHER_PARTS: Final = {
    "SPINE": r"\w*SPINE|SPINAL|VERTEB|WIRBEL|\w+WIRBEL|[HBL]WS\b|RACHIS|COLUMNA\b|COLONNA\b|LUMBAR|LUMBO"
    r"|LENDEN|CERVICAL|SACR|COCCY|SCOLIOSIS|SI ?JOINT",
    "SKULL": r"SKULL|CRANE\b|CRANEO|CRANI|SCHAE?DEL|SELLA\b|MASTOID",
    "HEAD": r"HEADS?\b|HEADNECK|BRAIN\b",
    "FACE": r"FACE\b|FACIAL|ORBIT|SINUS|NASAL|NOSE\b|ZYGOM|EYES?\b|EARS?\b",
    "JAW": r"JAW|MANDIB|MAXILL|TMJ",
    "TEETH": r"TEETH|TOOTH|DENTAL|DENTI|PANOREX|ZAHN|ZAEHNE",
    "NECK": r"NECK|LARYN|PHARYN|THYROID",
    "BREAST": r"BREAST|MAMM[AO]",
    "SHOULDER": r"SHOULDER|CLAVIC|SCAPUL|AC ?JOINT|SCHULTER|EPAULE|HOMBRO|SPALLA|AXILLA\b",
    "ARM": r"ARMS?\b|UPPERARM|UPRARM|HUMER|OBERARM",
    "ELBOW": r"ELBOW|ELLBOGEN|COUDE\b|CODO\b|GOMITO",
    "FOREARM": r"FOREARM|UNTERARM|RADIUS|ULNA",
    "WRIST": r"WRIST|HANDGELENK|POIGNET|MUNECA|SCAPHOID",
    "HAND": r"HANDS?\b|HANDWRIST|FINGER|THUMB|METACARP|MANO\b",
    "ABDOMEN": r"ABD(?!U)|KUB\b|COLON\b|BOWEL|INTESTIN|STOMACH|KIDNEY|BLADDER|GALLBLADDER|LIVER\b|RECTUM"
    r"|UTERUS|ESOPHAG|OESOPHAG|DUODEN|UROGRAM",
    "PELVIS": r"PELVI|BECKEN|BASSIN|BACINO|BUTTOCK",
    "HIP": r"HIPS?\b|HIPJOINT|HUE?FT|HANCHE|CADERA",
    "LEG": r"LEGS?\b|FEMUR|THIGH|CALF\b|TIBI|TIB ?FIB|FIBUL|LOWERLEG|UNTERSCHENKEL|OBERSCHENKEL",
    "KNEE": r"KNEE|PATELL|KNIE|GENOU|RODILLA|GINOCCHIO",
    "ANKLE": r"ANKLE|SPRUNGGELENK|CHEVILLE|TOBILLO|CAVIGLIA",
    "FOOT": r"FOOT|FEET|FOREFOOT|HINDFOOT|HEEL|CALCAN|TOES?\b|METATARS|TARSAL|FUSS\b|VORFUSS|PIED\b",
    "EXTREMITY": r"EXTREM|EXM\b|UPEXM|LOWEXM|LIMB",
}  # fmt: skip
_OTHER_PATTERNS: Final = {
    name: re.compile(f"{_SIDE}(?:{pattern}{'|' + OTHER_LATIN[name] if name in OTHER_LATIN else ''})")
    for name, pattern in _OTHER_PARTS.items()
}
_SPINE: Final = _OTHER_PATTERNS["SPINE"]


def _decomposed(text: str) -> str:
    """`text` without accents and other combining marks, compatibility characters replaced."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


_CHEST_ELSEWHERE: Final = re.compile(_decomposed(CHEST))
_SCRIPT_PATTERNS: Final = {name: re.compile(_decomposed(pattern)) for name, pattern in OTHER_SCRIPTS.items()}

_CHEST_REGIONS: Final = frozenset(  # PS3.16 CID 4031, SNOMED CT and its older SRT codes
    (
        *("51185008", "T-D3000", "43799004", "302551006"),  # chest
        *("816094009", "416550000", "R-FAB55", "416775004", "R-FAB56"),  # with abdomen, with pelvis
        *("39607008", "T-28000", "113197003", "T-11300", "56873002", "T-11210"),  # lung, rib, sternum
    )
)
_OTHER_REGIONS: Final = {
    "818981001": "abdomen",
    "113345001": "abdomen",
    "T-D4000": "abdomen",
    "70258002": "ankle",
    "T-15750": "ankle",
    "76752008": "breast",
    "T-04000": "breast",
    "122494005": "cervical spine",
    "T-11501": "cervical spine",
    "76248009": "elbow",
    "T-15430": "elbow",
    "56459004": "foot",
    "T-D9700": "foot",
    "85562004": "hand",
    "T-D8700": "hand",
    "69536005": "head",
    "T-D1100": "head",
    "24136001": "hip",
    "T-15710": "hip",
    "72696002": "knee",
    "T-D9200": "knee",
    "122496007": "lumbar spine",
    "T-11503": "lumbar spine",
    "12921003": "pelvis",
    "T-D6000": "pelvis",
    "16982005": "shoulder",
    "T-D2220": "shoulder",
    "89546000": "skull",
    "T-11100": "skull",
    "122495006": "thoracic spine",
    "T-11502": "thoracic spine",
    "8205005": "wrist",
    "T-15460": "wrist",
}

_DESCRIPTIONS: Final = (  # the most specific first
    "SeriesDescription",
    "ProtocolName",
    "PerformedProcedureStepDescription",
    "StudyDescription",
)
_NO_PARTS: Final = frozenset(
    ("UNKNOWN", "OTHER", "NONE", "PORTABLE", "WHOLEBODY", "WHOLE BODY", "NULL", "DEFAULT")
)
# In a description these are no parts of the body: "arms up", "head end", and French for "from the front".
_POSITIONING: Final = re.compile(r"\b(ARMS?|HEAD|FACE)\b")
_OTHER_EXAMINATION: Final = re.compile(r"\b(CTA?|MRI?|PET|US|NM|ECHO|SCINTI\w*|TOMO\w*|DOSE|REPORT)\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class BodyPart:
    """A body part named by one element.

    Attributes:
        name: one of this file's own words, never the file's.
        source: the element, for the user.
        is_chest: the chest, alone or with more.
    """

    name: str
    source: str
    is_chest: bool


def body_part(dataset: Dataset) -> BodyPart | None:
    """The part of the body that the header names, None where it names none that is known here."""
    return (
        _named(" ".join(texts(dataset, "BodyPartExamined")), "BodyPartExamined")
        or _region(dataset)
        or _described(dataset)
    )


def contradiction(dataset: Dataset, part: BodyPart | None) -> BodyPart | None:
    """Another part that a description names, where `part`, which decides, is the chest; else None."""
    if part is None or not part.is_chest:
        return None
    for keyword in _DESCRIPTIONS:
        described = _named(_POSITIONING.sub(" ", _folded(" ".join(texts(dataset, keyword)))), keyword)
        if described and not described.is_chest:
            return described
    return None


def is_unknown(dataset: Dataset, part: BodyPart | None) -> bool:
    """Whether Body Part Examined has words that are not known here, and nothing else names a part."""
    value = _folded(" ".join(texts(dataset, "BodyPartExamined"))).strip()
    return part is None and len(value) > 2 and value not in _NO_PARTS


def _named(description: str, source: str) -> BodyPart | None:
    folded = _folded(description)
    if _names_chest(folded):
        return BodyPart(name="CHEST", source=source, is_chest=True)
    other = next((name for name, pattern in _OTHER_PATTERNS.items() if pattern.search(folded)), None)
    if other is None:
        other = next((name for name, pattern in _SCRIPT_PATTERNS.items() if pattern.search(folded)), None)
    if other is None and _THORACIC_SPINE.search(folded):
        other = "SPINE"
    return BodyPart(name=other, source=source, is_chest=False) if other else None


def _names_chest(folded: str) -> bool:
    if _CHEST.search(folded) or _CHEST_ELSEWHERE.search(folded):
        return True
    spine = _SPINE.search(folded) or _THORACIC_SPINE.search(folded)
    return bool(_THORACIC.search(folded)) and not spine


def _folded(text: str) -> str:
    """Letters alone: capitals without accents where the script has such, a space for everything else.

    Where no character set is declared, pydicom reads bytes as Latin-1; most that are not are UTF-8.
    """
    text = text[:_MAX_CHARACTERS]
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")
    plain = "".join(c if unicodedata.category(c)[0] in "LM" else " " for c in _decomposed(text.upper()))
    return re.sub(" +", " ", plain)


def _region(dataset: Dataset) -> BodyPart | None:
    """Anatomic Region Sequence (PS3.3 10.5): a code that is known, or what its meaning says."""
    source = "the anatomic region"
    items = dataset["AnatomicRegionSequence"].value if "AnatomicRegionSequence" in dataset else None
    codes = [text(item, "CodeValue") for item in items or ()]
    if any(code in _CHEST_REGIONS for code in codes):
        return BodyPart(name="CHEST", source=source, is_chest=True)
    named = _named(" ".join(text(item, "CodeMeaning") for item in items or ()), source)
    code = next((code for code in codes if code in _OTHER_REGIONS), None)
    if code is None or (named and named.is_chest):
        return named
    return BodyPart(name=f"{_OTHER_REGIONS[code]} ({code})", source=source, is_chest=False)


def _described(dataset: Dataset) -> BodyPart | None:
    """A description speaks for a chest only where it speaks of no other examination of one."""
    descriptions = [" ".join(texts(dataset, keyword)) for keyword in _DESCRIPTIONS]
    elsewhere = any(_OTHER_EXAMINATION.search(_folded(description)) for description in descriptions)
    for keyword, description in zip(_DESCRIPTIONS, descriptions, strict=True):
        named = _named(_POSITIONING.sub(" ", _folded(description)), keyword)
        if named:
            return None if named.is_chest and elsewhere else named
    return None
