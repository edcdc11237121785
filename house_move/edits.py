"""The few edits that no rule makes. BEFORE is applied to the old tree in memory, AFTER to the moved and formatted tree.

Each is (file, old text, new text); old text has to be there. TEMPLATES are files put in place whole.
"""

from __future__ import annotations

import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent

BEFORE = [
    # losses register themselves as their one module is imported
    ("src/dermlens/imbalance/registry.py", "from dermlens.imbalance import losses as losses_package\n", ""),
    ("src/dermlens/imbalance/registry.py", '''    for module in pkgutil.iter_modules(losses_package.__path__, f"{losses_package.__name__}."):
        importlib.import_module(module.name)
''', ""),
    ("src/dermlens/imbalance/registry.py", "        all_losses()\n", ""),
    ("src/dermlens/imbalance/registry.py", "import importlib\n", ""),
    ("src/dermlens/imbalance/registry.py", "import pkgutil\n", ""),
    # the paper's study has commands of its own
    ("src/dermlens/cli/__init__.py", "models, paper, predict", "models, predict"),
    ("src/dermlens/cli/__init__.py", '    "paper",\n', ""),
    ("src/dermlens/training/keras_adam.py", "from torch.optim.optimizer import Optimizer, ParamsT", "from torch.optim import Optimizer\nfrom torch.optim.optimizer import ParamsT"),
]

BEFORE += [
    ("tests/calibrated.py", "        model=ModelConfig(),\n", "        model=ModelConfig().model_dump(mode=\"json\"),\n"),
    ("tests/training/test_refusals.py",
     ["from dermlens.training import processes\\n\"\n        \"with processes.held(", "from dermlens.training import lock\\n\"\n        \"with lock.held("],
     ["from dermlens.training.processes import held\\n\"\n        \"with held(", "from dermlens.training.fit import locked\\n\"\n        \"with locked("]),
    ("src/dermlens/imbalance/registry.py", 'F = TypeVar("F"', 'F = TypeVar("AnyLoss"'),
    ("src/dermlens/data/metadata.py", ["of `dermlens.data.vocabulary`, where", "of `dermlens.data.sites`, where"], ["of `SITE_GROUPS`, where"] * 2),
    ("src/dermlens/cli/app.py", "def main() -> None:\n    \"\"\"Run the command line; turn errors into one sentence and an exit code.\"\"\"\n    try:\n        code = app(",
     "def main(commands: typer.Typer = app) -> None:\n    \"\"\"Run the command line; turn errors into one sentence and an exit code.\"\"\"\n    try:\n        code = commands("),
    ("src/dermlens/studies/paper/work.py", '"-m", "dermlens", *arguments', '"-m", "paper", *arguments'),
    # images and DICOM needed each other: what decodes either stands above both, with the squares
    ("src/dermlens/data/images.py", """    name, data = _named_bytes(source)
    if data[128:132] == b"DICM":
        from dermlens.data.dicom import dicom_pixels

        return dicom_pixels(name, data, min_side, max_pixels)
""", """    name, data = named_bytes(source)
    if data[128:132] == b"DICM":
        return dicom_pixels(name, data, min_side, max_pixels)
    return decode_image(name, data, min_side, max_pixels)


def decode_image(name: str, data: bytes, min_side: int | None = None, max_pixels: int | None = None) -> np.ndarray:
    \"\"\"Decode the bytes of an image that is no DICOM photograph; as `read_image`.

    Args:
        name: of the file, for errors.
        data: its bytes.
        min_side: as `read_image` has it.
        max_pixels: as `read_image` has it.

    Returns:
        uint8 (H, W, 3), writable.

    Raises:
        ImageError: as `read_image`.
    \"\"\"
"""),
    ("src/dermlens/data/images.py", "from dermlens.data.scans import", "from dermlens.data.dicom import dicom_pixels, dicom_size\nfrom dermlens.data.scans import"),
    ("src/dermlens/data/images.py", ["""    name, data = _named_bytes(source)
    if data[128:132] == b"DICM":
        from dermlens.data.dicom import dicom_size

        return dicom_size(name, data)
""", "DAMAGE = ("], ["""    name, data = named_bytes(source)
    if data[128:132] == b"DICM":
        return dicom_size(name, data)
    return decoded_size(name, data)


def decoded_size(name: str, data: bytes) -> tuple[int, int]:
    \"\"\"Width and height of an upright picture that is no DICOM photograph, in pixels; as `image_size`.\"\"\"
""", "DAMAGE = ("]),
    ("src/dermlens/data/images.py", "def _named_bytes(source: Path | bytes) -> tuple[str, bytes]:\n", 'def named_bytes(source: Path | bytes) -> tuple[str, bytes]:\n    """A name for errors, and the bytes of a file. Raises: ImageError, as `read_image`."""\n'),
    ("src/dermlens/data/dicom.py", ["has_profile, in_srgb, read_image", "ImageError, read_image"], ["decode_image, has_profile, in_srgb", "ImageError, decode_image"]),
    ("src/dermlens/data/dicom.py", ["read_image(marked_as(frame, _is_rgb(header)), min_side, most)", "read_image(_first_frame(header.PixelData, frames), min_side, most)"],
     ['decode_image("the image", marked_as(frame, _is_rgb(header)), min_side, most)', 'decode_image("the image", _first_frame(header.PixelData, frames), min_side, most)']),
    # model.json is a document of predict: it holds what the network is as it was written, models/ knows what it means
    ("src/dermlens/models/document.py", "from dermlens.models.config import ModelConfig\n", ""),
    ("src/dermlens/models/document.py", "        model: the network.\n", "        model: the network's section of the recipe, as it was written; `dermlens.models.saved` reads it.\n"),
    ("src/dermlens/models/document.py", "    model: ModelConfig\n", "    model: dict[str, Any]\n"),
    ("src/dermlens/models/document.py", "        self.views.check(own=self.size, pool=self.model.pool)\n", "        self.views.check(own=self.size, pool=str(self.model.get(\"pool\", \"flatten\")))\n"),
    ("src/dermlens/models/document.py", """    @model_validator(mode="after")
    def _parts_fit(self)""", """    @property
    def backbone(self) -> str:
        \"\"\"Of the network, by the table of backbones.\"\"\"
        return str(self.model.get("backbone", "network"))

    @model_validator(mode="after")
    def _parts_fit(self)"""),
    ("src/dermlens/models/saved.py", "        model=config,\n        classes=tuple(classes)", "        model=config.model_dump(mode=\"json\"),\n        classes=tuple(classes)"),
    ("src/dermlens/models/saved.py", "    config = document.model.model_copy(", "    written = _network_of(document, document_path)\n    config = written.model_copy("),
    ("src/dermlens/models/saved.py", "document.model.resolved_", "written.resolved_"),
    ("src/dermlens/models/saved.py", "        model.eval(),\n        document.model,\n", "        model.eval(),\n        written,\n"),
    ("src/dermlens/models/saved.py", "def load_model(", '''def _network_of(document: ModelDocument, path: Path) -> ModelConfig:
    """The network that a document describes. Raises: UserError when it is none of ours."""
    try:
        return ModelConfig.model_validate(document.model)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(("model", *map(str, first["loc"])))
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path} does not describe a dermlens model: {key}: {reason}") from error


def load_model('''),
    ("src/dermlens/models/saved.py", "import safetensors.torch\n", "import safetensors.torch\nfrom pydantic import ValidationError\n"),
    ("src/dermlens/deploy/predictor.py", "document.model.backbone", "document.backbone"),
    ("src/dermlens/serve/model.py", "document.model.backbone", "document.backbone"),
]

AFTER: list[tuple[str, str, str]] = [
    ("benchmarks/inference_engines.py", """    from importlib import import_module

    loaded = import_module(f"dermlens.deploy.engines.{engine}").load(path, threads)
""", """    if engine == "litert":
        from dermlens.export.edge import load_litert as load
    else:
        from dermlens.export.edge import load_openvino as load
    loaded = load(path, threads)
"""),
    ("CONTRIBUTING.md", "2. Write `src/dermlens/training/losses.py`: one function decorated", "2. Add to `src/dermlens/training/losses.py` one function decorated"),
    ("docs/edge.md", "One file in `src/dermlens/export/engines.py/` with `write(saved, folder) -> Path` and `load(path)`, which gives", "Two functions in `src/dermlens/export/edge.py`, `write_NAME(saved, folder) -> Path` and `load_NAME(path)`, which gives"),
    ("docs/edge.md", "one row in `engines/table.py`", "one row in `engines.py`"),
    ("docs/explain.md", "in a file of its own under `dermlens/explain`, and a row in `METHODS`\n(`methods.py`)", "in `dermlens/explain/methods.py`, and a row in its `METHODS`"),
    ("benchmarks/kept_memory.py", "(`dermlens.training.machine`), as training and\"\n        \" prediction here do.\"", "(`dermlens.training.machine`), as training\"\n        \" and prediction here do.\""),
    ("tests/predict/pictures/test_images.py", "read_image; from PIL import ImageCms;", "read_image; \"\n        \"from PIL import ImageCms;"),
    ("pyproject.toml", 'packages = ["dermlens"]', 'packages = ["dermlens", "paper"]'),
    ("pyproject.toml", 'mypy_path = "src"', 'mypy_path = "src:."'),
    ("pyproject.toml", 'pythonpath = ["tests"]', 'pythonpath = ["tests", "."]'),
    ("pyproject.toml", 'include = ["src", "tests",', 'include = ["src", "tests", "paper",'),
]
TEMPLATES: dict[str, str] = {
    "importlinter": ".importlinter",
    "paper_main.py": "paper/__main__.py",
    "paper_test_commands.py": "tests/paper/test_commands.py",
}  # file under templates/ → path
DELETE: list[str] = []

# (file, first words of the stretch, words it ends before, file under templates/ that takes its place)
REGIONS = [("docs/architecture.md", "| place | what it knows |", "## The contracts", "architecture_table.md")]


def before(root: Path) -> tuple[dict[str, str], list[str]]:
    texts: dict[str, str] = {}
    failed = []
    for path, old, new in BEFORE:
        if isinstance(old, list):  # one of several forms of a place
            place = root / path
            now = texts.get(path) or (place.read_text(encoding="utf-8") if place.is_file() else "")
            found = [pair for pair in zip(old, new, strict=True) if pair[0] in now]
            old, new = found[0] if found else (old[0], new[0])
        file = root / path
        text = texts.get(path) or (file.read_text(encoding="utf-8") if file.is_file() else "")
        if old not in text:
            failed.append(f"before: {path}: not found: {old.strip()[:90]!r}")
            continue
        texts[path] = text.replace(old, new)
    return texts, failed


def after(root: Path) -> list[str]:
    failed = []
    for path, old, new in AFTER:
        file = root / path
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if old not in text:
            failed.append(f"after: {path}: not found: {old.strip()[:90]!r}")
            continue
        file.write_text(text.replace(old, new), encoding="utf-8")
    for path, begin, end, name in REGIONS:
        file = root / path
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if begin not in text or end not in text:
            failed.append(f"after: {path}: no stretch from {begin!r} to {end!r}")
            continue
        head, _, rest = text.partition(begin)
        new = (HERE / "templates" / name).read_text(encoding="utf-8")
        file.write_text(head + new + "\n" + end + rest.partition(end)[2], encoding="utf-8")
    for name, path in TEMPLATES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / "templates" / name, root / path)
    for path in DELETE:
        if (root / path).is_file():
            (root / path).unlink()
    return failed
