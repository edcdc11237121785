"""Train with one or two processes and note what each of them ends with; test_processes.py starts this.

Usage: two_processes.py RECIPE DATA OUT DEVICES
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from dermlens.recipe import load_recipe
from dermlens.training.fit import fit
from dermlens.training.task import LesionTask


def on_train_end(self: LesionTask) -> None:
    """Leave a hash of the parameters, by process."""
    digest = hashlib.sha256()
    for parameter in self.model.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    out = Path(sys.argv[3])
    out.with_name(f"{out.name}-rank{self.global_rank}.sha256").write_text(digest.hexdigest())


LesionTask.on_train_end = on_train_end
recipe, data, out, devices = sys.argv[1:]
run = fit(
    load_recipe(recipe),
    Path(data),
    # As a command that looks for a name that is free: the second process finds the first one's folder taken.
    out=Path(out) if not Path(out).exists() else Path(f"{out}-2"),
    device="cpu",
    devices=int(devices),
    cache=Path(out).parent / "cache",
)
print(f"trained: {run.path}")
