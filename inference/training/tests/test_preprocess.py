"""The arithmetic that the node repeats bit for bit."""
import json
import math
from pathlib import Path

import numpy as np
import pytest

from pulmonode_training.preprocess import isotropic_positions, quantise, resample, scale, slab_positions
from pulmonode_training.vectors import VECTORS, text

FOLDER = Path(__file__).parents[1] / "testdata" / "preprocess"


def by_hand(hu, positions):
    """One voxel at a time, in the order of the contract."""
    def along(values, p):
        p = min(max(p, 0.0), len(values) - 1.0)
        low = math.floor(p)
        a, b = np.float32(values[low]), np.float32(values[min(low + 1, len(values) - 1)])
        return np.float32(a + np.float32(np.float32(b - a) * np.float32(p - low)))

    out = np.empty([len(p) for p in positions], np.float32)
    for i, z in enumerate(positions[0]):
        plane = np.array([[along(hu[:, y, x], z) for x in range(hu.shape[2])] for y in range(hu.shape[1])])
        for j, y in enumerate(positions[1]):
            row = [along(plane[:, x], y) for x in range(hu.shape[2])]
            out[i, j] = [along(row, x) for x in positions[2]]
    return out


def test_resampling_is_the_contract_voxel_by_voxel():
    rng = np.random.default_rng(0)
    hu = rng.integers(-1024, 2000, (4, 6, 5)).astype(np.int16)
    for positions in (isotropic_positions(hu.shape, (2.5, 0.7, 0.71)),
                      (np.array([-3.0, 1.5, 9.0]), np.array([0.1, 4.999]), np.array([2.0]))):
        assert np.array_equal(resample(hu, positions), by_hand(hu, positions))


def test_levels_of_known_values():
    assert quantise(np.array([-2000, -1000, -250, 500, 3000])).tolist() == [0, 0, 512, 1023, 1023]
    assert quantise(np.array([np.nextafter(np.float32(500), np.float32(0))])).tolist() == [1023]
    assert scale(np.array([0, 1023], np.uint16)).tolist() == [0.0, 1.0]


def test_stage_1_ends_at_the_last_voxel():
    z, y, x = isotropic_positions((133, 512, 512), (2.5, 0.703125, 0.703125))
    assert (len(z), len(y), len(x)) == (331, 360, 360)
    assert z[-1] == pytest.approx(132)


def test_a_slab_lies_about_its_centre():
    z, y, x = slab_positions((10, 20, 30), (2, 0.6, 1.2), (-1, 0, 1, 2))
    assert z.tolist() == [9.5, 10, 10.5, 11]
    assert (y[31] + y[32]) / 2 == pytest.approx(20) and y[1] - y[0] == pytest.approx(1)
    assert (x[31] + x[32]) / 2 == pytest.approx(30) and x[1] - x[0] == pytest.approx(0.5)


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_are_what_this_code_makes(name):
    assert (FOLDER / name).read_text() == text(VECTORS[name]())


def test_vectors_reach_both_ends_of_the_window():
    for name in VECTORS:
        levels = json.loads((FOLDER / name).read_text())["levels"]
        assert min(levels) == 0 and max(levels) == 1023 and len(set(levels)) > 100
