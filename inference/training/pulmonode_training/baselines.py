"""The networks that the paper compares MSU-Net with, in the same form: [N,S,64,64] -> logits
[N,2,S,64,64] and one [N,2] a task from the mean of the last map.

    2D        the slices of a slab pass one by one, so each sees itself alone
    2.5D      four slices are the four input channels
    2.5D S-   the encoder is grouped by slice, the decoder is not

Not built: R2U-Net, DeepLabV3, V-Net, FCN.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn

from .networks import TASKS, Body, _widths, double_unit


class AttentionGate(nn.Module):
    """Oktay et al. 2018: the *skip* is multiplied, where the paper's gate multiplies the running map."""

    def __init__(self, channels: int):
        super().__init__()
        middle = channels // 2
        self.skip = nn.Sequential(nn.Conv2d(channels, middle, 1), nn.BatchNorm2d(middle))
        self.running = nn.Sequential(nn.Conv2d(channels, middle, 1), nn.BatchNorm2d(middle))
        self.map = nn.Sequential(nn.Conv2d(middle, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, skip: Tensor, running: Tensor) -> Tensor:
        return skip * self.map(torch.relu(self.skip(skip) + self.running(running)))


class PlainBody(Body):
    """U-Net without pyramid and gates."""

    def __init__(self, cin: int, widths: list[int], groups: int):
        super().__init__(2, cin, widths, groups, 0, "block", 8, (), "conv", False)


class AttentionBody(PlainBody):
    """Attention U-Net."""

    def __init__(self, cin: int, widths: list[int], groups: int):
        super().__init__(cin, widths, groups)
        self.attention = nn.ModuleList(AttentionGate(w) for w in widths[:-1])

    def decode(self, maps: list[Tensor]) -> Tensor:
        x = maps[-1]
        for i in reversed(range(len(maps) - 1)):
            x = self.up[i](x)
            x = self.merge[i](torch.cat((self.attention[i](maps[i], x), x), 1))
        return x


class NestedBody(nn.Module):
    """Nested U-Net (U-Net++, Zhou et al. 2018): every pair of levels is joined by dense skips."""

    def __init__(self, cin: int, widths: list[int], groups: int):
        super().__init__()
        self.levels = len(widths)
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2, mode="nearest")
        self.down = nn.ModuleList(double_unit(2, a, b, groups) for a, b in zip([cin, *widths[:-1]], widths))
        # Node (i, j) sees the j nodes of its own level before it and the one below.
        self.node = nn.ModuleDict({f"{i}_{j}": double_unit(2, j * widths[i] + widths[i + 1], widths[i])
                                   for j in range(1, self.levels) for i in range(self.levels - j)})

    def encode(self, x: Tensor) -> list[Tensor]:
        maps = []
        for i, block in enumerate(self.down):
            maps.append(block(self.pool(maps[-1]) if i else x))
        return maps

    def decode(self, maps: list[Tensor]) -> Tensor:
        rows = [[m] for m in maps]
        for j in range(1, self.levels):
            for i in range(self.levels - j):
                rows[i].append(self.node[f"{i}_{j}"](torch.cat((*rows[i], self.up(rows[i + 1][j - 1])), 1)))
        return rows[0][-1]


BODIES = {"U-Net": PlainBody, "Attention U-Net": AttentionBody, "Nested U-Net": NestedBody}
FORMS = ("2D", "2.5D", "2.5D S-")


class Baseline(nn.Module):
    """One of BODIES in one of FORMS, e.g. Baseline("2.5D S-", "U-Net", 0.25)."""

    def __init__(self, form: str, body: str, width: float = 1.0, tasks: tuple[str, ...] = TASKS,
                 slices: int = 4, base: int = 64, levels: int = 5):
        super().__init__()
        self.flat, self.slices, self.tasks = form == "2D", slices, tuple(tasks)
        groups = slices if form == "2.5D S-" else 1
        widths = _widths(base, width, levels, groups)
        planes = 1 if self.flat else slices
        self.body = BODIES[body](planes, widths, groups)
        self.head = nn.Conv2d(widths[0], 2 * planes, 1)
        self.fc = nn.ModuleList(nn.Linear(widths[0], 2) for _ in self.tasks)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        n = len(x)
        if self.flat:
            x = x.flatten(0, 1)[:, None]
        last = self.body.decode(self.body.encode(x))
        mask = self.head(last).unflatten(1, (2, -1))
        feature = last.mean((2, 3))
        if self.flat:
            mask = mask[:, :, 0].unflatten(0, (n, self.slices)).transpose(1, 2)
            feature = feature.unflatten(0, (n, self.slices)).mean(1)
        return mask, [fc(feature) for fc in self.fc]


