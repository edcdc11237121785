"""What a forge and a contributor's hooks read is YAML of the form they expect, and says what is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_workflow_lints_tests_every_python_and_builds_the_wheel():
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert flow["permissions"] == {"contents": "read"}
    jobs = flow["jobs"]
    output = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert output["lint"] == ["make lint"]
    assert output["test"] == ["make test"]
    assert "python -m build --wheel" in output["wheel"]
    named = {word.rpartition(" ")[2] for word in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", word)}
    assert set(jobs["test"]["strategy"]["matrix"]["python-version"]) == named
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert {"lint", "test"} <= targets


def test_the_hooks_are_those_of_lint():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repo["repo"] == "local"
    lint = (ROOT / "Makefile").read_text(encoding="utf-8")
    for hook in repo["hooks"]:
        assert {"id", "name", "entry", "language"} <= hook.keys()
        tool = hook["entry"].split()[0].removeprefix(".venv")
        assert f"$(BIN){tool.removeprefix('/bin')}" in lint


def test_the_types_are_shipped():
    assert (ROOT / "src" / "dermlens" / "py.typed").is_file()


def test_what_security_names_is_there():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / link).is_file(), link
