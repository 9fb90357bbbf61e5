"""From Hounsfield units to network input, in arithmetic that the node repeats bit for bit.

Resample by separable linear interpolation in the order z, y, x, every operation rounded to
float32; clip to -1000..500 HU; quantise to the paper's 10 bits last. Positions are float64, in
input voxels, clamped to the volume.
"""
from __future__ import annotations

import numpy as np

WINDOW_HU = (-1000.0, 500.0)
LEVELS = 1024
AIR_HU = -1000
SLAB = (4, 64, 64)
SLAB_SPACING_MM = (1.0, 0.6, 0.6)


def resample(volume: np.ndarray, positions: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """volume [z,y,x] of any real type -> float32 at the outer product of the positions."""
    steps = []
    for p, n in zip(positions, volume.shape):
        p = np.clip(np.asarray(p, np.float64), 0, n - 1)
        low = np.floor(p).astype(np.int64)
        steps.append((low, np.minimum(low + 1, n - 1), (p - low).astype(np.float32)))
    # Only the part that is looked at: a slab touches a thousandth of a scan.
    out = volume[tuple(slice(low.min(), high.max() + 1) for low, high, _ in steps)]
    for axis, (low, high, t) in enumerate(steps):
        first = low.min()
        shape = [1, 1, 1]
        shape[axis] = -1
        a = np.take(out, low - first, axis).astype(np.float32)
        b = np.take(out, high - first, axis).astype(np.float32)
        b -= a
        b *= t.reshape(shape)
        b += a
        out = b
    return out


def isotropic_positions(shape: tuple[int, int, int], spacing: tuple[float, float, float]):
    """Stage 1: 1 mm on the image's own axes; the first voxel centres coincide."""
    return tuple(np.arange(int(np.floor((n - 1) * d + 1e-6)) + 1, dtype=np.float64) * (1.0 / d)
                 for n, d in zip(shape, spacing))


def slab_positions(centre, spacing, planes, slab_spacing=SLAB_SPACING_MM, size: int = 64):
    """Stage 2: `size` pixels in plane about `centre` (z,y,x, input voxels), planes at the
    integers `planes` of the slab spacing from the centre's."""
    in_plane = np.arange(size, dtype=np.float64) - (size - 1) / 2
    return (centre[0] + np.asarray(planes, np.float64) * slab_spacing[0] / spacing[0],
            centre[1] + in_plane * slab_spacing[1] / spacing[1],
            centre[2] + in_plane * slab_spacing[2] / spacing[2])


def quantise(hu: np.ndarray) -> np.ndarray:
    """float32 HU -> levels 0..1023, uint16."""
    v = np.clip(np.asarray(hu, np.float32), np.float32(WINDOW_HU[0]), np.float32(WINDOW_HU[1]))
    return np.floor((v + np.float32(1000)) * np.float32(0.682) + np.float32(0.5)).astype(np.uint16)


def scale(levels: np.ndarray) -> np.ndarray:
    """Levels -> network input 0..1, float32."""
    return levels.astype(np.float32) / np.float32(LEVELS - 1)
