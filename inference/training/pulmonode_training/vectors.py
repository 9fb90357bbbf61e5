"""Writes the preprocessing test vectors that the node's tests read.

    python -m pulmonode_training.vectors testdata/preprocess

Each file holds an input (int16 HU, C order z,y,x), its spacing, and the levels 0..1023 that come
out: `stage1.json` at 1 mm, `stage2.json` one slab about `centre` (z,y,x, input voxels).
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from .preprocess import SLAB_SPACING_MM, isotropic_positions, quantise, resample, slab_positions


def patch(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Noise over the window and beyond both of its ends, with the extremes of int16."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1300, 900, shape).astype(np.int16)
    hu.flat[:4] = -32768, 32767, -1000, 500
    return hu


def stage1() -> dict:
    spacing, hu = (2.5, 0.703125, 0.681641), patch((5, 11, 13), 1)
    levels = quantise(resample(hu, isotropic_positions(hu.shape, spacing)))
    return {"shape": hu.shape, "spacing_mm": spacing, "hu": hu.ravel().tolist(),
            "levels_shape": levels.shape, "levels": levels.ravel().tolist()}


def stage2() -> dict:
    spacing, hu = (1.25, 0.703125, 0.703125), patch((6, 48, 44), 2)
    # Off the grid, and so near two borders that part of the slab lies outside.
    centre, planes = (3.37, 20.618, 17.25), (-1, 0, 1, 2)
    levels = quantise(resample(hu, slab_positions(centre, spacing, planes)))
    return {"shape": hu.shape, "spacing_mm": spacing, "hu": hu.ravel().tolist(), "centre": centre,
            "planes": planes, "slab_spacing_mm": SLAB_SPACING_MM,
            "levels_shape": levels.shape, "levels": levels.ravel().tolist()}


VECTORS = {"stage1.json": stage1, "stage2.json": stage2}


def text(vector: dict) -> str:
    """One key a line."""
    return "{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in vector.items()) + "\n}\n"


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in VECTORS.items():
        (folder / name).write_text(text(make()))


if __name__ == "__main__":
    main()
