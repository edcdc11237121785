"""The head of a page of measurements: what made it, and where."""

from __future__ import annotations

import os

from dermlens.runs import environment


def heading(title: str, script: str, about: str) -> list[str]:
    """Lines of Markdown: title, the command of `script`, threads, processor, versions, and `about` behind."""
    here = environment()
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    return [
        f"# {title}",
        "",
        f"`OMP_NUM_THREADS={threads} python benchmarks/{script} --write` on {here['machine']['processor']},"
        f" {os.cpu_count()} CPUs, PyTorch {here['versions']['torch']}, Lightning"
        f" {here['versions']['lightning']}{about}.",
        "",
    ]
