"""Batches: every image where and as often as it should be, in an order that the seed alone decides."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dermlens.data.cache import open_cache
from dermlens.data.loaders import make_loader, offline_plan

N = 23


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """23 pictures of one colour each, which tells their row."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(N):
        Image.new("RGB", (40, 32), (i, 100, 200)).save(folder / f"{i}.png")
    Image.new("L", (40, 32), 255).save(folder / "mask.png")
    return folder


@pytest.fixture(scope="module")
def table(folder):
    masks = [str(folder / "mask.png") if i % 2 else None for i in range(N)]
    paths = [str(folder / f"{i}.png") for i in range(N)]
    return pd.DataFrame({"image_id": [f"i{i}" for i in range(N)], "path": paths, "mask": masks})


@pytest.fixture(scope="module")
def cache(table, folder):
    return open_cache(table, size=32, crop="center", root=folder / "cache")


META_NM = np.stack([np.arange(N), -np.arange(N)], axis=1).astype(np.float32)
TARGET_N = np.arange(N) % 3
ROWS_R = np.array([2, 3, 5, 7, 8, 11, 13, 17, 19, 20, 22])


@pytest.fixture
def loader(cache):
    def make(rows_R=ROWS_R, batch_size=4, *, seed=1, epoch=0, shuffle=True, **more):
        return make_loader(
            cache, rows_R, META_NM, TARGET_N, batch_size, seed=seed, epoch=epoch, shuffle=shuffle, **more
        )

    return make


def rows(batches) -> list[int]:
    return [row for batch in batches for row in batch["row"].tolist()]


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_batch_holds_what_belongs_together(loader, shuffle):
    for batch in loader(shuffle=shuffle):
        row_B = batch["row"]
        assert batch["image"].shape == (len(row_B), 3, 32, 32)
        assert batch["image"].dtype == torch.uint8
        assert batch["image"].is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch["image"][:, 0, 0, 0].long(), row_B)
        assert (batch["image"][:, 2] == 200).all()
        assert batch["meta"].dtype == torch.float32
        assert torch.equal(batch["meta"][:, 1], -row_B.float())
        assert torch.equal(batch["target"], row_B % 3)
        assert batch["augment"].tolist() == [True] * len(row_B)


def test_an_epoch_has_every_image_once_and_the_last_batch_is_smaller(loader):
    batches = list(loader())
    assert [len(batch["row"]) for batch in batches] == [4, 4, 3]
    assert len(loader()) == 3
    assert sorted(rows(batches)) == ROWS_R.tolist()


def test_without_shuffling_the_order_is_the_given_one(loader):
    assert rows(loader(ROWS_R[::-1].copy(), shuffle=False)) == ROWS_R[::-1].tolist()


def test_seed_and_epoch_decide_the_order(loader):
    orders = {(s, e): tuple(rows(loader(seed=s, epoch=e))) for s, e in itertools.product((1, 2), (0, 1))}
    assert len(set(orders.values())) == 4
    np.random.seed(7)  # noqa: NPY002 - whatever else has been drawn
    torch.manual_seed(7)
    assert tuple(rows(loader(seed=2, epoch=1))) == orders[2, 1]


def test_two_passes_over_one_loader_are_the_same(loader):
    one = loader()
    assert rows(one) == rows(one)


@given(n=st.integers(1, 23), batch_size=st.integers(1, 8), world=st.integers(1, 4), epoch=st.integers(0, 3))
def test_ranks_share_a_training_epoch(cache, n, batch_size, world, epoch):
    """As many images and batches each, all images together, and hardly any twice."""
    shares = [
        list(
            make_loader(
                cache, np.arange(n), META_NM, TARGET_N, batch_size,
                seed=0, epoch=epoch, shuffle=True, rank=rank, world=world,
            )
        )
        for rank in range(world)
    ]  # fmt: skip
    assert len({len(share) for share in shares}) == 1
    assert len({len(rows(share)) for share in shares}) == 1
    everything = [row for share in shares for row in rows(share)]
    assert set(everything) == set(range(n))
    assert len(everything) - n < world


@given(n=st.integers(1, 23), batch_size=st.integers(1, 8), world=st.integers(1, 4))
def test_ranks_share_an_evaluation_without_repeats(cache, n, batch_size, world):
    shares = [
        make_loader(
            cache, np.arange(n), META_NM, TARGET_N, batch_size,
            seed=0, epoch=0, shuffle=False, rank=rank, world=world,
        )
        for rank in range(world)
    ]  # fmt: skip
    assert sorted(row for share in shares for row in rows(share)) == list(range(n))


def test_a_step_of_two_ranks_sees_the_images_of_one_with_twice_the_batch(loader):
    rows_R = np.arange(16)
    alone = [set(batch["row"].tolist()) for batch in loader(rows_R, 8)]
    pairs = zip(loader(rows_R, 4, rank=0, world=2), loader(rows_R, 4, rank=1, world=2), strict=True)
    assert [set(rows(pair)) for pair in pairs] == alone


def test_the_offline_plan_draws_as_often_as_its_folders_hold(loader):
    batches = list(loader(batch_size=500, plan=True))
    drawn, augment = np.array(rows(batches)), torch.cat([batch["augment"] for batch in batches]).numpy()
    counts = np.bincount(TARGET_N[ROWS_R])
    totals = offline_plan({str(target): int(count) for target, count in enumerate(counts)})
    assert np.bincount(TARGET_N[drawn]).tolist() == list(totals.values())
    assert sorted(drawn[~augment]) == ROWS_R.tolist()
    assert set(drawn) == set(ROWS_R.tolist())
    assert 0 < augment[:100].sum() <= 100  # shuffled, not the originals first
    assert list(drawn[:200]) != sorted(drawn[:200])


def test_no_metadata_is_a_width_of_zero(cache):
    empty_NM = np.zeros((N, 0), np.float32)
    batch = next(iter(make_loader(cache, ROWS_R, empty_NM, TARGET_N, 4, seed=0, epoch=0, shuffle=True)))
    assert batch["meta"].shape == (4, 0)


def test_metadata_of_another_table_is_caught(cache):
    with pytest.raises(AssertionError, match="one row of each"):
        make_loader(cache, ROWS_R, META_NM[:5], TARGET_N, 4, seed=0, epoch=0, shuffle=True)
