"""Nodules are read as they were written, and no patient is on both sides of a split."""
import numpy as np
import pytest

from conftest import sphere
from pulmonode_training.data import (HELD_OUT_PATIENTS, features, find_series, folds, lungs, midline, read_nodules,
                                     split, write_nodules)
from pulmonode_training.networks import CHARACTERISTICS
from pulmonode_training.quick import phantom_nodules


@pytest.fixture(scope="module")
def many():
    """300 nodules of 100 patients, three held-out ones among them, of five sizes and two textures."""
    return [sphere((5, 7, 9, 12, 20)[i % 5], f"LIDC-IDRI-{i // 3:04d}", labels=(i % 2, 1, int(i % 7 > 0), 1)) for i in range(300)]


def test_what_was_written_is_read(folder, nodules):
    made = phantom_nodules()
    assert len(nodules) == len(made) == 15
    for n, m in zip(nodules, made):
        assert np.array_equal(n.mask, m["bits"] > 0) and np.array_equal(n.hu, np.where(m["hu"] < -1024, -1000, m["hu"]))
        assert n.key.startswith(n.patient + "_") and n.spacing == tuple(m["spacing"])
        volume = n.mask.sum() * np.prod(n.spacing)
        assert n.diameter_mm == pytest.approx((6 * volume / np.pi) ** (1 / 3), abs=1e-3)
    # Both labels of each, or a fold could not be calibrated.
    assert [sorted({n.labels[k] for n in nodules}) for k in range(4)] == [[0, 1]] * 4


def crop(bits, readers, ratings=(5,), hu=None) -> dict:
    bits = np.asarray(bits, np.uint8).reshape(1, 1, -1)
    return {"hu": np.zeros(bits.shape, np.int16) if hu is None else np.asarray(hu, np.int16).reshape(bits.shape), "bits": bits,
            "readers": readers, "spacing": (2.0, 1.0, 1.0), "patient": "P", "ratings": {c: list(ratings) for c in CHARACTERISTICS}}


def test_half_of_the_readers_make_the_mask(tmp_path):
    write_nodules(tmp_path, [crop([0b0000, 0b0001, 0b0101, 0b1101], 4, (5, 5, 4, 1), hu=[-2000, -1024, 40, 3071])])
    n, = read_nodules(tmp_path)
    assert n.share.ravel().tolist() == [0, 0.25, 0.5, 0.75] and n.mask.ravel().tolist() == [False, False, True, True]
    assert n.hu.ravel().tolist() == [-1000, -1024, 40, 3071]  # below -1024 is padding
    assert n.diameter_mm == pytest.approx((6 * 4 / np.pi) ** (1 / 3), abs=1e-3)
    assert n.labels == (0, 0, 0, 0)  # their mean is 3.75


def test_labels_are_those_of_the_mean_rating(tmp_path):
    write_nodules(tmp_path, [crop([1], 1, (4,)), crop([1], 1, (3,)), crop([1], 1, (6,)), crop([0b11], 2, (5, 6))])
    assert [n.labels for n in read_nodules(tmp_path)] == [(1, 1, 1, 0), (0, 0, 0, 0), (1, 1, 1, 1), (1, 1, 1, 1)]


def test_what_too_few_outlined_is_no_nodule(tmp_path):
    write_nodules(tmp_path, [crop([0b001, 0b010], 3), crop([0b011, 0b010], 3)])
    n, = read_nodules(tmp_path)
    assert n.mask.ravel().tolist() == [True, False] and n.key == "P_1"


def test_a_folder_without_nodules_says_what_makes_them(tmp_path):
    with pytest.raises(ValueError, match="lidc_xml"):
        read_nodules(tmp_path)


def test_folds_hold_every_nodule_once_and_no_patient_twice(many):
    parts = folds(many)
    assert sorted(i for part in parts for i in part) == list(range(300))
    patients = [{many[i].patient for i in part} for part in parts]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 100


def test_folds_are_the_same_again(many):
    assert folds(many) == folds(many)
    assert folds(many, seed=1) != folds(many)


def test_folds_are_balanced(many):
    parts = folds(many)
    assert max(map(len, parts)) - min(map(len, parts)) <= 6
    for what in (lambda n: n.diameter_mm > 10, lambda n: n.labels[2] == 0, lambda n: n.labels[0] == 1):
        share = [np.mean([what(many[i]) for i in part]) for part in parts]
        assert max(share) - min(share) < 0.12, share


@pytest.mark.parametrize("fold", range(5))
def test_who_tests_never_trains_and_who_is_held_out_does_neither(many, fold):
    s = split(many, fold)
    train, test = ({many[i].patient for i in part} for part in (s.train, s.test))
    assert train and test and not train & test
    assert not (train | test) & set(HELD_OUT_PATIENTS) and len(train | test) == 97


def test_without_a_fold_all_train(many):
    s = split(many, None)
    assert s.test == [] and len(s.train) == 291


def test_each_nodule_is_tested_in_one_fold(many):
    tested = [i for k in range(5) for i in split(many, k).test]
    assert len(tested) == len(set(tested)) == 291


@pytest.mark.parametrize("fold", [-1, 5])
def test_a_fold_that_is_not_there_is_refused(many, fold):
    with pytest.raises(ValueError, match="0 to 4"):
        split(many, fold)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_nodules_that_do_not_differ_have_folds_too():
    same = [sphere(8, f"p{i}") for i in range(20)]
    assert np.isfinite(features(same[0])).all()
    assert sorted(map(len, folds(same))) == [4] * 5


def test_lungs_and_the_line_between_them(chest):
    lung = lungs(chest.hu)
    assert lung[60, 100, 60] and lung[60, 100, 200] and not lung[60, 100, 130] and not lung[60, 2, 2]
    assert 120 <= midline(lung) <= 140


def test_what_is_no_chest_has_no_lung():
    with pytest.raises(ValueError, match="Hounsfield"):
        lungs(np.full((40, 40, 40), 30, np.int16))


def test_a_series_is_found_at_whatever_depth(tmp_path):
    for where, slices in (("study/radiograph", 2), ("study/ct", 5)):
        (tmp_path / where).mkdir(parents=True)
        for k in range(slices):
            (tmp_path / where / f"{k}.dcm").touch()
    assert find_series(tmp_path) == tmp_path / "study/ct"
    with pytest.raises(ValueError, match="unpack"):
        find_series(tmp_path / "nowhere")
