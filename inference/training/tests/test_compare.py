"""The baselines' figures are what they say they are."""
import json

import numpy as np
import onnx
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier

from pulmonode_training import classical, compare
from pulmonode_training.data import Nodule
from pulmonode_training.export import metadata, write_refine
from pulmonode_training.networks import CHARACTERISTICS, MSUNet, difference


def nodule(diameter: float = 9, hu: int = 50, patient: str = "p", shape=(8, 40, 40), at=None) -> Nodule:
    spacing = (2.0, 0.7, 0.7)
    centre = np.array(at or [(k - 1) / 2 for k in shape])
    z, y, x = (((np.arange(k) - c) * d) ** 2 for k, c, d in zip(shape, centre, spacing))
    inside = z[:, None, None] + y[None, :, None] + x[None, None, :] <= (diameter / 2) ** 2
    return Nodule(f"{patient}_1", patient, np.where(inside, hu, -850).astype(np.int16), inside.astype(np.float32), spacing, (1, 1, 1, 1), diameter)


def test_auc_counts_pairs_in_order():
    p, y = np.array([0.8, 0.2, 0.3, 0.5, 0.3]), np.array([1, 0, 1, 0, 0])
    assert classical.auc(p, y) == pytest.approx(4.5 / 6)
    assert np.isnan(classical.auc(p, np.ones(5)))


def test_intervals_draw_patients():
    # One patient has nearly all: nodule by nodule the mean would be sure, with their patient it is not.
    patients = ["many"] * 50 + ["one"]
    value = np.array([1.0] * 50 + [0.0])
    assert classical.interval(lambda s: value[s].mean(), classical.draws(patients, 200)) == [0, 1]
    assert all(np.array_equal(a, b) for a, b in zip(classical.draws(patients, 5), classical.draws(patients, 5)))


def test_no_nodule_is_rated_by_what_was_fitted_to_it():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (300, 4))
    # The only feature is the nodule's own number: a tree knows those by heart that it was fitted to.
    x = np.arange(300.0)[:, None]
    p = classical.crossvalidated(DecisionTreeClassifier, x, labels, np.arange(300) % 5)
    everything = np.arange(300)
    known = classical.fitted(DecisionTreeClassifier, x, labels, everything, everything)
    for k in range(4):
        assert 0.35 < classical.auc(p[:, k], labels[:, k]) < 0.65
        assert classical.auc(known[:, k], labels[:, k]) == 1


def test_a_nodule_without_contour_gets_the_share():
    x = np.array([[0.0], [1.0], [0.1], [np.nan], [0.9], [np.nan]])
    labels = np.array([[0], [1], [0], [1], [1], [0]]).repeat(4, 1)
    p = classical.fitted(classical.logistic, x, labels, np.array([0, 1, 2, 3]), np.array([4, 5]))
    assert p[0, 0] > 0.5 and p[1].tolist() == [pytest.approx(1 / 3)] * 4


def test_a_reader_is_held_against_the_others(tmp_path):
    index = tmp_path / "index.csv"
    index.write_text("patient," + ",".join(CHARACTERISTICS) + "\n"
                     "a,5;3;5,5;5;5,1;1;5,6;6;4\nb,1;1;1,1;1;1,1;1;1,1;1;1\n")
    scores, labels, patients = classical.readers(index, {"a"})
    assert patients == ["a"] * 3
    assert scores[:, 0].tolist() == [5, 3, 5] and labels[:, 0].tolist() == [1, 1, 1]
    assert labels[:, 2].tolist() == [0, 0, 0] and labels[:, 3].tolist() == [0, 0, 1]


def test_the_look_covers_the_nodule_and_its_pieces_are_told_apart():
    n = nodule(at=(3, 15, 18))
    at = classical.look(n)
    assert at.planes.shape == at.truth.shape and (len(at.planes) - 4) % 2 == 0
    volume = at.truth.sum() * 0.36
    assert volume == pytest.approx(np.pi / 6 * 9 ** 3, rel=0.1)
    assert np.argwhere(at.truth).mean(0) == pytest.approx(at.centre, abs=0.6)
    other = at.truth.copy()
    other[:, :12, :12] = True
    assert np.array_equal(classical.piece(other, at.centre), at.truth)
    assert not classical.piece(other & ~at.truth, at.centre).any()


def test_planes_of_overlapping_slabs_are_averaged():
    planes = np.random.default_rng(0).random((10, 64, 64)).astype(np.float32)
    assert np.allclose(classical.average(classical.slabs(planes)), planes)


@torch.no_grad()
def test_features_are_what_the_linear_layers_see(tmp_path):
    torch.manual_seed(0)
    net = MSUNet(0.0625, measured=False).eval()
    path = tmp_path / "refine.onnx"
    write_refine([net], path, metadata("refine", "0", "small", "nothing", {"mask": 0.5}, [1, 0.6, 0.6]))
    x = torch.rand(3, 4, 64, 64)
    _, characteristics, _, features = classical.features_of(path).run(None, {"slab": x.numpy()})
    again = [difference(fc(torch.from_numpy(features))) for fc in net.fc[:4]]
    assert np.allclose(torch.stack(again, 1).numpy(), characteristics, atol=1e-3)
    # Made anew when the network is another: here one that outlines everything.
    nodules, kept = [nodule()], tmp_path / "kept.npz"
    np.savez(kept, digest="of another", keys=[n.key for n in nodules], features=[0], measures=[0])
    model = onnx.load(path)
    bias = next(t for t in model.graph.initializer if t.name.endswith("head.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([-9.0] * 4 + [9.0] * 4, np.float32), bias.name))
    onnx.save(model, path)
    features, measures = classical.all_seen(path, nodules, kept)
    assert features.shape == (1, 8) and np.isfinite(features).all() and np.isfinite(measures).all()
    again = classical.all_seen(path, nodules, kept)
    assert np.array_equal(again[0], features) and np.array_equal(again[1], measures)


def test_rows_have_their_own_folders_and_every_network_is_there():
    rows = (*compare.LOCALIZE, *compare.REFINE)
    assert len({r.folder for r in rows}) == len({r.name for r in rows}) == 16
    sizes = {r.name: compare.parameters(r, 0.125) for r in rows}
    assert sizes["2.5D S-U-Net"] < sizes["2.5D U-Net"] and sizes["3D U-Net"] < sizes["3D MU-Net"]
    assert sizes["MSU-Net, encoder only"] < sizes["MSU-Net"] < sizes["MSU-Net, not separable"]


def test_a_folder_of_other_settings_is_not_taken_for_these(tmp_path):
    args = compare.arguments(["--data", "d", "--scans", "s", "--out", str(tmp_path)])
    row = compare.REFINE[0]
    (tmp_path / row.folder).mkdir()
    (tmp_path / row.folder / "recipe.json").write_text('["refine", "--steps", "7"]')
    with pytest.raises(RuntimeError, match="other settings"):
        compare.run(row, args, None, "")


def test_what_is_done_is_not_done_again(tmp_path):
    args = compare.arguments(["--data", "d", "--scans", "s", "--out", str(tmp_path)])
    row = compare.REFINE[0]
    out = tmp_path / row.folder
    out.mkdir()
    (out / "refine.onnx").write_text("")
    judged = []

    def judge(figures, scores, *words):
        judged.append(words)
        figures.write_text("{}")

    for _ in range(2):
        compare.run(row, args, judge, "a_1\n")
    assert len(judged) == 1 and judged[0][0] == "-keys" and judged[0][2] == "-refine"
    assert (out / "keys.txt").read_text() == "a_1\n"


def test_what_could_not_be_computed_is_null_in_the_file():
    nothing = np.full((4, 4), np.nan)
    row = {"name": "none", **classical.rated(nothing, np.array([[0], [1], [0], [1]]).repeat(4, 1), list("abcd"), 5)}
    assert "0." not in compare.table([row])
    kept = json.loads(json.dumps(compare.known(row), allow_nan=False))
    assert kept["auc"]["margin"] is None and kept["interval_95"]["brier"]["margin"] == [None, None]


def test_the_table_says_what_it_has():
    row = {"name": "one", "auc": {"malignancy": 0.9}, "interval_95": {"auc": {"malignancy": [0.8, 0.95]}}}
    text = compare.table([row])
    assert "| one | - | - | - | 0.900 (0.800 to 0.950) | - |" in text
    assert all(len(line.split("|")) == len(compare.HEADS) + 4 for line in text.splitlines())
