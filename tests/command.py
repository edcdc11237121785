"""The command line in this process: what a fresh one would import anew is there already."""

from __future__ import annotations

import pytest

from dermlens.cli.app import main


def exit_code(*words: object) -> int:
    """Run `dermlens` with these words; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["dermlens", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
    return int(stop.value.code or 0)
