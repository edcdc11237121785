"""What a model says of one image, and where in the image that comes from.

Shapes: C classes, K heads, H × W positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dermlens.data.views import Numbers
from dermlens.decision.answer import STRANGE
from dermlens.decision.dermoscopy import is_dermoscopy
from dermlens.decision.quality import UNCOLOURED
from dermlens.labels import full_name

NOT_DERMOSCOPY = "it does not look like dermoscopy"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one image.

    Attributes:
        p: calibrated probability of each class, in the order of the logits; none where it is withheld, which
            is where the picture does not seem to be dermoscopy.
        diagnosis: the class that the decision rule names; likewise.
        set: classes of the conformal set, the named one among them; likewise.
        level: share of images whose class the set is meant to hold; none where the model has no sets.
        ood: out-of-distribution score; none where the model has none.
        dermoscopy: how far the picture is on the side of dermoscopy, below 0 where it is not; none where the
            model cannot tell.
        abstain: whether the model abstains.
        reason: why, in words; empty where it does not.
        faults: of the picture, in words, as `dermlens.decision.quality` has them.
        model: which model says it.
        image_id: the file's name without its suffix; empty for an image that came without a name. What the
            model says does not depend on it, nor do comparisons.
        called: the diagnosis in words, where it is a class of someone's own; empty for what our names are.
    """

    p: dict[str, float] | None
    diagnosis: str | None
    set: tuple[str, ...] | None
    level: float | None
    ood: float | None
    dermoscopy: float | None
    abstain: bool
    reason: str
    faults: tuple[str, ...]
    model: str
    image_id: str = field(default="", compare=False)
    called: str = field(default="", compare=False)

    @property
    def name(self) -> str | None:
        """The diagnosis in words; none where it is withheld."""
        return None if self.diagnosis is None else (self.called or full_name(self.diagnosis))

    @property
    def strange(self) -> bool:
        """Whether the network found the picture unlike those that it was trained on."""
        return STRANGE in self.reason

    @property
    def withheld(self) -> bool:
        """Whether the picture is none that probabilities mean anything for: it seems to be no dermoscopy."""
        return self.p is None


def doubts(reason: str, dermoscopy: float | None, faults: Sequence[str]) -> tuple[bool, str]:
    """What a picture is answered with: whether nothing of it, and why the model abstains.

    Nothing is said of a picture that does not look like dermoscopy to the network, or is not in the colours
    of skin. A model that was not fitted to tell takes what is unlike its training for such a picture.

    Args:
        reason: of the decision; empty where it does not abstain.
        dermoscopy: as `Answer` has it.
        faults: likewise.

    Returns:
        Whether the answer is withheld, and the reasons joined by `; `, empty for none.
    """
    alien = STRANGE in reason if dermoscopy is None else not is_dermoscopy(np.array(dermoscopy))
    told = NOT_DERMOSCOPY if alien and dermoscopy is not None else ""
    reasons = (told, reason, f"image quality: {', '.join(faults)}" if faults else "")
    return alien or UNCOLOURED in faults, "; ".join(one for one in reasons if one)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where in an image an answer comes from.

    Attributes:
        evidence_CHW: what each position adds to each logit, averaged over the symmetries that the model sees.
        attention_KHW: Soft-Attention, likewise, each head of sum 1; none where the model has none.
    """

    evidence_CHW: Numbers
    attention_KHW: Numbers | None
