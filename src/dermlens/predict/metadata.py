"""Age, sex and body site: the words of tables and people, and the numbers that the metadata branch reads.

An encoder is a class under the decorator `encoder`; recipes and the shared tests find it by its kind. NumPy
only: prediction runs without torch and pandas.

Shapes: N patients, M features (`meta_NM`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from dermlens.errors import UserError, nearest
from dermlens.predict.sources.vocabulary import OLDEST, SITE_GROUPS, group_of, plain

FIELDS = ("age", "sex", "site")
PAPER_SEXES = ("female", "male", "unknown")
PAPER_SITES = (
    "abdomen", "acral", "back", "chest", "ear", "face", "foot", "genital", "hand", "lower extremity", "neck",
    "scalp", "trunk", "unknown", "upper extremity",
)  # fmt: skip

Ages = Iterable[float | None]
Words = Iterable[str | None]


@dataclass(frozen=True)
class MetadataEncoder(ABC):
    """Patients to rows of numbers; a kind of encoder gives `names`, each after its field, and `row`.

    Attributes:
        age_mean: of the known ages in training, in years; none before `fit`.
        age_std: their population standard deviation, in years. 0 where training knew no two different ages:
            nothing was learnt of age then, and every age counts as missing.
    """

    age_mean: float | None = None
    age_std: float | None = None

    kind: ClassVar[str]
    names: ClassVar[tuple[str, ...]]

    @property
    def width(self) -> int:
        """How many features a patient has, M."""
        return len(self.names)

    @property
    def fields(self) -> dict[str, list[int]]:
        """The columns of age, sex and site, recognised by the first word of a feature's name."""
        firsts = [name.partition("_")[0] for name in self.names]
        return {field: [m for m, first in enumerate(firsts) if first == field] for field in FIELDS}

    @property
    def missing(self) -> npt.NDArray[np.float32]:
        """The row (M,) of a patient of whom nothing is known.

        Raises:
            ValueError: the encoder is not fitted.
        """
        row_M: npt.NDArray[np.float32] = self.encode([None], [None], [None])[0]
        return row_M

    def fit(self, age: Ages, sex: Words, site: Words) -> Self:  # noqa: ARG002 (sexes and sites are fixed lists)
        """An encoder that knows the ages of the training role.

        Args:
            age: years, 0 to 120; None or NaN where missing.
            sex: of the same patients.
            site: of the same patients.

        Raises:
            UserError: an age is out of range.
        """
        known = [year for year in map(_years, age) if not math.isnan(year)]
        if len(set(known)) < 2:
            return replace(self, age_mean=known[0] if known else 0.0, age_std=0.0)
        return replace(self, age_mean=float(np.mean(known)), age_std=float(np.std(known)))

    def encode(self, age: Ages, sex: Words, site: Words) -> npt.NDArray[np.float32]:
        """One row of features a patient, independent of the other patients.

        Args:
            age: years, 0 to 120; None or NaN where missing.
            sex: female or male; anything else is unknown.
            site: in any word of `dermlens.predict.sources.vocabulary`; another is unknown.

        Returns:
            meta_NM.

        Raises:
            UserError: an age is out of range.
            ValueError: the encoder is not fitted, or the three differ in length.
        """
        rows = [self.row(self._z(_years(a)), s, t) for a, s, t in zip(age, sex, site, strict=True)]
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.width)

    @abstractmethod
    def row(self, z: float | None, sex: str | None, site: str | None) -> list[float]:
        """The features of one patient.

        Args:
            z: age in standard deviations from the mean of training; none where missing.
            sex: as the source has it.
            site: as the source has it.
        """

    def to_json(self) -> dict[str, Any]:
        """All that `encoder_from_json` needs, and the names for whoever reads the file."""
        return {"kind": self.kind, **asdict(self), "names": list(self.names)}

    def _z(self, years: float) -> float | None:
        if not self.names:
            return None
        if self.age_mean is None or self.age_std is None:
            raise ValueError(f"the {self.kind} encoder encodes once it is fitted on the training role")
        return None if math.isnan(years) or not self.age_std else (years - self.age_mean) / self.age_std


ENCODERS: dict[str, type[MetadataEncoder]] = {}


def encoder(kind: str) -> Callable[[type[MetadataEncoder]], type[MetadataEncoder]]:
    """Register an encoder under the name that recipes use."""

    def register(cls: type[MetadataEncoder]) -> type[MetadataEncoder]:
        cls.kind = kind
        ENCODERS[kind] = cls
        return cls

    return register


@encoder("none")
class NoMetadata(MetadataEncoder):
    """No features: the image alone."""

    names = ()

    def fit(self, age: Ages, sex: Words, site: Words) -> Self:  # noqa: ARG002
        return self

    def row(self, z: float | None, sex: str | None, site: str | None) -> list[float]:  # noqa: ARG002
        return []


@encoder("paper")
class PaperMetadata(MetadataEncoder):
    """The published 21-vector: age z-scored, then sex and site one-hot after an out-of-vocabulary slot each.

    As Keras's `Normalization` (population variance) and `StringLookup` make it. `unknown` is a word like the
    others; an unseen word fills the out-of-vocabulary slot, which training never does, so its weights are as
    they were drawn. The authors dropped patients of unknown age; here a missing age is the mean, 0.

    Source: the metadata inputs of the authors' notebook DenseNet201 - SoftAtt - 10split - LRStrategy.
    """

    names = (
        "age_z",
        *(f"sex_{word}" for word in ("out_of_vocabulary", *PAPER_SEXES)),
        *(f"site_{word.replace(' ', '_')}" for word in ("out_of_vocabulary", *PAPER_SITES)),
    )

    def row(self, z: float | None, sex: str | None, site: str | None) -> list[float]:
        return [z or 0.0, *_lookup(sex, PAPER_SEXES), *_lookup(site, PAPER_SITES)]


@encoder("default")
class DefaultMetadata(MetadataEncoder):
    """Fourteen numbers that need no patient dropped: what is missing is flagged, and 0 elsewhere.

    Features:
        age_z: age z-scored by the training role; 0 where missing.
        age_missing: 1 where the age is missing.
        sex_female, sex_male, sex_missing: exactly one of them is 1.
        site_…: one for each shared group of `SITE_GROUPS`, where the words of tables meet.
        site_missing: 1 where the site is missing, unknown or unseen; exactly one site feature is 1.
    """

    names = (
        "age_z",
        "age_missing",
        "sex_female",
        "sex_male",
        "sex_missing",
        *(f"site_{group.replace(' ', '_').replace('/', '_')}" for group in SITE_GROUPS[:-1]),
        "site_missing",
    )

    def row(self, z: float | None, sex: str | None, site: str | None) -> list[float]:
        female, male = plain(sex) == "female", plain(sex) == "male"
        age = [0.0, 1.0] if z is None else [z, 0.0]
        group = group_of(site)
        return [*age, female, male, not (female or male), *(group == one for one in SITE_GROUPS)]


def make_encoder(kind: str) -> MetadataEncoder:
    """A new encoder, to be fitted.

    Raises:
        UserError: no encoder has that name.
    """
    if kind not in ENCODERS:
        raise UserError(f"metadata encoder '{kind}' is not known{nearest(kind, ENCODERS)}")
    return ENCODERS[kind]()


def encoder_from_json(saved: Mapping[str, Any]) -> MetadataEncoder:
    """The encoder that `to_json` described; it encodes to the same bits.

    Raises:
        UserError: the kind is not known, a key is missing or no number, or the features are not those of this
            version.
    """
    made = make_encoder(str(saved.get("kind")))
    for key in ("age_mean", "age_std"):
        if key not in saved:
            raise UserError(f"the saved {made.kind} metadata encoder lacks '{key}'")
        if not _is_years(saved[key]):
            raise UserError(
                f"the saved {made.kind} metadata encoder has {key} {saved[key]!r}; it is a number of years"
            )
    fitted = replace(made, age_mean=saved["age_mean"], age_std=saved["age_std"])
    if saved.get("names", []) != list(made.names):
        raise UserError(
            f"the saved {made.kind} metadata encoder has other features than this version of dermlens makes: "
            "use the version that the model was trained with"
        )
    return fitted


def _is_years(value: Any) -> bool:
    """Whether an encoder may hold it: none before it is fitted."""
    return value is None or (type(value) in (int, float) and 0 <= value <= OLDEST)


def _years(age: float | None) -> float:
    """A checked age; NaN where missing."""
    if age is None:
        return math.nan
    try:
        years = float(age)
    except (TypeError, ValueError):
        years = math.inf
    if math.isnan(years) or 0 <= years <= OLDEST:
        return years
    raise UserError(f"age is {age}; ages are 0 to {OLDEST} years, empty where unknown")


def _lookup(word: str | None, vocabulary: tuple[str, ...]) -> list[bool]:
    """One-hot with an out-of-vocabulary slot first; a missing word is `unknown`, as HAM10000 writes it."""
    term = plain(word) or "unknown"
    return [term not in vocabulary, *(term == known for known in vocabulary)]
