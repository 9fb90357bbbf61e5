"""Fits calibration maps to what models said of nodules that they never saw.

    python -m pulmonode_training.calibrate --scores scores.csv --folds runs/cv --out runs/calibration.json

scores.csv is that of `make crossvalidate` with maps that change nothing. Each fold's refine.onnx
gets maps fitted to the other folds, so that the tables of the second look are honest; the file
gets those of all folds, for the model that is trained on everything.

The thresholds are 0.5 but for malignancy, where a nodule called harmless costs more than one
looked at again: there it is the highest at which sensitivity on the other folds is 0.9.
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

SENSITIVITY = 0.9


def logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def platt(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """a, b of p = sigmoid(a*logit + b); a is kept positive, so that ranks stay."""
    fit = LogisticRegression(C=1.0).fit(logits[:, None], labels)
    return max(float(fit.coef_[0, 0]), 0.05), float(fit.intercept_[0])


def maps(rows: list[dict]) -> tuple[dict[str, tuple[float, float]], float]:
    """Platt maps of the four characteristics, and the threshold of malignancy.

    The nodule output keeps its own logit: crops hold nodules only, whose share says nothing."""
    out = {}
    for name in CHARACTERISTICS:
        z = logit(np.array([float(r[name]) for r in rows]))
        y = np.array([int(r[f"{name}_label"]) for r in rows])
        if len(set(y)) < 2:
            raise ValueError(f"{name}: {len(y)} nodules, all with label {'01'[y[0]] if len(y) else '?'}; calibration needs both, so give more nodules or fewer folds")
        out[name] = platt(z, y)
        if name == "malignancy":
            p = 1 / (1 + np.exp(-(out[name][0] * z[y == 1] + out[name][1])))
            threshold = float(np.quantile(p, 1 - SENSITIVITY))
    return out, round(threshold, 3)


def rewrite(path: Path, fitted: dict[str, tuple[float, float]], threshold: float) -> None:
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
