"""What a model says of one image, and where in the image that comes from.

Shapes: C classes, K heads, H × W positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dermlens.data.views import Numbers
from dermlens.decision.answer import STRANGE
from dermlens.decision.quality import UNCOLOURED
from dermlens.labels import full_name


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one image.

    Attributes:
        p: calibrated probability of each class, in the order of the logits.
        diagnosis: the class that the decision rule names.
        set: classes of the conformal set, the named one among them.
        level: share of images whose class the set is meant to hold; none where the model has no sets.
        ood: out-of-distribution score; none where the model has none.
        abstain: whether the model abstains.
        reason: why, in words; empty where it does not.
        faults: of the picture, in words, as `dermlens.decision.quality` has them.
        model: which model says it.
        image_id: the file's name without its suffix; empty for an image that came without a name. What the
            model says does not depend on it, nor do comparisons.
    """

    p: dict[str, float]
    diagnosis: str
    set: tuple[str, ...]
    level: float | None
    ood: float | None
    abstain: bool
    reason: str
    faults: tuple[str, ...]
    model: str
    image_id: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """The diagnosis in words."""
        return full_name(self.diagnosis)

    @property
    def strange(self) -> bool:
        """Whether the network found the picture unlike those that it was trained on."""
        return STRANGE in self.reason

    @property
    def withheld(self) -> bool:
        """Whether the picture is none that the probabilities mean anything for: no dermoscopy, it seems.

        What a person reads leaves them out then; tables for scoring keep them, beside `abstain`.
        """
        return self.strange or UNCOLOURED in self.faults


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where in an image an answer comes from.

    Attributes:
        evidence_CHW: what each position adds to each logit, averaged over the symmetries that the model sees.
        attention_KHW: Soft-Attention, likewise, each head of sum 1; none where the model has none.
    """

    evidence_CHW: Numbers
    attention_KHW: Numbers | None
