"""Spectral layers against SciPy's transforms, the authors' counts, and what a start or a control must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import fft

from dermlens.testing import check_backbone
from related.spectral import DescribedHead, Spectral, SpectralNet


@pytest.fixture
def maps():
    return torch.randn(2, 3, 6, 9, generator=torch.Generator().manual_seed(1))


def test_cosine_layers_begin_as_scipys_and_undo_each_other(maps):
    forth, back = Spectral("dct", (6, 9)), Spectral("inverse_dct", (6, 9))
    y_BCHW = forth(maps)
    theirs = fft.dctn(maps.numpy(), axes=(2, 3), norm="ortho")
    np.testing.assert_allclose(y_BCHW.detach().numpy(), theirs, atol=1e-5)
    torch.testing.assert_close(back(y_BCHW), maps, atol=1e-5, rtol=1e-5)


def test_fouriers_layer_begins_as_amplitude_and_phase_of_scipys(maps):
    amplitude, phase = Spectral("dft", (6, 9))(maps).detach().numpy().reshape(2, 2, 3, 6, 9).swapaxes(0, 1)
    theirs = fft.fft2(maps.numpy(), norm="ortho")
    np.testing.assert_allclose(amplitude, np.abs(theirs), atol=2e-4)
    turned = np.exp(1j * phase) * np.abs(theirs)
    np.testing.assert_allclose(turned, theirs, atol=1e-4)


def test_an_empty_map_has_a_finite_slope():
    x_BCHW = torch.zeros(1, 1, 4, 4, requires_grad=True)
    layer = Spectral("dft", (4, 4))
    layer(x_BCHW).sum().backward()
    assert torch.isfinite(x_BCHW.grad).all()
    assert torch.isfinite(layer.a_real.grad).all()


def parameters(net):
    """With the last layer of seven classes behind the global average."""
    channels = net(torch.zeros(1, 3, 149, 149)).shape[1]
    return sum(p.numel() for p in net.parameters()) + 7 * channels + 7


@pytest.mark.parametrize(
    ("layers", "count"), [("plain", 132_199), ("both_ways", 137_831), ("deep", 132_199 + 9_248)]
)
def test_parameters_are_the_authors(layers, count):
    assert parameters(SpectralNet(layers)) == count


def test_matched_controls_have_nearly_the_parameters_of_what_they_control():
    counts = {layers: parameters(SpectralNet(layers)) for layers in ("plain", "wide", "both_ways", "fourier")}
    assert counts["wide"] == pytest.approx(counts["both_ways"], rel=2e-3)
    assert counts["fourier"] == pytest.approx(counts["plain"], rel=6e-3)


def test_controls_have_the_parameters_of_what_they_control():
    nets = {start: SpectralNet("both_ways", start) for start in ("transform", "random", "fixed")}
    counts = {start: sum(p.numel() for p in net.parameters()) for start, net in nets.items()}
    assert len(set(counts.values())) == 1
    learns = {
        start: sum(p.numel() for p in net.parameters() if p.requires_grad) for start, net in nets.items()
    }
    assert learns["fixed"] == learns["transform"] - 2 * (48**2 + 16**2 + 16**2)
    assert learns["random"] == learns["transform"]
    a = [net.stages[1].a_real for net in nets.values()]
    torch.testing.assert_close(a[0], a[2])
    assert not torch.allclose(a[0], a[1])


@pytest.mark.parametrize(
    "settings",
    [
        {"layers": "both_ways"},
        {"layers": "both_ways", "start": "fixed"},
        {"layers": "fourier", "head": True},
        {"layers": "wide", "head": True},
    ],
    ids=str,
)
def test_the_networks_are_backbones(settings):
    check_backbone("related.spectral:spectral_net", **settings)


def test_the_described_head_is_fouriers_transform_of_the_channel_means():
    head = DescribedHead(8)
    with torch.no_grad():
        head.convolution.weight.copy_(torch.tensor([[[0.0, 1, 0]]]))  # leaves the means as they are
        head.convolution.bias.zero_()
    x_BCHW = torch.rand(2, 8, 3, 3, generator=torch.Generator().manual_seed(2))
    found = head(x_BCHW).detach().numpy()[:, :, 0, 0]
    theirs = fft.fft(x_BCHW.mean((2, 3)).numpy(), axis=1, norm="ortho")
    np.testing.assert_allclose(found[:, :8], np.abs(theirs), atol=2e-4)
    np.testing.assert_allclose(np.exp(1j * found[:, 8:]) * np.abs(theirs), theirs, atol=1e-4)
