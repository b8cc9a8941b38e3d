"""The published files of each dataset: what their grey values went through before they were published.

| kind | files | made by | what a recipe with `pictures` "final" does |
|---|---|---|---|
| mimic-cxr-jpg | 8-bit JPEG | profile `mimic-cxr-jpg`, which equalises | takes them as they are |
| chexpert | 8-bit JPEG | profile `chexpert`, likewise | takes them as they are |
| chexpert-plus | 8-bit PNG | from DICOM, by a way that is not documented | takes them as they are |
| nih | 8-bit PNG | a linear window; nothing was equalised | takes them as they are |
| mimic-cxr | DICOM | nothing: stored values | applies the recipe's profile |
| folder, phantoms | any | not known | 8-bit JPEG and PNG as they are, all else by the profile |

Serving does the same, as the bundle's contract says: training on published JPEGs and serving DICOM meet in
the same grey values where the bundle's profile is the one that made the JPEGs.
"""

from __future__ import annotations

from typing import Final

from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.types import ProfileName

# The profile that turns the dataset's DICOM files into the grey of its published ones.
PROFILE_OF: Final[dict[str, ProfileName]] = {
    "mimic-cxr-jpg": "mimic-cxr-jpg",
    "mimic-cxr": "mimic-cxr-jpg",
    "chexpert": "chexpert",
}


# What the published files of a dataset are; of the others it is not known.
FILES_OF: Final[dict[str, str]] = {
    "mimic-cxr-jpg": "8-bit JPEG, equalised before it was published",
    "mimic-cxr": "DICOM",
    "chexpert": "8-bit JPEG, equalised before it was published",
    "chexpert-plus": "8-bit PNG, made from DICOM in a way that is not documented",
    "nih": "8-bit PNG, never equalised",
}


def expected_inputs(preprocessing: Preprocessing) -> dict[str, str]:
    """The expectations that a bundle with this preprocessing has of JPEG, PNG and DICOM files."""
    made = f"stored values, made grey by the profile {preprocessing.profile}"
    final = f"the final grey, as the profile {preprocessing.profile} makes it of a DICOM file; taken as it is"
    of_8_bits = final if preprocessing.pictures == "final" else made
    return {
        "DICOM": made,
        "JPEG": of_8_bits,
        "PNG": f"of 8 bits {of_8_bits}; of 16 bits {made}",
    }


def treatment(source: str, preprocessing: Preprocessing) -> str:
    """The files of a dataset in words, and the treatment of their grey values before they train."""
    files = FILES_OF.get(source, "files of any format")
    profile = f"made grey by the profile {preprocessing.profile}"
    if source == "mimic-cxr" or preprocessing.pictures != "final":
        return f"{files}; {profile}"
    if source in FILES_OF:
        return f"{files}; taken as it is"
    return f"{files}; JPEG and PNG of 8 bits taken as they are, others {profile}"


def profile_note(source: str, preprocessing: Preprocessing) -> str | None:
    """A sentence if DICOM files will be served in other grey values than `source` trains on; else None."""
    own = PROFILE_OF.get(source)
    if own is not None and own != preprocessing.profile:
        return (
            f"{source} was made by the profile {own}; the bundle will treat DICOM by "
            f"{preprocessing.profile}. Set preprocessing.profile={own} if it is the only dataset"
        )
    if own is None and source == "nih":
        return (
            f"nih was never equalised; the bundle will treat DICOM by {preprocessing.profile}. Set "
            "preprocessing.profile=linear if it is the only dataset"
        )
    return None
