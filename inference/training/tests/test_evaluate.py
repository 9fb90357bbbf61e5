"""Figures are taken on the CT's own grid, and calibration keeps ranks."""
import numpy as np
import pytest

from pulmonode_training.evaluate import Refined, dice, platt, sigmoid, to_native
from pulmonode_training.preprocess import resample, slab_positions


@pytest.mark.parametrize("spacing", [(2.5, 0.7, 0.7), (0.5, 0.9, 0.9), (1.25, 0.55, 0.55)])
def test_a_mask_comes_back_to_where_it_was(spacing):
    shape = tuple(int(40 / d) for d in spacing)
    centre = np.array(shape) / 2 + (0.3, -1.7, 2.2)
    z, y, x = (((np.arange(n) - c) * d) ** 2 for n, c, d in zip(shape, centre, spacing))
    truth = z[:, None, None] + y[None, :, None] + 2 * x[None, None, :] <= 64
    planes = np.arange(-10, 11)
    mask = resample(truth, slab_positions(centre, spacing, planes))
    back = to_native(Refined(planes, mask, np.zeros(5)), shape, spacing, centre) >= 0.5
    assert dice(back, truth) > 0.97


def test_outside_the_field_there_is_no_mask():
    back = to_native(Refined(np.arange(4), np.ones((4, 64, 64)), np.zeros(5)), (40, 200, 200), (1.0, 0.6, 0.6), (20, 100, 100))
    assert back.any((1, 2)).nonzero()[0].tolist() == [20, 21, 22, 23]
    assert 64 ** 2 <= back[20].sum() <= 65 ** 2


def test_platt_undoes_overconfidence():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, 4000)
    label = (rng.random(4000) < sigmoid(0.5 * z + 1)).astype(int)
    a, b = platt(z, label)
    assert a == pytest.approx(0.5, abs=0.1) and b == pytest.approx(1, abs=0.15)
    a, _ = platt(z, (z < 0).astype(int))
    assert a > 0
