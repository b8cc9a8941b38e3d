"""The film check in a bundle's contract: its network's file, its references, and what was measured.

Legend: D features of the network.
"""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from cxrserve.schema import Strict

VIEWS: Final = ("PA", "AP", "lateral")
# Fewer films cannot say which one in a thousand is the strangest.
FILMS_TO_REFUSE: Final = 1000

MeasuredOn = Literal["phantoms", "radiographs"]
View = Literal["PA", "AP", "lateral"]


class Reference(Strict):
    """One Gaussian over the features of known chest films, and how far such films lie from its mean.

    Numbers alone, no picture. The distance of features x is |W (x − mean)|², W lower triangular.
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$", description="What the reference is called in answers.")
    measured_on: MeasuredOn
    data: str = Field(description="The films, in words.")
    films: int = Field(ge=2)
    patients: int | None = Field(None, ge=1, description="Null where it is not known who they are of.")
    own: bool = Field(
        description="Whether these are films of the kind that the members were trained on. A film that only "
        "a reference with false here knows gets the warning that it is unlike the training data."
    )
    attribution: tuple[str, ...] = Field((), description="Sources of the films, as their licences ask.")
    mean: tuple[float, ...]
    whitening: tuple[tuple[float, ...], ...] = Field(description="Rows of W, row i with i + 1 numbers.")
    distances: tuple[float, ...] = Field(
        min_length=2,
        description="Ascending squared distances of its films, each measured with a Gaussian that was fitted "
        "without them.",
    )
    mirrored: float = Field(
        ge=0, description="Probability of a mirrored film that 1 % of its films reach, none of them mirrored."
    )
    cut: tuple[float, float, float, float] = Field(
        description="Probability that a part is missing above, at the right, below, at the left, which 1 % "
        "of its films reach, though they are taken to be whole."
    )
    chests: tuple[float, ...] = Field(
        min_length=2, description="Ascending probabilities of a chest, of its films."
    )

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        lengths = [len(row) for row in self.whitening]
        if lengths != list(range(1, len(self.mean) + 1)):
            raise ValueError(f"whitening has rows of {lengths}: it needs 1 to {len(self.mean)} numbers")
        for name in ("distances", "chests"):
            if list(getattr(self, name)) != sorted(getattr(self, name)):
                raise ValueError(f"{name} are not ascending")
        return self

    @property
    def refuses(self) -> bool:
        """Whether a film can be so far from it that it is refused: radiographs, and enough of them."""
        return self.measured_on == "radiographs" and len(self.distances) >= FILMS_TO_REFUSE


class Measured(Strict):
    """One row of the table: what the check said of one kind of film."""

    kind: str = Field(description="What was done to the films, or who they are of.")
    data: str
    films: int = Field(ge=1)
    answer: str = Field(description="The answer that is counted.")
    count: int = Field(ge=0, description="Films that got it.")


class FilmCheck(Strict):
    """The network that looks at every film before the members do, and what its answers are compared with.

    The graph takes `image` uint8 [N, 1, 256, 256] and returns float32 `turn` [N, 8] (probabilities of 0 to 3
    quarter turns counter-clockwise, then the same of the mirrored film), `inverted` [N], `views` [N, 3] (PA,
    AP, lateral), `cut` [N, 4] (probability that a part is missing above, at the right, below, at the
    left), `chest` [N] (probability of a chest) and `features` [N, D].
    """

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: Literal[256] = 256
    parameters: int = Field(ge=1)
    features: int = Field(ge=1, le=64)
    trained_on: str = Field(description="The films that the network was trained on, in words.")
    views: tuple[View, ...] = Field(
        (), description="Views that the network learnt to tell; empty: it says nothing about the view."
    )
    refused_views: tuple[View, ...] = Field(
        (), description="Views that the members were not trained on: such films are refused."
    )
    references: tuple[Reference, ...] = Field(min_length=1)
    measured: tuple[Measured, ...] = ()

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for reference in self.references:
            if len(reference.mean) != self.features:
                raise ValueError(
                    f"the reference {reference.name} has {len(reference.mean)} features, the network "
                    f"{self.features}"
                )
        names = [reference.name for reference in self.references]
        if len(set(names)) != len(names):
            raise ValueError(f"the references have the names {names}: one of them occurs twice")
        unknown = set(self.refused_views) - set(self.views)
        if unknown:
            raise ValueError(f"refused views {sorted(unknown)} are not among the views that it tells")
        return self

    @property
    def measured_on(self) -> MeasuredOn:
        """The images behind the reference of the members' own kind: radiographs or phantoms."""
        own = [reference.measured_on for reference in self.references if reference.own]
        return "radiographs" if "radiographs" in own else "phantoms"
