"""Cores by a container's quota, as Linux writes it; and the threads that follow."""

from __future__ import annotations

import pytest

from dermlens.predict import network
from dermlens.predict.network import onnx_runtime
from dermlens.predict.predictor import Predictor


@pytest.fixture
def groups(tmp_path):
    """Writes control groups: files by their path below the mount, and the lines that say which are ours."""

    def write(own: str, **files: str):
        for name, content in files.items():
            file = tmp_path / "mount" / name.replace("__", "/").replace("max", "cpu.max")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        (tmp_path / "own").write_text(own)
        return tmp_path / "mount", tmp_path / "own"

    return write


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"max": "max 100000\n"}, None),
        ("0::/\n", {"max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a__max": "200000 100000", "a__b__max": "max 100000"}, 2.0),
        ("0::/a/b\n", {"a__max": "400000 100000", "a__b__max": "50000 100000"}, 0.5),
        ("0::/\n", {}, None),
        ("0::/\n", {"max": "rubbish"}, None),
        ("0::/\n", {"max": "100 0"}, None),
        ("", {}, None),
    ],
)
def test_a_quota_is_read_as_the_kernel_writes_it(groups, own, files, quota):
    assert network.cpu_quota(*groups(own, **files)) == quota


@pytest.mark.parametrize(("microseconds", "quota"), [("300000", 3.0), ("-1", None)])
def test_a_quota_of_version_1(tmp_path, microseconds, quota):
    folder = tmp_path / "cpu,cpuacct" / "docker" / "x"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text(microseconds)
    (folder / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "own").write_text("5:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n")
    assert network.cpu_quota(tmp_path, tmp_path / "own") == quota


def test_a_machine_without_control_groups_has_no_quota(tmp_path):
    assert network.cpu_quota(tmp_path, tmp_path / "none") is None


@pytest.mark.parametrize(("quota", "most"), [(0.2, 1), (1.5, 2), (1000.0, 10_000)])
def test_cores_are_at_least_one_and_no_more_than_the_quota(monkeypatch, quota, most):
    monkeypatch.setattr(network, "cpu_quota", lambda: quota)
    assert 1 <= network.usable_cores() <= most


def test_the_network_s_threads_follow(monkeypatch, dermlens, tmp_path):
    """Those that are asked for, else the quota's."""
    given = []
    session = onnx_runtime().InferenceSession

    def noted(content, options, **further):
        given.append(options.intra_op_num_threads)
        return session(content, options, **further)

    monkeypatch.setattr(onnx_runtime(), "InferenceSession", noted)
    monkeypatch.setattr("dermlens.predict.network.usable_cores", lambda: 3)
    Predictor.open()
    Predictor.open(threads=2)
    dermlens("predict", tmp_path / "none.jpg", "--threads", 1)
    assert given == [3, 2, 1]
    assert dermlens("predict", tmp_path / "none.jpg", "--threads", 0).code == 2
