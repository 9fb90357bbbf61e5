"""MU-Net and MSU-Net of Ni et al. (QIMS 2022;12:292-309), reconstructed.

The paper's figures, which carry the layer sizes, are not in its text. What the text leaves
open is a constructor argument here, and the defaults give the published sizes: 25.97 million
parameters for MU-Net, 21.81 million for MSU-Net.

    MUNet   [N,1,D,H,W]  -> logits [N,2,D,H,W]                           class 1 is nodule
    MSUNet  [N,4,64,64]  -> logits [N,2,4,64,64], list of [N,2] per task  class 1 is label 1
"""
from __future__ import annotations

import torch
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


def conv_unit(dim: int, cin: int, cout: int, groups: int = 1) -> nn.Sequential:
    """Convolution over three voxels an axis, batch norm, ReLU: the base network's unit."""
    return nn.Sequential(_conv(dim)(cin, cout, 3, padding=1, groups=groups),
                         _norm(dim)(cout), nn.ReLU(inplace=True))


def double_unit(dim: int, cin: int, cout: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(conv_unit(dim, cin, cout, groups), conv_unit(dim, cout, cout, groups))


class Gate(nn.Module):
    """Equations 6 and 7: x * sigmoid(W2 relu(W1 (f + x))).

    One attention map a group: in the encoder of MSU-Net a map common to all slices would let
    each slice see its neighbours.
    """

    def __init__(self, dim: int, channels: int, reduction: int, groups: int = 1):
        super().__init__()
        middle = max(groups, channels // reduction)
        self.groups = groups
        self.w1 = _conv(dim)(channels, middle, 1, groups=groups)
        self.w2 = _conv(dim)(middle, groups, 1, groups=groups)

    def forward(self, x: Tensor, f: Tensor) -> Tensor:
        attention = torch.sigmoid(self.w2(torch.relu(self.w1(x + f))))
        if self.groups == 1:
            return x * attention
        return (x.unflatten(1, (self.groups, -1)) * attention.unsqueeze(2)).flatten(1, 2)


class Body(nn.Module):
    """U-Net with a max-pooled input pyramid; gates in encoder and decoder.

    scales: how many pooled copies of the input are used, from 1/2 downwards.
    decoder_gates: decoder levels with a gate, 0 being full resolution.
    """

    def __init__(self, dim: int, cin: int, widths: list[int], groups: int, scales: int,
                 reduction: int, decoder_gates: tuple[int, ...]):
        super().__init__()
        self.scales = scales
        self.pool = _max_pool(dim)
        self.down = nn.ModuleList(double_unit(dim, a, b, groups)
                                  for a, b in zip([cin, *widths[:-1]], widths))
        fused = widths[1:1 + scales]
        self.pyramid = nn.ModuleList(conv_unit(dim, cin, c, groups) for c in fused)
        self.gate_in = nn.ModuleList(Gate(dim, c, reduction, groups) for c in fused)
        self.up = nn.ModuleList(nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"),
                                              conv_unit(dim, b, a))
                                for a, b in zip(widths, widths[1:]))
        self.gate_out = nn.ModuleDict({str(i): Gate(dim, widths[i], reduction)
                                       for i in decoder_gates})
        self.merge = nn.ModuleList(double_unit(dim, 2 * w, w) for w in widths[:-1])

    def encode(self, x: Tensor) -> list[Tensor]:
        small, maps = x, []
        for i, block in enumerate(self.down):
            x = block(self.pool(x) if i else x)
            if 1 <= i <= self.scales:
                small = self.pool(small)
                x = self.gate_in[i - 1](x, self.pyramid[i - 1](small))
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
                 reduction: int = 8, decoder_gates: tuple[int, ...] = (1, 2, 3)):
        super().__init__()
        widths = _widths(base, width, levels, 1)
        self.width = width
        self.body = Body(3, 1, widths, 1, scales, reduction, decoder_gates)
        self.head = nn.Conv3d(widths[0], 2, 1)

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


class MSUNet(nn.Module):
    """2.5D multiscale separable U-Net, stage 2, with one linear layer a task (equations 1 to 3).

    The encoder works slice by slice (its channels are slice-major, in `slices` groups); slices
    meet in the decoder.
    """

    def __init__(self, width: float = 1.0, tasks: tuple[str, ...] = TASKS, slices: int = 4,
                 base: int = 64, levels: int = 5, scales: int = 4, reduction: int = 8,
                 decoder_gates: tuple[int, ...] = (1, 2, 3), dropout: float = 0.0):
        super().__init__()
        self.width, self.tasks, self.slices = width, tuple(tasks), slices
        widths = _widths(base, width, levels, slices)
        self.body = Body(2, slices, widths, slices, scales, reduction, decoder_gates)
        first, deep = widths[0], widths[-1]
        self.head = nn.Conv2d(first, 2 * slices, 1)
        # Two blocks on the encoder's last map: the first still slice by slice, the second merges.
        self.res_enc = nn.Sequential(Residual(deep, deep // 4, groups=slices),
                                     Residual(deep // 4, first))
        # Four blocks on the decoder's last map, each halving it: 64 -> 4 pixels.
        self.res_dec = nn.Sequential(*(Residual(first, first, stride=2) for _ in range(4)))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.ModuleList(nn.Linear(2 * first, 2) for _ in self.tasks)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = self.body.encode(x)
        last = self.body.decode(maps)
        mask = self.head(last).unflatten(1, (2, self.slices))
        shared = torch.cat((self.res_enc(maps[-1]).mean((2, 3)),
                            self.res_dec(last).mean((2, 3))), 1)
        shared = self.dropout(shared)
        return mask, [fc(shared) for fc in self.fc]


def difference(z: Tensor) -> Tensor:
    """Logit of class 1: a softmax of two classes is a sigmoid of their difference."""
    return z[:, 1] - z[:, 0]


def count(net: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in net.parameters())
