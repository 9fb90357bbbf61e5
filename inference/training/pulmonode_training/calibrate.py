"""Fits calibration maps to what models said of nodules that they never saw.

    python -m pulmonode_training.calibrate --scores scores.csv --folds runs/cv --out runs/calibration.json

scores.csv is that of `make crossvalidate` with maps that change nothing. Each fold's refine.onnx
gets maps fitted to the other folds, so that the tables of the second look are honest; the file
gets those of all folds, for the model that is trained on everything.

The thresholds are 0.5 but for malignancy, the rarer label: there it is the one at which the worse
of sensitivity and specificity is best.
"""
from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import onnx
from sklearn.linear_model import LogisticRegression

from .networks import CHARACTERISTICS


def logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def fit(logits: np.ndarray, diameters_mm: np.ndarray, mean_hu: np.ndarray, labels: np.ndarray) -> tuple[float, ...]:
    """a, b, size, density of p = sigmoid(a*logit + b + size*ln(diameter) + density*HU/100).

    A slab shows four millimetres of a nodule: what the outline as a whole says of its size and
    density is added here. a is kept positive."""
    x = np.stack((logits, np.log(diameters_mm), mean_hu / 100), 1)
    found = LogisticRegression(C=1.0, max_iter=1000).fit(x, labels)
    a, size, density = found.coef_[0].tolist()
    return max(a, 0.05), float(found.intercept_[0]), size, density


def probability(fitted: tuple[float, ...], logits: np.ndarray, diameters_mm: np.ndarray, mean_hu: np.ndarray) -> np.ndarray:
    a, b, size, density = fitted
    return 1 / (1 + np.exp(-(a * logits + b + size * np.log(diameters_mm) + density * mean_hu / 100)))


def balanced(p: np.ndarray, labels: np.ndarray) -> float:
    """The threshold at which the worse of sensitivity and specificity is best."""
    at = np.unique(p)
    worse = [min((p[labels == 1] >= t).mean(), (p[labels == 0] < t).mean()) for t in at]
    return float(at[int(np.argmax(worse))])


def maps(rows: list[dict]) -> tuple[dict[str, tuple[float, ...]], float]:
    """Maps of the four characteristics, and the threshold of malignancy.

    The nodule output keeps its own logit: crops hold nodules only, whose share says nothing."""
    out = {}
    rows = [r for r in rows if r["predicted_diameter_mm"]]  # the others have no outline
    diameter, hu = (np.array([float(r[k]) for r in rows]) for k in ("predicted_diameter_mm", "predicted_mean_hu"))
    for name in CHARACTERISTICS:
        z = logit(np.array([float(r[name]) for r in rows]))
        y = np.array([int(r[f"{name}_label"]) for r in rows])
        if len(set(y)) < 2:
            raise ValueError(f"{name}: {len(y)} nodules, all with label {'01'[y[0]] if len(y) else '?'}; calibration needs both, so give more nodules or fewer folds")
        out[name] = fit(z, diameter, hu, y)
        if name == "malignancy":
            threshold = balanced(probability(out[name], z, diameter, hu), y)
    return out, round(threshold, 3)


def rewrite(path: Path, fitted: dict[str, tuple[float, ...]], threshold: float) -> None:
    """Puts maps and threshold into a refine.onnx; what it holds of others stays."""
    model = onnx.load(path)
    properties = {p.key: p.value for p in model.metadata_props}
    for key, values in (("calibration", fitted), ("thresholds", {"malignancy": threshold})):
        old = json.loads(properties[f"pulmonode.{key}"])
        properties[f"pulmonode.{key}"] = json.dumps({**old, **values})
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", required=True)
    parser.add_argument("--folds", required=True, help="folder of fold-0 ... with refine.onnx")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    with open(args.scores, newline="") as f:
        rows = list(csv.DictReader(f))
    everything, threshold = maps(rows)
    for fold in sorted({r["fold"] for r in rows}):
        fitted, _ = maps([r for r in rows if r["fold"] != fold])
        # One threshold for all folds: it is a setting of the whole, as the release will have it.
        rewrite(Path(args.folds) / f"fold-{fold}" / "refine.onnx", fitted, threshold)
    Path(args.out).write_text(json.dumps({"maps": {**everything, "nodule": (1.0, 0.0)}, "thresholds": {"malignancy": threshold}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
