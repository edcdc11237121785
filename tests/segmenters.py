"""A segmenter whose masks are known beforehand: what is darker than mid-grey is lesion."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from dermlens.predict.segmenter import SEGMENTER_FILE, SEGMENTER_ONNX

SIDE = 32


def graph(*, gives: str = "lesion", takes: str = "image", mean_axes: tuple[int, ...] = (3,)) -> bytes:
    """The mean over red, green and blue, below 128."""
    nodes = [
        helper.make_node("Cast", [takes], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["grey"], axes=mean_axes, keepdims=0),
        helper.make_node("Less", ["grey", "middle"], ["dark"]),
        helper.make_node("Cast", ["dark"], [gives], to=TensorProto.FLOAT),
    ]
    middle = helper.make_tensor("middle", TensorProto.FLOAT, (), [128.0])
    pixels = helper.make_tensor_value_info(takes, TensorProto.UINT8, ["B", SIDE, SIDE, 3])
    shape = ["B", SIDE, SIDE] if mean_axes == (3,) else ["B"]
    lesion = helper.make_tensor_value_info(gives, TensorProto.FLOAT, shape)
    model = helper.make_model(
        helper.make_graph(nodes, "dark", [pixels], [lesion], [middle]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def dark_segmenter(folder: Path, shape: str = "squash", content: bytes | None = None, **keys: object) -> Path:
    """The folder of such a segmenter."""
    content = graph() if content is None else content
    document = {
        "format": "dermlens segmenter 1",
        "dermlens": "0.1.0",
        "name": f"dark-{shape}",
        "encoder": "none",
        "size": SIDE,
        "shape": shape,
        "licence": "CC0",
        "trained_on": "nothing",
        "measured": None,
        "sha256": hashlib.sha256(content).hexdigest(),
        "largest_difference": 0.0,
    }
    folder.mkdir(parents=True)
    (folder / SEGMENTER_ONNX).write_bytes(content)
    (folder / SEGMENTER_FILE).write_text(json.dumps(document | keys), encoding="utf-8")
    return folder
