"""The registry as a table for the screen."""

from __future__ import annotations

from rich.table import Table

from dermlens.models.pretrained.registry import HUB, KERAS, KERAS_FILES, PACKAGES
from dermlens.models.table import BACKBONES


def render_sources() -> Table:
    """One line for each backbone and source."""
    table = Table(title="ImageNet weights", title_justify="left", caption=f"keras: below {KERAS_FILES}")
    for column in ("backbone", "model.weights", "what", "licence", "check sum"):
        table.add_column(column, overflow="fold")
    for name in BACKBONES:
        if name in HUB:
            hub = HUB[name]
            table.add_row(name, "hub", hub.model, hub.licence, "the hub's own")
        if name in PACKAGES:
            package = PACKAGES[name]
            what = f"{package.distribution} {package.version}"
            table.add_row(name, "package", what, package.licence, f"SHA-256 {package.sha256[:16]}…")
        if name in KERAS:
            file = KERAS[name]
            check = f"MD5 {file.md5}" if file.md5 else "none published"
            table.add_row(name, "FILE.h5", file.address, "Apache-2.0", check)
    return table
