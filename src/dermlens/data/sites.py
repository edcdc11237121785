"""Where on the body a lesion is: two vocabularies mapped to one list of groups.

Source word                     group            why
HAM10000 (its 15 values)
  scalp, face, ear, neck        head/neck        ISIC's group of that name
  chest, abdomen                anterior torso   the front of the torso
  back                          posterior torso  the back of the torso
  trunk                         torso            side not said, so neither anterior nor posterior
  upper extremity, hand         upper extremity  where ISIC 2019 files HAM10000's hands; not said to be palms
  lower extremity, foot         lower extremity  where ISIC 2019 files HAM10000's feet; not said to be soles
  acral                         palms/soles      in dermoscopy, the hairless skin of palms and soles
  genital                       oral/genital     ISIC's group of that name
  unknown                       unknown
ISIC (anatom_site_general)
  head/neck, anterior torso, posterior torso, torso, upper extremity, lower extremity, palms/soles,
  oral/genital                  themselves
  lateral torso                 torso            neither front nor back; too rare for a group of its own
Plain words of other tables (PAD-UFES-20's regions that are not above)
  nose, lip                     head/neck        parts of the face
  arm, forearm                  upper extremity
  thigh                         lower extremity
Anything else, and nothing      unknown          an unseen word is no evidence
"""

from __future__ import annotations

SITE_GROUPS = (
    "head/neck",
    "anterior torso",
    "posterior torso",
    "torso",
    "upper extremity",
    "lower extremity",
    "palms/soles",
    "oral/genital",
    "unknown",
)

_GROUP_OF_WORD = {
    "scalp": "head/neck",
    "face": "head/neck",
    "ear": "head/neck",
    "neck": "head/neck",
    "nose": "head/neck",
    "lip": "head/neck",
    "chest": "anterior torso",
    "abdomen": "anterior torso",
    "back": "posterior torso",
    "trunk": "torso",
    "lateral torso": "torso",
    "hand": "upper extremity",
    "arm": "upper extremity",
    "forearm": "upper extremity",
    "foot": "lower extremity",
    "thigh": "lower extremity",
    "acral": "palms/soles",
    "genital": "oral/genital",
} | {group: group for group in SITE_GROUPS}


def group_of(site: str | None) -> str:
    """The shared group of a site, whatever its case and spacing.

    Args:
        site: a word of HAM10000 or ISIC; none where it is missing.

    Returns:
        One of SITE_GROUPS; `unknown` for a missing or unseen word.
    """
    return _GROUP_OF_WORD.get(plain(site), "unknown")


def plain(word: str | None) -> str:
    """A word of a table in lower case with single spaces; empty for what is missing or no text at all."""
    return " ".join(word.lower().split()) if isinstance(word, str) else ""


def known_words() -> tuple[str, ...]:
    """Every word that says where on the body, in alphabetical order."""
    return tuple(sorted(word for word in _GROUP_OF_WORD if word != "unknown"))
