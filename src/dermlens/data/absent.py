"""Classes without an image in a role: means over classes are over the others there, and that is said."""

from __future__ import annotations

from collections.abc import Mapping


def absent_classes(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A sentence for each role in which a class has no image.

    Args:
        counts: images by role and class, every class with its number, 0 too.
    """
    said = []
    for role, of_role in counts.items():
        absent = [code for code, count in of_role.items() if not count]
        if not absent or len(absent) == len(of_role):
            continue
        what = (
            "the network is never shown one"
            if role == "train"
            else f"means over classes are over {len(of_role) - len(absent)} of {len(of_role)}"
        )
        said.append(f"{role}: {', '.join(absent)} {'has' if len(absent) == 1 else 'have'} no image; {what}")
    return said
