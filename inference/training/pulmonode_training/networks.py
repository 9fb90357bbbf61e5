"""MU-Net and MSU-Net of Ni et al. (QIMS 2022;12:292-309), reconstructed, and their baselines.

The paper's figures, which carry the layer sizes, are not in its text. What the text leaves open
is a constructor argument here. `PRESETS["paper"]` gives the published sizes, 25.97 million
parameters for MU-Net and 21.81 million for MSU-Net; the defaults differ from it only where the
evaluation showed something better.

    MUNet   [N,1,D,H,W]  -> logits [N,2,D,H,W]                           class 1 is nodule
    MSUNet  [N,4,64,64]  -> logits [N,2,4,64,64], list of [N,2] per task  class 1 is label 1

| option | values | default | reason |
|---|---|---|---|
| `width` | share of the published channel counts | 1 | the release chooses by its evaluation |
| `scales` | 0 to 4 pooled copies of the input | 4 | one for each lower level; 0 makes a plain U-Net |
| `gate_at` | "block", "pool" | "block" | after the level's convolutions both maps have its width, and the gated one is the skip |
| `pyramid` | "conv", "conv+1x1" | "conv" | the base network's own unit |
| `reduction` | W1's channels are 1/reduction | 8 | with 2 the tried placements miss 25.97 M |
| `gate_norm` | batch norm in gates | no | equation 6 has none |
| `decoder_gates` | decoder levels, 0 is full resolution | 1, 2, 3 | full resolution has no pyramid either |
| `separable` | encoder by slices | yes | the network's name; no: 2.5D without separation |
| `heads` | "both", "encoder", "decoder" | "both" | equation 1; the others are the paper's ablation |
| `measured` | size and density of the outlined nodule join the heads' features | yes | the mean over the picture hides them: without it texture was rated worse than by a logistic regression on diameter and mean HU |
| `dropout` | before the linear layers | 0.2 in training | the paper is silent |
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHARACTERISTICS = ("malignancy", "margin", "texture", "calcification")
# The paper's four, and whether the slab shows a nodule at all.
TASKS = (*CHARACTERISTICS, "nodule")


def _conv(dim: int):
    return nn.Conv2d if dim == 2 else nn.Conv3d


def _norm(dim: int):
    return nn.BatchNorm2d if dim == 2 else nn.BatchNorm3d


def _max_pool(dim: int) -> nn.Module:
    return nn.MaxPool2d(2) if dim == 2 else nn.MaxPool3d(2)


def conv_unit(dim: int, cin: int, cout: int, groups: int = 1, size: int = 3) -> nn.Sequential:
    """Convolution over three voxels an axis, batch norm, ReLU: the base network's unit."""
    return nn.Sequential(_conv(dim)(cin, cout, size, padding=size // 2, groups=groups),
                         _norm(dim)(cout), nn.ReLU(inplace=True))


def double_unit(dim: int, cin: int, cout: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(conv_unit(dim, cin, cout, groups), conv_unit(dim, cout, cout, groups))


def _pyramid(dim: int, cin: int, cout: int, groups: int, form: str) -> nn.Module:
    if form == "conv":
        return conv_unit(dim, cin, cout, groups)
    if form == "conv+1x1":
        return nn.Sequential(conv_unit(dim, cin, cout, groups), conv_unit(dim, cout, cout, groups, 1))
    raise ValueError(f"pyramid {form!r}: choose conv or conv+1x1")


class Gate(nn.Module):
    """Equations 6 and 7: x * sigmoid(W2 relu(W1 (f + x))).

    One attention map a group: in the encoder of MSU-Net a map common to all slices would let
    each slice see its neighbours.
    """

    def __init__(self, dim: int, channels: int, reduction: int, groups: int = 1, norm: bool = False):
        super().__init__()
        middle = max(groups, channels // reduction)
        self.groups = groups
        self.w1 = _conv(dim)(channels, middle, 1, groups=groups)
        self.w2 = _conv(dim)(middle, groups, 1, groups=groups)
        if norm:
            self.w1 = nn.Sequential(self.w1, _norm(dim)(middle))
            self.w2 = nn.Sequential(self.w2, _norm(dim)(groups))

    def forward(self, x: Tensor, f: Tensor) -> Tensor:
        attention = torch.sigmoid(self.w2(torch.relu(self.w1(x + f))))
        if self.groups == 1:
            return x * attention
        return (x.unflatten(1, (self.groups, -1)) * attention.unsqueeze(2)).flatten(1, 2)


class Body(nn.Module):
    """U-Net with a max-pooled input pyramid; gates in encoder and decoder."""

    def __init__(self, dim: int, cin: int, widths: list[int], groups: int, scales: int, gate_at: str,
                 reduction: int, decoder_gates: tuple[int, ...], pyramid: str, gate_norm: bool):
        super().__init__()
        if gate_at not in ("block", "pool"):
            raise ValueError(f"gate_at {gate_at!r}: choose block or pool")
        self.scales, self.gate_at = scales, gate_at
        self.pool = _max_pool(dim)
        self.down = nn.ModuleList(double_unit(dim, a, b, groups)
                                  for a, b in zip([cin, *widths[:-1]], widths))
        fused = widths[1:1 + scales] if gate_at == "block" else widths[:scales]
        self.pyramid = nn.ModuleList(_pyramid(dim, cin, c, groups, pyramid) for c in fused)
        self.gate_in = nn.ModuleList(Gate(dim, c, reduction, groups, gate_norm) for c in fused)
        self.up = nn.ModuleList(nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"),
                                              conv_unit(dim, b, a))
                                for a, b in zip(widths, widths[1:]))
        self.gate_out = nn.ModuleDict({str(i): Gate(dim, widths[i], reduction, 1, gate_norm)
                                       for i in decoder_gates})
        self.merge = nn.ModuleList(double_unit(dim, 2 * w, w) for w in widths[:-1])

    def encode(self, x: Tensor) -> list[Tensor]:
        small, maps = x, []
        for i, block in enumerate(self.down):
            x = self.pool(x) if i else x
            gated = 1 <= i <= self.scales
            if gated:
                small = self.pool(small)
                f = self.pyramid[i - 1](small)
            if gated and self.gate_at == "pool":
                x = self.gate_in[i - 1](x, f)
            x = block(x)
            if gated and self.gate_at == "block":
                x = self.gate_in[i - 1](x, f)
            maps.append(x)
        return maps

    def decode(self, maps: list[Tensor]) -> Tensor:
        x = maps[-1]
        for i in reversed(range(len(maps) - 1)):
            x = self.up[i](x)
            if str(i) in self.gate_out:
                x = self.gate_out[str(i)](x, maps[i])
            x = self.merge[i](torch.cat((maps[i], x), 1))
        return x


def _widths(base: int, width: float, levels: int, groups: int) -> list[int]:
    first = round(base * width)
    if first < groups or first % groups:
        raise ValueError(f"width {width}: {first} channels do not divide into {groups} slice "
                         f"groups; choose a width of which {base} times is a multiple of {groups}")
    return [first * 2 ** i for i in range(levels)]


class MUNet(nn.Module):
    """3D multiscale U-Net, stage 1. scales=0 and decoder_gates=() make the plain 3D U-Net."""

    def __init__(self, width: float = 1.0, base: int = 32, levels: int = 5, scales: int = 4,
                 gate_at: str = "block", reduction: int = 8, decoder_gates: tuple[int, ...] = (1, 2, 3),
                 pyramid: str = "conv", gate_norm: bool = False, classes: int = 2):
        super().__init__()
        widths = _widths(base, width, levels, 1)
        self.width = width
        self.body = Body(3, 1, widths, 1, scales, gate_at, reduction, decoder_gates, pyramid, gate_norm)
        self.head = nn.Conv3d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body.decode(self.body.encode(x)))


class Residual(nn.Module):
    """Two convolutions and a short cut; halves the picture when stride is 2."""

    def __init__(self, cin: int, cout: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(cin, cout, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(cout),
            nn.ReLU(inplace=True),
            nn.Conv2d(cout, cout, 3, 1, 1, groups=groups, bias=False), nn.BatchNorm2d(cout))
        short: list[nn.Module] = [nn.AvgPool2d(2)] if stride == 2 else []
        if cin != cout:
            short += [nn.Conv2d(cin, cout, 1, groups=groups, bias=False), nn.BatchNorm2d(cout)]
        self.short = nn.Sequential(*short)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.short(x))


MEASURES = 12


def measures(x: Tensor, p: Tensor) -> Tensor:
    """[N,MEASURES]: what is measured of the outlined nodule on a slab.

    x: input [N,S,H,W], 0..1 for -1000..500 HU; p: mask probability, same shape. Size (area of all
    slices, of the largest), density (mean, spread, of the core, of the rim, of the surroundings,
    brightest, dense and faint shares), sharpness of the edge, and irregularity of the outline.
    """
    x, p = x.float(), p.float()

    def total(t: Tensor) -> Tensor:
        return t.flatten(1).sum(1)

    def mean(weight: Tensor, of: Tensor) -> Tensor:
        return total(weight * of) / (total(weight) + 1)

    # A dilation is a max pool, an erosion one of the negative.
    grown, shrunk = F.max_pool2d(p, 3, 1, 1), -F.max_pool2d(-p, 3, 1, 1)
    edge, around = grown - shrunk, F.max_pool2d(p, 7, 1, 3) - grown
    steep = F.max_pool2d(x, 3, 1, 1) + F.max_pool2d(-x, 3, 1, 1)
    area, level = total(p) + 1, mean(p, x)
    spread = torch.sqrt(mean(p, (x - level[:, None, None, None]) ** 2) + 1e-6)
    return torch.stack((
        torch.log(area), torch.log(p.sum((2, 3)).amax(1) + 1),
        level, spread, mean(p ** 4, x), mean(around, x), mean(edge, x), mean(edge, steep),
        10 * mean(p, torch.relu(x - 0.8)), 10 * mean(p, torch.relu(0.55 - x)),
        torch.log(total(edge) ** 2 / area + 1), (p * x).flatten(1).amax(1)), 1)


class MSUNet(nn.Module):
    """2.5D multiscale separable U-Net, stage 2, with one linear layer a task (equations 1 to 3).

    The encoder works slice by slice (its channels are slice-major, in `slices` groups); slices
    meet in the decoder. scales=0 and decoder_gates=() make the plain U-Net: with separable=False
    of 2.5D, with slices=1 of 2D.
    """

    def __init__(self, width: float = 1.0, tasks: tuple[str, ...] = TASKS, slices: int = 4,
                 base: int = 64, levels: int = 5, scales: int = 4, gate_at: str = "block",
                 reduction: int = 8, decoder_gates: tuple[int, ...] = (1, 2, 3), pyramid: str = "conv",
                 gate_norm: bool = False, separable: bool = True, heads: str = "both",
                 measured: bool = True, dropout: float = 0.0):
        super().__init__()
        if heads not in ("both", "encoder", "decoder"):
            raise ValueError(f"heads {heads!r}: choose both, encoder or decoder")
        self.width, self.tasks, self.slices, self.heads = width, tuple(tasks), slices, heads
        groups = slices if separable else 1
        widths = _widths(base, width, levels, groups)
        self.body = Body(2, slices, widths, groups, scales, gate_at, reduction, decoder_gates, pyramid, gate_norm)
        first, deep = widths[0], widths[-1]
        self.head = nn.Conv2d(first, 2 * slices, 1)
        # Two blocks on the encoder's last map: the first still slice by slice, the second merges.
        self.res_enc = nn.Sequential(Residual(deep, deep // 4, groups=groups),
                                     Residual(deep // 4, first)) if heads != "decoder" else None
        # Four blocks on the decoder's last map, each halving it: 64 -> 4 pixels.
        self.res_dec = nn.Sequential(*(Residual(first, first, stride=2) for _ in range(4))) if heads != "encoder" else None
        features = first * (2 if heads == "both" else 1)
        self.measured = nn.Sequential(nn.BatchNorm1d(MEASURES), nn.Linear(MEASURES, 32), nn.ReLU(),
                                      nn.Linear(32, 32), nn.ReLU()) if measured else None
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.ModuleList(nn.Linear(features + (32 if measured else 0), 2) for _ in self.tasks)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = self.body.encode(x)
        last = self.body.decode(maps)
        mask = self.head(last).unflatten(1, (2, self.slices))
        shared = [self.res_enc(maps[-1]).mean((2, 3))] if self.res_enc is not None else []
        if self.res_dec is not None:
            shared.append(self.res_dec(last).mean((2, 3)))
        shared = self.dropout(torch.cat(shared, 1))
        if self.measured is not None:
            # The outline is not bent to please the ratings: no gradient flows back.
            p = torch.sigmoid(difference(mask)).detach()
            shared = torch.cat((shared, self.measured(measures(x, p))), 1)
        return mask, [fc(shared) for fc in self.fc]


# "paper": its own settings, as far as its text goes, and the fifth task, without which stage 2
# believes every candidate (258 parameters more).
PRESETS = {
    "paper": {"localize": {"width": 1.0}, "refine": {"width": 1.0, "measured": False}},
    "small": {"localize": {"width": 0.125}, "refine": {"width": 0.25, "dropout": 0.2}},
    # Tries the commands in a few minutes and is good for nothing else.
    "quick": {"localize": {"width": 0.0625}, "refine": {"width": 0.0625}},
}


def difference(z: Tensor) -> Tensor:
    """Logit of class 1: a softmax of two classes is a sigmoid of their difference."""
    return z[:, 1] - z[:, 0]


def count(net: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in net.parameters())
