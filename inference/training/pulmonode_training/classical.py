"""What the networks' ratings are held against: a regression, a forest, a reader.

Each gives probabilities of label 1 of the four characteristics, one row a nodule.
"""
from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from scipy import ndimage
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from .data import LABEL_CUT, Nodule
from .networks import CHARACTERISTICS, measures
from .preprocess import SLAB_SPACING_MM, quantise, resample, scale, slab_positions

MARGIN_MM, STEP, PLANES = 5.0, 2, 4
NEAR_MM, FAR_MM = 4.0, 12.0


def auc(p: np.ndarray, label: np.ndarray) -> float:
    """Share of pairs of one with label 1 and one with label 0 in the right order, ties counting half."""
    ones = int(label.sum())
    if ones in (0, len(label)):
        return float("nan")
    return float((rankdata(p)[label == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(label) - ones)))


def brier(p: np.ndarray, label: np.ndarray) -> float:
    return float(((p - label) ** 2).mean())


def draws(patients: list[str], rounds: int) -> list[np.ndarray]:
    """Indices of nodules of `rounds` samples of the patients with replacement, the same at every call."""
    of: dict[str, list[int]] = {}
    for i, p in enumerate(patients):
        of.setdefault(p, []).append(i)
    groups = [np.array(of[p]) for p in sorted(of)]
    rng = np.random.default_rng(2022)
    return [np.concatenate([groups[k] for k in rng.integers(len(groups), size=len(groups))]) for _ in range(rounds)]


def interval(of: Callable[[np.ndarray], float], samples: list[np.ndarray]) -> list[float]:
    values = np.array([of(s) for s in samples])
    values = values[np.isfinite(values)]
    return [float(v) for v in np.quantile(values, (0.025, 0.975))] if len(values) else [float("nan")] * 2


def rated(p: np.ndarray, labels: np.ndarray, patients: list[str], rounds: int, of=("auc", "brier")) -> dict:
    """AUC and Brier score by characteristic with their intervals, in the form of evaluate's JSON."""
    samples, out = draws(patients, rounds), {"interval_95": {}}
    for name in of:
        measure = {"auc": auc, "brier": brier}[name]
        out[name] = {c: measure(p[:, k], labels[:, k]) for k, c in enumerate(CHARACTERISTICS)}
        out["interval_95"][name] = {c: interval(lambda s: measure(p[s, k], labels[s, k]), samples)
                                    for k, c in enumerate(CHARACTERISTICS)}
    return out


def logistic():
    return make_pipeline(StandardScaler(), LogisticRegression())


def forest():
    return RandomForestClassifier(300, min_samples_leaf=3, random_state=0, n_jobs=1)


def fitted(model: Callable, x: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """[tests, 4]. A nodule without features (nothing was outlined) is not fitted to, and gets the share of label 1."""
    known = np.isfinite(x).all(1)
    fit_to = train[known[train]]
    out = np.empty((len(test), len(CHARACTERISTICS)))
    for k in range(len(CHARACTERISTICS)):
        y = labels[fit_to, k]
        out[:, k] = y.mean()
        if 0 < y.mean() < 1:
            seen = known[test]
            out[seen, k] = model().fit(x[fit_to], y).predict_proba(x[test[seen]])[:, 1]
    return out


def crossvalidated(model: Callable, x: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Each nodule rated by a model fitted to the other folds."""
    out = np.full((len(x), len(CHARACTERISTICS)), np.nan)
    for k in np.unique(fold):
        test = np.flatnonzero(fold == k)
        out[test] = fitted(model, x, labels, np.flatnonzero(fold != k), test)
    return out


def outlined(nodules: list[Nodule]) -> np.ndarray:
    """Log diameter and mean HU of the consensus."""
    return np.array([(np.log(n.diameter_mm), n.hu[n.mask].mean()) for n in nodules])


def predicted(rows: list[dict]) -> np.ndarray:
    """The same of what evaluate's CSV says a network outlined; NaN where it outlined nothing."""
    return np.array([(np.log(float(r["predicted_diameter_mm"])), float(r["predicted_mean_hu"]))
                     if r["predicted_diameter_mm"] else (np.nan, np.nan) for r in rows])


def readers(path: Path, patients_wanted: set[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Each reader's rating of each nodule of index.csv, and whether the mean of the others gives label 1."""
    scores, labels, patients = [], [], []
    with open(path, newline="") as f:
        for row in csv.DictReader(f):
            if row["patient"] not in patients_wanted:
                continue
            ratings = np.array([[int(v) for v in row[c].split(";")] for c in CHARACTERISTICS]).T
            for r in range(len(ratings)):
                others = np.delete(ratings, r, 0)
                if len(others):
                    scores.append(ratings[r])
                    labels.append(others.mean(0) >= [LABEL_CUT[c] for c in CHARACTERISTICS])
                    patients.append(row["patient"])
    return np.array(scores, float), np.array(labels, int), patients


@dataclass(frozen=True)
class Look:
    """What the node sees of a nodule from the consensus' centre, [P,64,64] each."""

    planes: np.ndarray  # network input
    on: np.ndarray  # samples that lie on the crop
    truth: np.ndarray  # the consensus
    centre: tuple[float, float, float]  # in samples


def look(n: Nodule) -> Look:
    inside = np.argwhere(n.mask)
    centre = inside.mean(0)
    step = SLAB_SPACING_MM[0] / n.spacing[0]
    margin = MARGIN_MM / SLAB_SPACING_MM[0]
    first = int(np.floor((inside[:, 0].min() - 0.5 - centre[0]) / step - margin)) - STEP
    last = int(np.ceil((inside[:, 0].max() + 0.5 - centre[0]) / step + margin)) + STEP
    # Beyond the first and last slice there is nothing to outline.
    first = max(first, int(np.floor((-0.5 - centre[0]) / step)) - STEP)
    last = min(last, int(np.ceil((n.hu.shape[0] - 0.5 - centre[0]) / step)) + STEP)
    last = max(last, first + PLANES - 1)
    last += (last - first + 1 - PLANES) % STEP
    positions = slab_positions(centre, n.spacing, np.arange(first, last + 1))
    on = [(p > -0.5) & (p < k - 0.5) for p, k in zip(positions, n.hu.shape)]
    side = len(positions[1])
    return Look(scale(quantise(resample(n.hu, positions))),
                on[0][:, None, None] & on[1][None, :, None] & on[2][None, None, :],
                resample(n.mask, positions) >= 0.5, (-first, (side - 1) / 2, (side - 1) / 2))


def slabs(planes: np.ndarray) -> np.ndarray:
    return np.stack([planes[k:k + PLANES] for k in range(0, len(planes) - PLANES + 1, STEP)])


def average(masks: np.ndarray) -> np.ndarray:
    """The planes of overlapping slabs, each the mean of those that hold it."""
    n = (len(masks) - 1) * STEP + PLANES
    total, times = np.zeros((n, *masks.shape[2:]), np.float32), np.zeros(n, np.float32)
    for s, mask in enumerate(masks):
        total[s * STEP:s * STEP + PLANES] += mask
        times[s * STEP:s * STEP + PLANES] += 1
    return total / times[:, None, None]


def piece(inside: np.ndarray, at: tuple[float, float, float]) -> np.ndarray:
    """The connected piece that belongs to a place: the largest that comes near it, else the nearest."""
    label, count = ndimage.label(inside, np.ones((3, 3, 3)))
    if not count:
        return inside
    z, y, x = (((np.arange(k) - a) * d) ** 2 for k, a, d in zip(inside.shape, at, SLAB_SPACING_MM))
    away = np.sqrt(z[:, None, None] + y[None, :, None] + x[None, None, :])
    distance = ndimage.minimum(away, label, range(1, count + 1))
    size = np.bincount(label.ravel(), minlength=count + 1)[1:]
    best = int(np.argmin(np.where(distance <= NEAR_MM, -size.astype(float), distance)))
    return (label == best + 1) if distance[best] <= FAR_MM else np.zeros_like(inside)


def features_of(path: Path) -> onnxruntime.InferenceSession:
    """A refine.onnx that also gives what its last linear layers see."""
    model = onnx.load(path)
    seen = [node.input[0] for node in model.graph.node if node.op_type == "Gemm" and ".fc." in node.input[1]]
    if not seen or len(set(seen)) != 1:
        raise ValueError(f"{path}: not one network whose linear layers see the same features")
    model.graph.output.append(onnx.helper.make_tensor_value_info(seen[0], onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def weighted(of_slabs: np.ndarray, contour: np.ndarray) -> np.ndarray:
    """Mean over slabs by the area of the contour in each, as the node averages; NaN without one."""
    weight = slabs(contour).sum((1, 2, 3)).astype(float)
    if not weight.any():
        return np.full(of_slabs.shape[1], np.nan)
    return (of_slabs * weight[:, None]).sum(0) / weight.sum()


def seen(session: onnxruntime.InferenceSession, n: Nodule) -> tuple[np.ndarray, np.ndarray]:
    """What the network's linear layers see of a nodule, and what is measured of the contour it draws."""
    at = look(n)
    x = slabs(at.planes)
    mask, *_, features = session.run(None, {"slab": x})
    contour = piece((average(mask) >= 0.5) & at.on, at.centre)
    return weighted(features, contour), weighted(_measures(x, mask), contour)


def measured(n: Nodule) -> np.ndarray:
    """What is measured of the consensus."""
    at = look(n)
    contour = at.truth & at.on
    return weighted(_measures(slabs(at.planes), slabs(contour).astype(np.float32)), contour)


@torch.no_grad()
def _measures(x: np.ndarray, p: np.ndarray) -> np.ndarray:
    return measures(torch.from_numpy(x), torch.from_numpy(p)).numpy()


def all_seen(path: Path, nodules: list[Nodule], cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """`seen` of every nodule; kept in a file, and read from it where the network and the nodules are the same."""
    keys = np.array([n.key for n in nodules])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if cache.exists():
        with np.load(cache) as kept:
            if str(kept["digest"]) == digest and np.array_equal(kept["keys"], keys):
                return kept["features"], kept["measures"]
    session = features_of(path)
    both = [seen(session, n) for n in tqdm(nodules, desc=f"features of {path.parent.name}", mininterval=5)]
    features, measure = (np.array([b[k] for b in both]) for k in (0, 1))
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez(cache, digest=digest, keys=keys, features=features, measures=measure)
    return features, measure
