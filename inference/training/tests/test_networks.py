"""The networks are the published ones, and their options do what they say."""
import pytest
import torch
from torch import nn

from pulmonode_training.baselines import BODIES, FORMS, Baseline
from pulmonode_training.networks import (CHARACTERISTICS, MEASURES, PRESETS, TASKS, MSUNet, MUNet, count, difference,
                                         measures)


def without_memory(of, **options) -> nn.Module:
    with torch.device("meta"):
        return of(**options)


def gradients(net: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor | None]:
    """Of all outputs at once, each weighed differently: a batch norm's output sums to nothing."""
    torch.manual_seed(3)
    out = net.train()(x)
    mask, heads = out if isinstance(out, tuple) else (out, [])
    sum((t * torch.randn_like(t)).sum() for t in (mask, *heads)).backward()
    return {name: p.grad for name, p in net.named_parameters()}


def lazy(grads: dict[str, torch.Tensor | None]) -> list[str]:
    """Parameters that learn nothing. What a batch norm subtracts again, the bias before it, does not count."""
    return [name for name, g in grads.items() if g is None or not g.abs().max() > 0]


@pytest.mark.parametrize("want, of, options", [
    (25_973_161, MUNet, {}),
    (25_889_697, MUNet, {"classes": 1, "scales": 0, "decoder_gates": ()}),
    (21_810_915, MSUNet, {"tasks": CHARACTERISTICS, "measured": False}),
    # A task more: 128 features to two logits.
    (21_810_915 + 258, MSUNet, {"measured": False}),
])
def test_parameter_counts_are_the_published_ones(want, of, options):
    assert count(without_memory(of, **options)) == want


@pytest.mark.parametrize("body, want", [("U-Net", 34.52), ("Attention U-Net", 34.87), ("Nested U-Net", 36.62)])
def test_baselines_have_the_sizes_of_table_5(body, want):
    net = without_memory(Baseline, form="2D", body=body)
    one_class = 64 + 1
    assert int((count(net.body) + one_class) / 1e4) / 100 == want


def test_the_paper_preset_is_the_paper():
    assert count(without_memory(MUNet, **PRESETS["paper"]["localize"])) == 25_973_161
    assert count(without_memory(MSUNet, **PRESETS["paper"]["refine"])) == 21_810_915 + 258


OPTIONS = [{}, {"scales": 0}, {"scales": 2}, {"gate_at": "pool"}, {"pyramid": "conv+1x1"}, {"reduction": 2},
           {"gate_norm": True}, {"decoder_gates": (0, 1, 2, 3)}, {"decoder_gates": ()}]
REFINE_OPTIONS = [{"separable": False}, {"heads": "encoder"}, {"heads": "decoder"}, {"measured": False}, {"dropout": 0.2},
                  {"tasks": CHARACTERISTICS}, {"slices": 2}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_localize_learns_with_every_option(options):
    torch.manual_seed(0)
    net = MUNet(0.25, **options)
    x = torch.rand(2, 1, 32, 32, 48)
    assert net(x).shape == (2, 2, 32, 32, 48)
    assert lazy(gradients(net, x)) == []


@pytest.mark.parametrize("options", OPTIONS + REFINE_OPTIONS, ids=str)
def test_refine_learns_with_every_option(options):
    torch.manual_seed(0)
    net = MSUNet(0.25, **options)
    slices, tasks = net.slices, options.get("tasks", TASKS)
    x = torch.rand(4, slices, 64, 64)
    mask, heads = net(x)
    assert mask.shape == (4, 2, slices, 64, 64) and [h.shape for h in heads] == [(4, 2)] * len(tasks)
    assert lazy(gradients(net, x)) == []


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("form", FORMS)
def test_baselines_learn(form, body):
    torch.manual_seed(0)
    net = Baseline(form, body, 0.0625)
    x = torch.rand(3, 4, 64, 64)
    mask, heads = net(x)
    assert mask.shape == (3, 2, 4, 64, 64) and [h.shape for h in heads] == [(3, 2)] * len(TASKS)
    assert lazy(gradients(net, x)) == []


@pytest.mark.parametrize("of, options, says", [
    (MSUNet, {"width": 0.1}, "slice groups"),
    (MSUNet, {"heads": "none"}, "choose both, encoder or decoder"),
    (MSUNet, {"gate_at": "skip"}, "choose block or pool"),
    (MUNet, {"gate_at": "skip"}, "choose block or pool"),
    (MUNet, {"pyramid": "1x1"}, "choose conv or conv"),
    (MUNet, {"width": 0.001}, "choose a width"),
])
def test_what_an_option_cannot_be_is_said(of, options, says):
    with pytest.raises(ValueError, match=says):
        of(**options)


def features_of_slices(net: nn.Module, x: torch.Tensor, changed: int) -> list[list[bool]]:
    """For each level of the encoder, which slices' features stay when one slice changes."""
    y = x.clone()
    y[:, changed] += torch.randn(64, 64)
    return [[torch.equal(a[:, j], b[:, j]) for j in range(4)]
            for a, b in ((m.unflatten(1, (4, -1)), n.unflatten(1, (4, -1)))
                         for m, n in zip(net.body.encode(x), net.body.encode(y)))]


@pytest.mark.parametrize("options", [{}, {"gate_at": "pool"}, {"pyramid": "conv+1x1"}, {"gate_norm": True}], ids=str)
@torch.no_grad()
def test_the_separable_encoder_keeps_slices_apart(options):
    torch.manual_seed(0)
    net = MSUNet(0.25, **options).eval()
    x = torch.randn(1, 4, 64, 64)
    for k in range(4):
        assert features_of_slices(net, x, k) == [[j != k for j in range(4)]] * 5


@torch.no_grad()
def test_the_encoder_that_is_not_separable_does_not():
    torch.manual_seed(0)
    net = MSUNet(0.25, separable=False).eval()
    assert features_of_slices(net, torch.randn(1, 4, 64, 64), 1) == [[False] * 4] * 5


@torch.no_grad()
def test_a_2d_baseline_sees_each_slice_alone():
    torch.manual_seed(0)
    net = Baseline("2D", "U-Net", 0.0625).eval()
    x = torch.randn(1, 4, 64, 64)
    y = x.clone()
    y[:, 2] += 1
    assert [torch.equal(net(x)[0][:, :, j], net(y)[0][:, :, j]) for j in range(4)] == [True, True, False, True]


@pytest.mark.parametrize("heads, blind", [("encoder", "up"), ("decoder", None)])
def test_heads_look_where_they_say(heads, blind):
    """Ratings by the encoder alone teach the decoder nothing; those by the decoder teach both."""
    torch.manual_seed(0)
    net = MSUNet(0.25, heads=heads, measured=False).train()
    sum((h * torch.randn_like(h)).sum() for h in net(torch.rand(4, 4, 64, 64))[1]).backward()
    taught = {part: any(p.grad is not None for p in getattr(net.body, part).parameters()) for part in ("down", "up", "merge")}
    assert taught == {"down": True, "up": blind is None, "merge": blind is None}


def test_what_is_measured_does_not_bend_the_outline():
    torch.manual_seed(0)
    net = MSUNet(0.25, heads="encoder").train()
    _, heads = net(torch.rand(4, 4, 64, 64))
    sum((h * torch.randn_like(h)).sum() for h in heads).backward()
    assert all(p.grad.abs().max() > 0 for p in net.measured.parameters())
    # The only way from the ratings to these leads through the outline that is measured.
    assert all(p.grad is None for part in (net.head, net.body.up, net.body.merge) for p in part.parameters())


def test_measures_of_a_disc():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    disc = (((y - 32) ** 2 + (x - 32) ** 2) <= 36).float().expand(1, 4, 64, 64)
    got = measures(0.2 + 0.5 * disc, disc)
    assert got.shape == (1, MEASURES)
    area, largest, level, spread = got[0, :4]
    pixels = disc[0, 0].sum()
    assert area.exp() == pytest.approx(float(4 * pixels + 1), rel=1e-4)
    assert largest.exp() == pytest.approx(float(pixels + 1), rel=1e-4)
    assert level == pytest.approx(0.7, abs=0.01) and spread < 0.05
    assert got[0, 11] == pytest.approx(0.7)
    brighter = measures(0.2 + 0.7 * disc, disc)
    assert brighter[0, 2] > level and brighter[0, 0] == area


def test_difference_is_the_logit_of_the_softmax():
    z = torch.randn(5, 2)
    assert torch.allclose(torch.sigmoid(difference(z)), torch.softmax(z, 1)[:, 1])
