"""The documents of a run, as classes: run.json and metrics.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

Status = Literal["running", "completed", "failed", "interrupted"]


class Stored(BaseModel):
    """A document of a run. What an older or a newer dermlens added is kept and not read."""

    model_config = ConfigDict(extra="allow", frozen=True)


class RunRecord(Stored):
    """run.json: what became of a run, and what its numbers depend on apart from recipe and data.

    Attributes:
        status: none where there is no record.
        started, ended: ISO 8601, UTC.
        error: why it failed.
        command: the words of the command line.
        python: its version.
        versions: of the libraries.
        machine: `system` and `processor`.
        git_commit: of dermlens's own checkout, `-dirty` behind it where files differed.
        data: where its images were.
        table_sha256: of the LesionTable.
        split: the header of its manifest.
        counts: images by role and class.
        class_weights: of the loss, by class.
        sources: images of the training role by source.
        folders: data sets that it read.
        also_train: the sets that were added to the training role.
        warnings: what a reader must know of the numbers.
        start: what the network began at.
        seeds: of `run` and `split`.
        device: that trained.
        devices: how many.
        threads: of the processor.
        began_with: digests of recipe, split and data, for resume.
        trainable_parameters: of the network.
        parameters: what the earliest runs called them.
        epochs: trained.
        kept_epoch: whose weights the model has.
        seconds_per_epoch: the median.
        predicted_roles: in predictions.csv.
        soup: of a soup, or of joined networks, the members.
        joined: whether they are joined networks.
    """

    status: Status | None = None
    started: str | None = None
    ended: str | None = None
    error: str | None = None
    command: list[str] | None = None
    python: str | None = None
    versions: dict[str, str] = {}
    machine: dict[str, str] = {}
    git_commit: str | None = None
    data: str | None = None
    table_sha256: str | None = None
    split: dict[str, str] = {}
    counts: dict[str, dict[str, int]] = {}
    class_weights: dict[str, float] | None = None
    sources: dict[str, int] = {}
    folders: list[str] = []
    also_train: dict[str, Any] | None = None
    warnings: list[str] = []
    start: str | None = None
    seeds: dict[str, Any] = {}
    device: str | None = None
    devices: int | None = None
    threads: int | None = None
    began_with: dict[str, Any] | None = None
    trainable_parameters: int | None = None
    parameters: int | None = None
    epochs: int | None = None
    kept_epoch: int | None = None
    seconds_per_epoch: float | None = None
    predicted_roles: list[str] = []
    soup: list[dict[str, Any]] = []
    joined: bool = False


class Measured(TypedDict):
    """A number with its interval; all three are none where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


NONE = "–"
"""What stands where there is no number."""


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many decimals; a dash for none, and for what is not finite."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{digits}f}".replace("-", "−")


def estimate_text(value: Measured | Mapping[str, float | None] | None, digits: int = 2) -> str:
    """An estimate with its interval, `0.73 [0.65–0.80]`; without one where there is none, a dash for none."""
    if value is None or value.get("value") is None:
        return NONE
    low, high = value.get("low"), value.get("high")
    text = number(value["value"], digits)
    if text == NONE or low is None or high is None:
        return text
    return f"{text} [{number(low, digits)}–{number(high, digits)}]"


class RoleScores(TypedDict, total=False):
    """The scores of one role; docs/metrics.md has every key."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    images: int
    lesions: int
    classes_present: int
    overall: dict[str, Measured]
    averages: dict[str, dict[str, Measured]]
    per_class: dict[str, dict[str, Any]]
    confusion: list[list[int]]
    reliability: list[dict[str, Any]]
    calibration: dict[str, dict[str, float | None]]
    detection: dict[str, dict[str, Any]]
    melanoma_vs_histology_nevi: dict[str, Any]
    answers: dict[str, Any]
    equal_prior: dict[str, Any]
    suspicion: dict[str, Any]
    plugins: dict[str, Measured]
    subgroups: dict[str, dict[str, dict[str, Any]]]


class PriorShown(TypedDict):
    """The case mix of the numbers: its name, words for it, and the share of each class."""

    name: str
    words: str
    shares: dict[str, float]


class ScoredSet(Stored):
    """Which other set was scored: its name and table, and the maps and words that it was read with."""

    name: str | None = None
    table_sha256: str | None = None
    images: int | None = None
    columns: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    values: dict[str, Any] | None = None
    skip: list[str] = []


class Metrics(Stored):
    """metrics.json: every score of a run.

    Attributes:
        version: of the form, `schema` in the file.
        classes: codes, in the order of the probabilities.
        described: of own classes, `name` and `malignant`.
        decision: `calibrated` where a calibrated model answered, `argmax` for the highest probability; `rule`
            where a decision rule of 0.1.0 named the diagnosis.
        prior: the case mix that the numbers are of; none where nobody has calibrated the model.
        bootstrap: how the intervals came about.
        roles: the scores by role.
        warnings: what a reader must know of the numbers.
        data: the set that was scored; none for the run's own roles.
    """

    version: int | None = Field(None, alias="schema")
    classes: list[str] = []
    described: dict[str, dict[str, Any]] | None = None
    decision: Literal["calibrated", "argmax", "rule"] | None = None
    prior: PriorShown | None = None
    bootstrap: dict[str, Any] = {}
    roles: dict[str, RoleScores] = {}
    warnings: list[str] = []
    data: ScoredSet | None = None
