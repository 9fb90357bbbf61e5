"""Stage 1 on a whole scan: tiles over the lung, then candidates."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .preprocess import quantise, scale

TILE, STRIDE, RIM = 64, 48, 8
MERGE_MM, TOP_VOXELS, SMALLEST = 3, 27, 4


@dataclass(frozen=True)
class Candidate:
    centre: tuple[float, float, float]  # z,y,x at 1 mm
    score: float
    voxels: int


def _starts(n: int) -> list[int]:
    return sorted({*range(0, max(1, n - TILE), STRIDE), max(0, n - TILE)})


def probability(run: Callable[[np.ndarray], np.ndarray], volume: np.ndarray, lung: np.ndarray,
                batch: int = 4) -> np.ndarray:
    """Nodule probability of a 1 mm volume (float32 HU), zero outside the lung.

    run: cubes [N,1,64,64,64] to probabilities of the same shape.
    """
    shape = volume.shape
    pad = [(0, max(0, TILE - n)) for n in shape]
    x = np.pad(scale(quantise(volume)), pad)
    inside = np.pad(lung, pad)
    out = np.zeros(x.shape, np.float32)
    places = [(a, b, c) for a in _starts(x.shape[0]) for b in _starts(x.shape[1])
              for c in _starts(x.shape[2]) if inside[a:a + TILE, b:b + TILE, c:c + TILE].any()]
    for k in range(0, len(places), batch):
        part = places[k:k + batch]
        cubes = np.stack([x[a:a + TILE, b:b + TILE, c:c + TILE] for a, b, c in part])[:, None]
        p = run(cubes)[:, 0]
        for start, q in zip(part, p):
            # The rim is unreliable, but at the volume's own border there is nothing else.
            low = [0 if s == 0 else RIM for s in start]
            high = [TILE if s + TILE == n else TILE - RIM for s, n in zip(start, x.shape)]
            inner = tuple(slice(i, j) for i, j in zip(low, high))
            outer = tuple(slice(s + i, s + j) for s, i, j in zip(start, low, high))
            out[outer] = np.maximum(out[outer], q[inner])
    out = out[:shape[0], :shape[1], :shape[2]]
    out[~lung] = 0
    return out


def candidates(p: np.ndarray, threshold: float) -> list[Candidate]:
    """Components above the threshold, merged within 3 mm, best first."""
    core = p > threshold
    label, n = ndimage.label(ndimage.binary_dilation(core, iterations=MERGE_MM // 2))
    label[~core] = 0
    out = []
    for i, box in enumerate(ndimage.find_objects(label, n), 1):
        if box is None:
            continue
        own = label[box] == i
        if (size := int(own.sum())) < SMALLEST:
            continue
        centre = ndimage.center_of_mass(np.where(own, p[box], 0))
        top = np.sort(p[box][own])[-TOP_VOXELS:]
        out.append(Candidate(tuple(float(c + s.start) for c, s in zip(centre, box)), float(top.mean()), size))
    return sorted(out, key=lambda c: -c.score)
