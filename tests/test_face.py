"""The public face: every name is there, and asking for one does not import what it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dermlens


@pytest.mark.parametrize("name", dermlens.__all__)
def test_every_name_is_there(name):
    assert callable(getattr(dermlens, name))


def test_another_name_is_an_error():
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = dermlens.nothing_of_this_name


def test_loading_a_model_needs_neither_torch_nor_pandas():
    code = "import sys, dermlens; dermlens.load, dermlens.Run; print(*{'torch', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_scripts_import_the_reader_of_pictures_from_the_data(tmp_path):
    from PIL import Image

    from dermlens.data.images import image_size, read_image

    Image.new("RGB", (8, 6), (200, 150, 120)).save(tmp_path / "a.png")
    assert image_size(tmp_path / "a.png") == (8, 6)
    assert read_image(tmp_path / "a.png").tolist() == [[[200, 150, 120]] * 8] * 6
