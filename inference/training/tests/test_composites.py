"""Training pictures keep the promises that the networks rely on."""
import numpy as np
import pytest
import torch

from conftest import sphere
from pulmonode_training.composites import Cubes, Cutout, Slabs, paste, ramp, shown_odds
from pulmonode_training.search import candidates, probability


def test_a_right_lung_shows_nothing_of_the_left(right):
    assert right.volume.shape[2] <= 131
    assert right.anywhere[:, 2].max() < 131


def test_a_blended_nodule_is_whole_and_its_seam_smooth():
    cutout = Cutout.of(sphere(9), (1, 1, 1))
    into, truth = np.full((64, 64, 64), -850, np.float32), np.zeros((64, 64, 64), np.float32)
    corner = np.array([32, 32, 32]) - np.rint(cutout.centre).astype(int)
    paste(into, cutout.hu, cutout.weight(5), corner, truth, cutout.mask)
    inner = tuple(slice(c, c + n) for c, n in zip(corner, cutout.hu.shape))
    assert np.allclose(into[inner][cutout.mask], cutout.hu[cutout.mask])
    assert np.array_equal(truth[inner] > 0, cutout.mask)
    assert ramp(np.array([0.0, 2.5, 5.0, 9.0]), 5).tolist() == [1, 0.5, 0, 0]


def test_each_nodule_weighs_one_however_large_or_cut():
    truth = np.zeros((32, 32, 32), np.float32)
    for diameter, at in ((5, (16, 16, 16)), (14, (-2, 2, 2))):
        cutout = Cutout.of(sphere(diameter), (1, 1, 1))
        before = truth.sum()
        paste(np.zeros(truth.shape, np.float32), cutout.hu, cutout.weight(5), np.array(at), truth, cutout.mask)
        assert truth.sum() - before == pytest.approx(1)


def test_what_overhangs_is_cut():
    into = np.zeros((8, 8, 8), np.float32)
    paste(into, np.ones((4, 4, 4), np.float32), np.ones((4, 4, 4)), np.array([-2, 6, 2]))
    assert into.sum() == 2 * 2 * 4
    paste(into, np.ones((4, 4, 4), np.float32), np.ones((4, 4, 4)), np.array([20, 0, 0]))
    assert into.sum() == 2 * 2 * 4


def test_large_nodules_are_shown_more_than_their_share():
    odds = shown_odds([sphere(6)] * 90 + [sphere(20)] * 10, 1, 1)
    assert odds.sum() == pytest.approx(1) and odds[90:].sum() == pytest.approx(np.sqrt(10) / (np.sqrt(10) + np.sqrt(90)))
    assert shown_odds([sphere(6)] * 90 + [sphere(20)] * 10, 0, 1)[90:].sum() == pytest.approx(0.1)


def test_subsolid_nodules_are_shown_twice_as_often():
    odds = shown_odds([sphere(6), sphere(6, labels=(1, 1, 0, 1))], 1, 2)
    assert odds[1] == pytest.approx(2 * odds[0])


def test_cubes_are_network_input_and_say_where_nodules_are(right, nodules):
    x, truth = Cubes(nodules, [right], [1.0], np.random.default_rng(0)).batch(8)
    assert x.shape == truth.shape == (8, 1, 64, 64, 64) and x.dtype == truth.dtype == torch.float32
    assert 0 <= x.min() and x.max() <= 1
    # Where one nodule covers another the other's rest weighs less than 1.
    weights = truth.flatten(1).sum(1)
    assert weights.max() > 1 and (weights < 5.01).all()
    assert x[truth > 0].mean() > x[truth == 0].mean() + 0.1


def test_cubes_go_where_the_false_alarms_are(right, nodules):
    cubes = Cubes(nodules, [right], [1.0], np.random.default_rng(0))
    cubes.hard = [[(60.0, 100.0, 60.0)]]
    seen = []
    cubes._background = lambda b, centre: seen.append(centre) or (np.full((64,) * 3, -850, np.float32), np.ones((64,) * 3, bool))
    for _ in range(200):
        cubes.cube()
    near = sum(np.abs(c - (60, 100, 60)).max() <= 20 for c in seen)
    assert 40 <= near <= 110  # a quarter, and what falls there by itself


def test_the_same_seed_draws_the_same(right, nodules):
    a, b = (Cubes(nodules, [right], [1.0], np.random.default_rng(7)).batch(1) for _ in range(2))
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_slabs_without_a_nodule_say_so(right, nodules):
    b = Slabs(nodules, [right], [1.0], np.random.default_rng(0)).batch(12, 8)
    assert b.slab.shape == b.truth.shape == (20, 4, 64, 64) and b.valid.shape == (20, 1, 64, 64)
    assert 0 <= b.slab.min() and b.slab.max() <= 1
    assert (b.nodule[12:] == 0).all() and b.truth[12:].sum() == 0
    assert (b.nodule[:12] == 1).sum() >= 8
    assert (b.truth[b.nodule == 0] == 0).all() and (b.truth[b.nodule == 1].flatten(1).sum(1) > 0).all()
    assert (b.truth * (1 - b.valid)).sum() == 0
    # Padding is as frequent with a nodule as without: it must not tell.
    assert (b.valid[:12] == 0).any() and (b.valid[12:] == 0).any()


def test_candidates_are_merged_and_ranked():
    p = np.zeros((40, 40, 40), np.float32)
    p[5:9, 5:9, 5:9], p[11:14, 5:9, 5:9], p[30:34, 30:34, 30:34], p[20, 20, 20] = 0.6, 0.6, 0.9, 1
    found = candidates(p, 0.3)
    assert [c.voxels for c in found] == [64, 112]
    assert found[0].centre == pytest.approx((31.5, 31.5, 31.5))


def test_tiles_cover_the_lung_and_nothing_else():
    volume, lung = np.full((70, 100, 130), -850, np.float32), np.zeros((70, 100, 130), bool)
    volume[:, :, 65:], lung[5:65, 10:90, 10:120] = 200, True
    p = probability(lambda x: x, volume, lung)
    assert p.shape == volume.shape and (p[~lung] == 0).all()
    assert np.allclose(p[lung & (volume < 0)], 0.1, atol=0.01) and np.allclose(p[lung & (volume > 0)], 0.8, atol=0.01)
