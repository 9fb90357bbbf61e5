"""Training pictures keep the promises that the networks rely on."""
import numpy as np
import pytest
import torch

from pulmonode_training.composites import Background, Cubes, Cutout, Slabs, paste, ramp, size_balanced
from pulmonode_training.data import Nodule, Scan, folds, lungs, midline, split
from pulmonode_training.search import candidates


def nodule(diameter: float, patient: str = "p", spacing=(2.0, 0.7, 0.7)) -> Nodule:
    half = diameter / 2
    axes = [np.arange(-half - m, half + m, d) for m, d in zip((2, 12, 12), spacing)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    inside = z ** 2 + y ** 2 + x ** 2 <= half ** 2
    return Nodule("n", patient, np.where(inside, 50, -850).astype(np.int16), inside.astype(np.float32), spacing, (1, 1, 1, 1), diameter)


@pytest.fixture(scope="module")
def chest() -> Scan:
    """Two lungs of air in a block of soft tissue."""
    hu = np.full((120, 200, 260), 40, np.int16)
    hu[:, :6] = hu[:, -6:] = hu[:, :, :6] = hu[:, :, -6:] = -1000
    hu[10:110, 40:160, 20:110] = hu[10:110, 40:160, 150:240] = -850
    return Scan("chest", hu, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def right(chest) -> Background:
    return Background.right_lung(chest)


def test_no_patient_is_in_two_parts():
    many = [nodule(6, f"LIDC-IDRI-{i // 3:04d}") for i in range(300)]
    parts = split(many)
    patients = [{many[i].patient for i in part} for part in (parts.train, parts.calibrate, parts.test)]
    assert not patients[0] & patients[1] and not patients[0] & patients[2] and not patients[1] & patients[2]
    assert not set.union(*patients) & {"LIDC-IDRI-0001", "LIDC-IDRI-0002", "LIDC-IDRI-0003"}
    assert sorted(i for f in folds(many) for i in f) == list(range(300))


def test_lungs_and_the_line_between_them(chest):
    lung = lungs(chest.hu)
    assert lung[60, 100, 60] and lung[60, 100, 200] and not lung[60, 100, 130] and not lung[60, 2, 2]
    assert 120 <= midline(lung) <= 140


def test_a_right_lung_shows_nothing_of_the_left(right):
    assert right.volume.shape[2] <= 131
    assert right.anywhere[:, 2].max() < 131


def test_a_blended_nodule_is_whole_and_its_seam_smooth():
    cutout = Cutout.of(nodule(9), (1, 1, 1))
    into, truth = np.full((64, 64, 64), -850, np.float32), np.zeros((64, 64, 64), bool)
    corner = np.array([32, 32, 32]) - np.rint(cutout.centre).astype(int)
    paste(into, cutout.hu, cutout.weight(5), corner, truth, cutout.mask)
    assert truth.sum() == cutout.mask.sum()
    inner = tuple(slice(c, c + n) for c, n in zip(corner, cutout.hu.shape))
    assert np.allclose(into[inner][cutout.mask], cutout.hu[cutout.mask])
    assert ramp(np.array([0.0, 5.0, 9.0]), 5).tolist() == [1, 0, 0]


def test_what_overhangs_is_cut():
    into = np.zeros((8, 8, 8), np.float32)
    paste(into, np.ones((4, 4, 4), np.float32), np.ones((4, 4, 4)), np.array([-2, 6, 2]))
    assert into.sum() == 2 * 2 * 4
    paste(into, np.ones((4, 4, 4), np.float32), np.ones((4, 4, 4)), np.array([20, 0, 0]))
    assert into.sum() == 2 * 2 * 4


def test_sizes_are_balanced():
    odds = size_balanced([nodule(6)] * 90 + [nodule(20)] * 10)
    assert 0.2 < odds[90:].sum() < 0.3


def test_cubes_are_network_input(right):
    cubes = Cubes([nodule(6), nodule(12)], [right], [1.0], np.random.default_rng(0))
    x, truth = cubes.batch(6)
    assert x.shape == truth.shape == (6, 1, 64, 64, 64) and x.dtype == truth.dtype == torch.float32
    assert 0 <= x.min() and x.max() <= 1
    shown = truth.flatten(1).any(1)
    assert shown.any() and x[truth > 0].mean() > x[truth == 0].mean()


def test_slabs_without_a_nodule_say_so(right):
    slabs = Slabs([nodule(6), nodule(14)], [right], [1.0], np.random.default_rng(0))
    b = slabs.batch(12, 8)
    assert b.slab.shape == b.truth.shape == (20, 4, 64, 64)
    assert (b.nodule[12:] == 0).all() and b.truth[12:].sum() == 0
    assert (b.nodule[:12] == 1).sum() >= 8
    assert (b.truth[b.nodule == 0] == 0).all()
    # Padding is as frequent with a nodule as without: it must not tell.
    assert (b.valid[:12] == 0).any() and (b.valid[12:] == 0).any()


def test_candidates_are_merged_and_ranked():
    p = np.zeros((40, 40, 40), np.float32)
    p[5:9, 5:9, 5:9], p[11:14, 5:9, 5:9], p[30:34, 30:34, 30:34], p[20, 20, 20] = 0.6, 0.6, 0.9, 1
    found = candidates(p, 0.3)
    assert [c.voxels for c in found] == [64, 112]
    assert found[0].centre == pytest.approx((31.5, 31.5, 31.5))
