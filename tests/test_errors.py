from __future__ import annotations

import pytest

from dermlens.errors import UserError, missing_extra, nearest, require


def test_nearest_names_what_resembles_or_all():
    assert nearest("densnet201", ["densenet201", "mobilenet"]) == "; nearest: densenet201"
    assert nearest("zzz", ["a", "b"]) == "; known: a, b"


def test_a_missing_module_names_its_extra():
    with pytest.raises(UserError, match=r"no_such_module_at_all.*dermlens\[track\]"):
        require("no_such_module_at_all", "track")
    assert require("json", "track").__name__ == "json"


def test_only_modules_of_an_extra_are_the_users_matter():
    assert "dermlens[train]" in (missing_extra(ModuleNotFoundError(name="torch.nn")) or "")
    assert "dermlens[train]" in (missing_extra(ModuleNotFoundError(name="safetensors.torch")) or "")
    assert missing_extra(ModuleNotFoundError(name="dermlens.nowhere")) is None
