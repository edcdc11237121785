"""Spectral layers against SciPy's transforms, the authors' counts, and what a start or a control must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import fft

from related.spectral import Spectral, SpectralHead, SpectralNet


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


@pytest.mark.parametrize(("layers", "count"), [("plain", 132_199), ("both_ways", 137_831)])
def test_parameters_are_the_authors(layers, count):
    assert sum(p.numel() for p in SpectralNet(7, layers).parameters()) == count


def test_controls_have_the_parameters_of_what_they_control():
    nets = {start: SpectralNet(7, "both_ways", start) for start in ("transform", "random", "fixed")}
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


def test_the_network_and_the_head_learn():
    torch.manual_seed(0)
    net, head = SpectralNet(7), SpectralHead(8, 7)
    logits_BC = net(torch.randn(2, 3, 149, 149))
    assert logits_BC.shape == (2, 7)
    logits_BC.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    head(torch.randn(2, 8, 3, 3)).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())
