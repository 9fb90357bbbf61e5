"""Maps are fitted to what models said of nodules that they never saw."""
import csv
import json
import sys

import numpy as np
import onnx
import pytest

from pulmonode_training import calibrate
from pulmonode_training.calibrate import balanced, logit, maps, probability, rewrite
from pulmonode_training.export import metadata
from pulmonode_training.networks import CHARACTERISTICS

THRESHOLDS = {"mask": 0.5, "nodule": 0.1, **{c: 0.5 for c in CHARACTERISTICS}}
UNCHANGED = {t: (1.0, 0.0) for t in (*CHARACTERISTICS, "nodule")}


def said(n: int, a: float = 2.0, b: float = 1.0, size: float = 0.0, density: float = 0.0, seed: int = 0) -> list[dict]:
    """Rows of scores.csv in which the truth of a logit z is sigmoid(a*z + b + size*ln(d) + density*HU/100)."""
    rng = np.random.default_rng(seed)
    z, d, hu = rng.normal(0, 2, (n, 4)), rng.uniform(4, 30, n), rng.uniform(-700, 100, n)
    y = rng.random((n, 4)) < probability((a, b, size, density), z, d[:, None], hu[:, None])
    return [{"fold": str(i % 2), "predicted_diameter_mm": str(d[i]), "predicted_mean_hu": str(hu[i]),
             **{c: str(1 / (1 + np.exp(-z[i, k]))) for k, c in enumerate(CHARACTERISTICS)},
             **{f"{c}_label": str(int(y[i, k])) for k, c in enumerate(CHARACTERISTICS)}} for i in range(n)]


def refine_file(path) -> None:
    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in ("slab", "mask")]
    model = onnx.helper.make_model(onnx.helper.make_graph([onnx.helper.make_node("Relu", ["slab"], ["mask"])], "g", *([v] for v in value)))
    onnx.helper.set_model_props(model, metadata("refine", "1", "quick", "nothing", THRESHOLDS, [1, 0.6, 0.6], UNCHANGED, 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def properties(path) -> dict[str, str]:
    return {p.key.removeprefix("pulmonode."): p.value for p in onnx.load(path).metadata_props}


def test_the_logit_is_finite_at_both_ends():
    assert logit(np.array([0.0, 0.5, 1.0])) == pytest.approx([-16.118, 0, 16.118], abs=1e-3)


def test_maps_find_what_was_put_in():
    fitted, _ = maps(said(8000, size=1.0, density=-0.5, b=-2))
    assert set(fitted) == set(CHARACTERISTICS)
    for found in fitted.values():
        assert found == pytest.approx((2, -2, 1, -0.5), abs=0.4)


def test_a_nodule_without_an_outline_is_left_out():
    rows = said(400)
    nothing = {**rows[0], "predicted_diameter_mm": "", "predicted_mean_hu": ""}
    assert maps([*rows, nothing]) == maps(rows)


def test_a_model_that_is_wrong_is_not_turned_round():
    fitted, _ = maps(said(400, a=-2))
    assert all(found[0] == 0.05 for found in fitted.values())


def test_the_threshold_favours_neither_kind_of_error():
    rows = said(1000)
    _, threshold = maps(rows)
    assert 0 < threshold < 1
    p, label = np.array([0.1, 0.2, 0.3, 0.4, 0.6]), np.array([0, 0, 1, 0, 1])
    assert balanced(p, label) == 0.3  # sensitivity 1, specificity 2/3; at 0.6 they are 1/2 and 1


def test_a_label_that_all_nodules_share_is_named():
    rows = [{**r, "texture_label": "1"} for r in said(12)]
    with pytest.raises(ValueError, match="texture: 12 nodules, all with label 1"):
        maps(rows)


def test_a_file_gets_maps_and_keeps_the_rest(tmp_path):
    path = tmp_path / "refine.onnx"
    refine_file(path)
    before, graph = properties(path), onnx.load(path).graph
    rewrite(path, {"malignancy": (2.0, -1.0, 0.5, 0.1)}, 0.3)
    after = properties(path)
    assert json.loads(after.pop("calibration")) == {**{t: [1, 0] for t in UNCHANGED}, "malignancy": [2, -1, 0.5, 0.1]}
    assert json.loads(after.pop("thresholds")) == {**THRESHOLDS, "malignancy": 0.3}
    assert after == {k: v for k, v in before.items() if k not in ("calibration", "thresholds")}
    assert onnx.load(path).graph == graph


def test_each_fold_gets_the_maps_of_the_others(tmp_path, monkeypatch):
    rows = said(300)
    with open(tmp_path / "scores.csv", "w", newline="") as f:
        table = csv.DictWriter(f, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    for k in range(2):
        refine_file(tmp_path / f"cv/fold-{k}/refine.onnx")
    monkeypatch.setattr(sys, "argv", ["calibrate", "--scores", str(tmp_path / "scores.csv"), "--folds", str(tmp_path / "cv"),
                                      "--out", str(tmp_path / "calibration.json")])
    calibrate.main()
    everything, threshold = maps(rows)
    for k in range(2):
        got = properties(tmp_path / f"cv/fold-{k}/refine.onnx")
        others, _ = maps([r for r in rows if r["fold"] != str(k)])
        assert json.loads(got["calibration"]) == {**{c: list(v) for c, v in others.items()}, "nodule": [1, 0]}
        assert json.loads(got["thresholds"])["malignancy"] == threshold
    written = json.loads((tmp_path / "calibration.json").read_text())
    assert written == {"maps": {**{c: list(v) for c, v in everything.items()}, "nodule": [1, 0]}, "thresholds": {"malignancy": threshold}}
