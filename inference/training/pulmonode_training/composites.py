"""Training pictures: real nodules blended into the lungs of whole scans.

Every picture without a nodule gets the same blending, lung into lung, so that the seam is no cue.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from .data import SOLID, Nodule, Scan, isotropic, lungs, midline
from .preprocess import SLAB_SPACING_MM, quantise, resample, scale

SIZES_MM = (0, 5, 7, 10, 14, 19, 99)
# Sub-solid nodules are one in ten, the worst outlined and the most missed: they are shown this
# much more often, in cubes and in slabs.
SUBSOLID_CUBES, SUBSOLID_SLABS = 4.0, 2.0
BLENDED_SHARE = 0.4
# Odds of 0, 1, ... nodules in a cube of stage 1: many, as a step costs the same.
NODULES_A_CUBE = (0.15, 0.2, 0.2, 0.2, 0.15, 0.1)
CUBE, WIDE_CUBE = 64, 96
SLAB, WIDE_SLAB = 64, 96


def ramp(distance: np.ndarray, width: float) -> np.ndarray:
    """1 at distance 0, 0 from `width` on, smooth at both ends."""
    t = np.clip(1 - distance / width, 0, 1)
    return t * t * (3 - 2 * t)


def shown_odds(nodules: list[Nodule], balance: float, subsolid: float) -> np.ndarray:
    """Odds by which nodules are drawn: large ones not rarely (to the share `balance`), sub-solid
    ones more often."""
    bins = np.digitize([n.diameter_mm for n in nodules], SIZES_MM)
    by_size = 1 / np.sqrt(np.bincount(bins)[bins])
    odds = balance * by_size / by_size.sum() + (1 - balance) / len(nodules)
    odds *= [1.0 if n.labels[SOLID] else subsolid for n in nodules]
    return odds / odds.sum()


@dataclass
class Background:
    """A nodule-free part of a scan: a real one's right lung, or the whole of a phantom."""

    scan: Scan
    columns: int | None = None  # only columns below this one, at 1 mm
    volume: np.ndarray = field(init=False)  # int16 at 1 mm
    lung: np.ndarray = field(init=False)
    anywhere: np.ndarray = field(init=False)  # places in the lung, z,y,x at 1 mm
    wall: np.ndarray = field(init=False)  # within 4 mm of the pleura
    vessels: np.ndarray = field(init=False)  # soft tissue in the lung

    def __post_init__(self):
        volume = isotropic(self.scan)
        lung = lungs(volume)
        end = self.columns if self.columns is not None else volume.shape[2]
        self.volume = np.clip(np.rint(volume[:, :, :end]), -1100, 3071).astype(np.int16)
        self.lung = lung[:, :, :end]
        depth = ndimage.distance_transform_edt(self.lung[::2, ::2, ::2]) * 2
        coarse = self.volume[::2, ::2, ::2]
        self.anywhere = np.argwhere(depth > 0) * 2
        self.wall = np.argwhere((depth > 0) & (depth <= 4)) * 2
        self.vessels = np.argwhere((depth > 4) & (coarse > -500)) * 2

    @classmethod
    def right_lung(cls, scan: Scan) -> "Background":
        return cls(scan, midline(lungs(isotropic(scan))))

    def place(self, rng: np.random.Generator, kinds=(0.5, 0.35, 0.15)) -> np.ndarray:
        """A place anywhere in the lung, at its wall, or on a vessel."""
        pool = (self.anywhere, self.wall, self.vessels)[rng.choice(3, p=kinds)]
        return pool[rng.integers(len(pool))] if len(pool) else self.anywhere[0]


@dataclass
class Cutout:
    """A nodule's crop on a regular grid, with what blending needs."""

    hu: np.ndarray  # float32
    mask: np.ndarray
    outside: np.ndarray  # mm from the outline, 0 inside
    face: np.ndarray  # mm from the crop's faces
    centre: np.ndarray

    @classmethod
    def of(cls, n: Nodule, spacing: tuple[float, float, float]) -> "Cutout | None":
        positions = tuple(np.arange(int((k - 1) * d / s + 1e-6) + 1) * (s / d)
                          for k, d, s in zip(n.hu.shape, n.spacing, spacing))
        # The majority first, then its outline: shares of a half would shrink to their own voxels.
        mask = resample(n.mask, positions) >= 0.5
        if not mask.any():
            return None
        edge = [np.minimum(np.arange(k) + 1, np.arange(k, 0, -1)) * s for k, s in zip(mask.shape, spacing)]
        face = np.minimum(np.minimum(edge[0][:, None, None], edge[1][None, :, None]), edge[2][None, None, :])
        return cls(resample(n.hu, positions), mask,
                   ndimage.distance_transform_edt(~mask, spacing).astype(np.float32),
                   face.astype(np.float32), np.array(ndimage.center_of_mass(mask)))

    def weight(self, width: float) -> np.ndarray:
        """Blend weight: the nodule whole, its surroundings fading over `width` mm."""
        return np.where(self.mask, 1, ramp(self.outside, width) * np.clip(self.face / 3, 0, 1)).astype(np.float32)

    def lung_ball(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
        """A place beside the nodule and blend weights of a ball there: lung of another patient.

        None where that ball would hold much soft tissue, which pasted into a lung is a nodule.
        """
        free = np.argwhere((self.outside > 6) & (self.face > 1))
        if not len(free):
            return None
        p = free[rng.integers(len(free))]
        z, y, x = np.ogrid[tuple(slice(0, k) for k in self.hu.shape)]
        radius = rng.uniform(2, 7)
        away = np.sqrt((z - p[0]) ** 2 + (y - p[1]) ** 2 + (x - p[2]) ** 2) - radius
        w = ramp(np.maximum(away, 0), rng.uniform(3, 6)) * np.clip(self.face / 3, 0, 1) * np.clip((self.outside - 3) / 3, 0, 1)
        if w.sum() < 20 or (w * (self.hu > -300)).sum() > 0.2 * w.sum():
            return None
        return p, w.astype(np.float32)


def paste(into: np.ndarray, piece: np.ndarray, weight: np.ndarray, corner: np.ndarray,
          truth: np.ndarray | None = None, mask: np.ndarray | None = None) -> None:
    """Blends `piece` into `into` in place, its first voxel at `corner`; what overhangs is cut.

    truth gets the reciprocal of the visible mask's size where the mask is.
    """
    low, high = np.maximum(corner, 0), np.minimum(corner + piece.shape, into.shape)
    if (high <= low).any():
        return
    outer = tuple(slice(a, b) for a, b in zip(low, high))
    inner = tuple(slice(a - c, b - c) for a, b, c in zip(low, high, corner))
    into[outer] += (piece[inner] - into[outer]) * weight[inner]
    if truth is not None and (size := mask[inner].sum()):
        truth[outer][mask[inner]] = 1 / size


class Cubes:
    """Stage 1: cubes of 64 voxels at 1 mm with their nodules, each of which weighs 1 in all."""

    def __init__(self, nodules: list[Nodule], backgrounds: list[Background], shares: list[float],
                 rng: np.random.Generator):
        kept = [n for n in nodules if n.diameter_mm >= 3.5]
        pairs = [(n, c) for n in kept if (c := Cutout.of(n, (1, 1, 1))) is not None]
        self.cutouts = [c for _, c in pairs]
        self.diameters = [n.diameter_mm for n, _ in pairs]
        self.odds = shown_odds([n for n, _ in pairs], 1.0, SUBSOLID_CUBES)
        self.backgrounds, self.shares, self.rng = backgrounds, np.array(shares) / sum(shares), rng
        self.hard: list[list[tuple[float, float, float]]] = [[] for _ in backgrounds]

    def _background(self, b: int, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A cube of background HU and its lung, rotated and scaled about z half of the time."""
        rng, bg = self.rng, self.backgrounds[b]
        turn = rng.random() < 0.5
        size = WIDE_CUBE if turn else CUBE
        centre = np.clip(centre, size // 2, np.maximum(np.array(bg.volume.shape) - size // 2, size // 2))
        cut = tuple(slice(c - size // 2, c + size // 2) for c in centre)
        x, lung = bg.volume[cut].astype(np.float32), bg.lung[cut]
        missing = [(0, size - n) for n in x.shape]
        if any(m for _, m in missing):
            x, lung = np.pad(x, missing, "edge"), np.pad(lung, missing)
        if turn:
            angle, s = rng.uniform(-0.45, 0.45), rng.uniform(0.85, 1.15, 3) * CUBE / WIDE_CUBE
            c, n = math.cos(angle), math.sin(angle)
            theta = torch.tensor([[[c * s[2], -n * s[1], 0, 0], [n * s[2], c * s[1], 0, 0], [0, 0, s[0], 0]]],
                                 dtype=torch.float32)
            where = F.affine_grid(theta, [1, 1, CUBE, CUBE, CUBE], align_corners=False)
            both = torch.from_numpy(np.stack([x, lung.astype(np.float32) * 1000]))[:, None]
            x, lung = (F.grid_sample(v[None], where, padding_mode="border", align_corners=False)[0, 0].numpy()
                       for v in both)
            lung = lung > 500
        return x, lung

    def cube(self) -> tuple[np.ndarray, np.ndarray]:
        """Network input float32 [64,64,64]; truth, 0 outside of nodules, else 1/voxels of its nodule."""
        rng = self.rng
        b = rng.choice(len(self.backgrounds), p=self.shares)
        bg, hard = self.backgrounds[b], self.hard[b]
        if hard and rng.random() < 0.25:
            centre = np.array(hard[rng.integers(len(hard))]).round().astype(int) + rng.integers(-20, 21, 3)
        else:
            centre = bg.place(rng)
        x, lung = self._background(b, centre)
        truth = np.zeros(x.shape, np.float32)
        for axis in range(3):
            if rng.random() < 0.5:
                x, lung = np.flip(x, axis), np.flip(lung, axis)
        if rng.random() < 0.5:
            x, lung = x.swapaxes(1, 2), lung.swapaxes(1, 2)
        x = np.maximum(x, -1024)
        places = np.argwhere(lung[::2, ::2, ::2]) * 2
        if len(places):
            depth = ndimage.distance_transform_edt(lung[::2, ::2, ::2])[tuple(places.T // 2)] * 2
            for _ in range(rng.choice(3, p=(0.35, 0.4, 0.25))):
                self._paste_lung(x, places)
            for _ in range(rng.choice(len(NODULES_A_CUBE), p=NODULES_A_CUBE)):
                self._paste_nodule(x, truth, places, depth)
        x = x + rng.normal(0, 15)
        if rng.random() < 0.25:
            x = ndimage.gaussian_filter(x, rng.uniform(0.3, 0.7))
        x += rng.normal(0, rng.uniform(0, 30), x.shape)
        return scale(quantise(x)), truth

    def _orient(self, arrays: list[np.ndarray], p: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        p = p.copy()
        for axis in range(3):
            if self.rng.random() < 0.5:
                p[axis] = arrays[0].shape[axis] - 1 - p[axis]
                arrays = [np.flip(a, axis) for a in arrays]
        if self.rng.random() < 0.5:
            arrays, p = [a.swapaxes(1, 2) for a in arrays], p[[0, 2, 1]]
        return arrays, p

    def _paste_lung(self, x: np.ndarray, places: np.ndarray) -> None:
        cutout = self.cutouts[self.rng.integers(len(self.cutouts))]
        if (ball := cutout.lung_ball(self.rng)) is None:
            return
        (hu, w), p = self._orient([cutout.hu, ball[1]], ball[0])
        paste(x, hu, w, places[self.rng.integers(len(places))] - np.rint(p).astype(int))

    def _paste_nodule(self, x, truth, places, depth) -> None:
        rng = self.rng
        k = rng.choice(len(self.cutouts), p=self.odds)
        cutout, reach = self.cutouts[k], self.diameters[k] / 2 + 2
        wall = np.flatnonzero(depth <= reach)
        at = places[rng.choice(wall)] if len(wall) and rng.random() < 1 / 3 else places[rng.integers(len(places))]
        (hu, w, mask), p = self._orient([cutout.hu, cutout.weight(rng.uniform(3, 7)), cutout.mask], cutout.centre)
        paste(x, hu, w, at - np.rint(p).astype(int), truth, mask)

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        cubes = [self.cube() for _ in range(size)]
        return (torch.from_numpy(np.stack([x for x, _ in cubes])[:, None]),
                torch.from_numpy(np.stack([t for _, t in cubes])[:, None]))


@dataclass
class SlabBatch:
    slab: torch.Tensor  # [N,4,64,64]
    truth: torch.Tensor  # [N,4,64,64]
    valid: torch.Tensor  # [N,1,64,64], 0 where the crop was padded
    labels: torch.Tensor  # [N,4]
    nodule: torch.Tensor  # [N], 1, 0, or -1 where too little of a nodule shows to say


class Slabs:
    """Stage 2: slabs of four planes with masks, characteristics and whether they show a nodule.

    Most nodules come as they are, padded by their border where the crop ends, the others are
    blended into whole scans; the places without a nodule are padded and blended as often, so that
    neither padding nor seam tells.
    """

    def __init__(self, nodules: list[Nodule], backgrounds: list[Background], shares: list[float],
                 rng: np.random.Generator, coarse_share: float = 0.15, jitter_mm: float = 2.5):
        self.rng, self.jitter_mm, self.coarse_share = rng, jitter_mm, coarse_share
        self.backgrounds, self.shares = backgrounds, np.array(shares) / sum(shares)
        self.hard: list[list[tuple[float, float, float]]] = [[] for _ in backgrounds]
        self.fine = self._prepare(nodules, 1)
        self.coarse = self._prepare([n for n in nodules if n.diameter_mm >= 12], 2)

    @staticmethod
    def _prepare(nodules, factor):
        spacing = (SLAB_SPACING_MM[0], SLAB_SPACING_MM[1] * factor, SLAB_SPACING_MM[2] * factor)
        pairs = [(n, c) for n in nodules if (c := Cutout.of(n, spacing)) is not None]
        return spacing, pairs, shown_odds([n for n, _ in pairs], 0.5, SUBSOLID_SLABS)

    def _window(self, spacing, places=None) -> np.ndarray | None:
        """Four planes of 96 x 96 pixels of background, float32 HU."""
        rng = self.rng
        b = rng.choice(len(self.backgrounds), p=self.shares)
        bg = self.backgrounds[b]
        if places == "hard" and self.hard[b]:
            at = np.array(self.hard[b][rng.integers(len(self.hard[b]))]) + rng.normal(0, 2, 3)
        else:
            at = bg.place(rng, (0.2, 0.3, 0.5) if places else (0.6, 0.3, 0.1)) + rng.uniform(-1, 1, 3)
        grid = [at[0] + (np.arange(4) - 1.5) * spacing[0]]
        for axis in (1, 2):
            grid.append(at[axis] + (np.arange(WIDE_SLAB) - (WIDE_SLAB - 1) / 2) * spacing[axis])
        if grid[2][WIDE_SLAB * 3 // 4] > bg.volume.shape[2]:
            return self._window(spacing, places)
        # At the file's own resolution; beyond the column where the part ends, its border.
        d = bg.scan.spacing
        end = int((bg.volume.shape[2] - 1) / d[2]) + 1
        return resample(bg.scan.hu[:, :, :end], tuple(g / s for g, s in zip(grid, d)))

    def _cut(self, c: Cutout, z: int, at: np.ndarray):
        """Planes z..z+3 of a cutout, 96 x 96 about `at`, and which of its pixels are real. Beyond
        its faces it goes on as it ends."""
        index = [np.arange(z, z + 4)] + [int(round(at[a])) - WIDE_SLAB // 2 + np.arange(WIDE_SLAB) for a in (0, 1)]
        real = [(i >= 0) & (i < n) for i, n in zip(index, c.hu.shape)]
        index = [np.clip(i, 0, n - 1) for i, n in zip(index, c.hu.shape)]
        valid = real[0][:, None, None] & real[1][None, :, None] & real[2][None, None, :]
        return np.ix_(*index), valid

    def _positive(self):
        rng = self.rng
        spacing, pairs, odds = self.coarse if rng.random() < self.coarse_share else self.fine
        n, c = pairs[rng.choice(len(pairs), p=odds)]
        planes = np.flatnonzero(c.mask.any((1, 2)))
        blend = rng.random() < BLENDED_SHARE
        # Blended nodules are also seen from just above and below.
        margin = 4 if blend and rng.random() < 0.3 else 0
        z = int(rng.integers(planes[0] - 3 - margin, planes[-1] + margin + 1))
        at = c.centre[1:] + rng.normal(0, self.jitter_mm, 2) / spacing[1:]
        cut, valid = self._cut(c, z, at)
        if not blend:
            # Above and below a crop the node sees its last slice again: so does training.
            valid = np.broadcast_to(valid.any(0), valid.shape)
        hu, mask = c.hu[cut], c.mask[cut] & valid
        if blend and (x := self._window(spacing)) is not None:
            w = c.weight(rng.uniform(3, 7))[cut] * valid
            hu, valid = x + (hu - x) * w, np.ones(valid.shape, bool)
        shown = mask.sum() * spacing[1] * spacing[2]
        return hu, mask, valid, n.labels, 1 if shown >= 6 else 0 if shown == 0 else -1

    def _negative(self):
        rng = self.rng
        coarse = rng.random() < self.coarse_share
        spacing, pairs, _ = self.coarse if coarse else self.fine
        x = self._window(spacing, "hard" if rng.random() < 0.5 else "structures" if rng.random() < 0.7 else None)
        valid = np.ones(x.shape, bool)
        if rng.random() < 0.4:
            other = self._window(spacing)
            y, z = np.ogrid[:WIDE_SLAB, :WIDE_SLAB]
            centre = WIDE_SLAB / 2 + rng.normal(0, 8, 2)
            away = np.hypot(y - centre[0], z - centre[1]) * spacing[1] - rng.uniform(2, 8)
            w = ramp(np.maximum(away, 0), rng.uniform(3, 7))[None]
            if (w * (other > -300)).sum() < 0.2 * 4 * w.sum():
                x = x + (other - x) * w
        if rng.random() < 0.5:
            # As if this were a crop of a nodule's size.
            c = pairs[rng.integers(len(pairs))][1]
            at = c.centre[1:] + rng.normal(0, self.jitter_mm, 2) / spacing[1:]
            _, crop = self._cut(c, 0, at)
            rows, columns = (np.flatnonzero(crop[0].any(a)) for a in (1, 0))
            if len(rows) and len(columns):
                y, z = (np.clip(np.arange(WIDE_SLAB), i[0], i[-1]) for i in (rows, columns))
                x, valid = x[:, y][:, :, z], np.broadcast_to(crop[:1], x.shape)
        return x, np.zeros(x.shape, bool), valid, (0, 0, 0, 0), 0

    def batch(self, positives: int, negatives: int) -> SlabBatch:
        rng, n = self.rng, positives + negatives
        rows = [self._positive() for _ in range(positives)] + [self._negative() for _ in range(negatives)]
        x = torch.from_numpy(np.stack([np.clip(r[0], -1024, 1500) for r in rows]).astype(np.float32))
        y = torch.from_numpy(np.stack([r[1] for r in rows]).astype(np.float32))
        v = torch.from_numpy(np.stack([r[2].any(0) for r in rows]).astype(np.float32))[:, None]
        turn = torch.from_numpy(rng.uniform(-math.pi, math.pi, n).astype(np.float32))
        s = torch.from_numpy(np.exp(rng.normal(0, 0.12, n)).astype(np.float32)) * SLAB / WIDE_SLAB
        flip = torch.from_numpy(rng.choice([-1.0, 1.0], n).astype(np.float32))
        zero = torch.zeros(n)
        theta = torch.stack([torch.stack([flip * turn.cos() * s, -turn.sin() * s, zero], 1),
                             torch.stack([flip * turn.sin() * s, turn.cos() * s, zero], 1)], 1)
        where = F.affine_grid(theta, [n, 4, SLAB, SLAB], align_corners=False)
        x = F.grid_sample(x, where, padding_mode="border", align_corners=False)
        y = (F.grid_sample(y, where, align_corners=False) >= 0.5).float()
        v = (F.grid_sample(v, where, align_corners=False) > 0.99).float()
        upside = torch.from_numpy(rng.random(n) < 0.5)
        x, y = (torch.where(upside[:, None, None, None], t.flip(1), t) for t in (x, y))
        soft = torch.from_numpy(rng.random(n) < 0.3)[:, None, None, None]
        x = torch.where(soft, F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1) * 0.5 + x * 0.5, x)
        x = x + torch.randn(n, 1, 1, 1) * 20 + torch.randn_like(x) * torch.rand(n, 1, 1, 1) * 30
        x = torch.from_numpy(scale(quantise(x.numpy())))
        return SlabBatch(x, y * v, v, torch.tensor([r[3] for r in rows], dtype=torch.float32),
                         torch.tensor([r[4] for r in rows], dtype=torch.float32))
