"""Prints the figures of the model card: stage 2 on nodules never trained on, both stages on scans.

    python -m pulmonode_training.evaluate nodules --data DIR --models DIR
    python -m pulmonode_training.evaluate implants --data DIR --scans DIR --truth DIR --models DIR
    python -m pulmonode_training.evaluate scans --scans DIR --truth DIR --models DIR
    python -m pulmonode_training.evaluate release --models DIR --calibrate FILE --version V --out DIR

`release` writes ONNX files from the localize.pt and refine.pt of training; the others measure such
files. With --calibrate FILE, `nodules` and `implants` write the Platt maps they fit there, and a
second `release` puts them into the file.
"""
from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from tqdm import tqdm

from .composites import Cutout, paste
from .data import Nodule, Scan, isotropic, lungs, midline, read_nodules, read_scan, split
from .export import metadata, write_localize, write_refine
from .networks import CHARACTERISTICS, TASKS, MSUNet, MUNet
from .preprocess import SLAB_SPACING_MM, quantise, resample, scale, slab_positions
from .search import candidates, probability

TRAINED_ON = ("LIDC-IDRI: 542 nodules of patients outside the test and calibration folds, "
              "blended into the right lungs of LIDC-IDRI-0001 and LIDC-IDRI-0002")
FLIPS = ((), (-1,), (-2,), (-1, -2))


@dataclass(frozen=True)
class Refined:
    planes: np.ndarray  # plane numbers, slab spacing from the centre
    mask: np.ndarray  # probability [planes,64,64]
    logits: np.ndarray  # uncalibrated, in the order of TASKS


class Models:
    """localize.onnx and refine.onnx of a folder: figures are those of the files that are shipped."""

    def __init__(self, args: argparse.Namespace):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        self._localize, self._refine = (
            onnxruntime.InferenceSession(str(Path(args.models) / f"{role}.onnx"), options,
                                         providers=["CPUExecutionProvider"])
            for role in ("localize", "refine"))

    def localize(self, cubes: np.ndarray) -> np.ndarray:
        return self._localize.run(None, {"cube": cubes})[0]

    def refine(self, slabs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mask probabilities [N,4,64,64] and logits [N,5] in the order of TASKS."""
        mask, characteristics, nodule = self._refine.run(
            ["mask", "characteristics", "nodule"], {"slab": np.ascontiguousarray(slabs)})
        return mask, np.concatenate([characteristics, nodule], 1)


def refine(models: Models, hu: np.ndarray, spacing, centre, half_mm: float,
           slab_spacing=SLAB_SPACING_MM) -> Refined:
    """Slabs of four planes, two planes apart, over `half_mm` above and below the centre.

    Logits are averaged over slabs by the mask each shows, as the node does.
    """
    reach = max(1, int(np.ceil(half_mm / slab_spacing[0])))
    starts = np.arange(-reach - 2, reach, 2)
    planes = np.arange(starts[0], starts[-1] + 4)
    x = scale(quantise(resample(hu, slab_positions(centre, spacing, planes, slab_spacing))))
    slabs = np.stack([x[s - planes[0]:s - planes[0] + 4] for s in starts])
    mask, logits = 0, 0
    for axes in FLIPS:
        m, z = models.refine(np.flip(slabs, axes))
        mask, logits = mask + np.flip(m, axes) / len(FLIPS), logits + z / len(FLIPS)
    total, seen = np.zeros(x.shape), np.zeros(len(planes))
    for s, m in zip(starts - planes[0], mask):
        total[s:s + 4] += m
        seen[s:s + 4] += 1
    weight = (mask * (mask > 0.5)).sum((1, 2, 3)) + 1e-3
    return Refined(planes, total / seen[:, None, None], (logits * weight[:, None]).sum(0) / weight.sum())


def to_native(r: Refined, shape, spacing, centre, slab_spacing=SLAB_SPACING_MM) -> np.ndarray:
    """Mask probability on the CT's own grid; 0 outside the field."""
    at = [(np.arange(n) - c) * d / s for n, c, d, s in zip(shape, centre, spacing, slab_spacing)]
    index = [at[0] - r.planes[0], at[1] + 31.5, at[2] + 31.5]
    inside = [(i >= -0.5) & (i <= n - 0.5) for i, n in zip(index, r.mask.shape)]
    out = np.zeros(shape, np.float32)
    if all(i.any() for i in inside):
        out[np.ix_(*inside)] = resample(r.mask, tuple(i[k] for i, k in zip(index, inside)))
    return out


def outline(models: Models, n: Nodule) -> tuple[np.ndarray, Refined]:
    """A nodule's mask on native voxels, from its own centre, and the logits."""
    centre = np.array(ndimage.center_of_mass(n.mask))
    planes = np.flatnonzero(n.mask.any((1, 2)))
    half = max(centre[0] - planes[0], planes[-1] - centre[0]) * n.spacing[0]
    r = refine(models, n.hu, n.spacing, centre, half)
    p = to_native(r, n.hu.shape, n.spacing, centre)
    if n.diameter_mm > 28:
        coarse = tuple(s * k for s, k in zip(SLAB_SPACING_MM, (1, 2, 2)))
        p = to_native(refine(models, n.hu, n.spacing, centre, half, coarse), n.hu.shape, n.spacing, centre, coarse)
    return p >= 0.5, r


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z, float)))


def platt(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """a, b of p = sigmoid(a*logit + b); a is kept positive, so that ranks stay."""
    fit = LogisticRegression(C=1.0).fit(logits[:, None], labels)
    return max(float(fit.coef_[0, 0]), 0.05), float(fit.intercept_[0])


def note(path: Path, maps: dict[str, tuple[float, float]]) -> None:
    """Adds Platt maps to the file that `release` reads."""
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**old, **maps}))


def interval(y: np.ndarray, s: np.ndarray, rounds: int = 500) -> tuple[float, float]:
    """95 % bootstrap interval of the AUC."""
    rng, out = np.random.default_rng(0), []
    while len(out) < rounds:
        k = rng.integers(0, len(y), len(y))
        if 0 < y[k].sum() < len(y):
            out.append(roc_auc_score(y[k], s[k]))
    return tuple(np.percentile(out, (2.5, 97.5)))


def nodules(args: argparse.Namespace) -> None:
    every = read_nodules(Path(args.data))
    parts = split(every)
    models = Models(args)
    logits = {}
    for name in ("calibrate", "test"):
        rows, overlaps = [], []
        for i in tqdm(getattr(parts, name), desc=name, mininterval=5):
            n = every[i]
            mask, r = outline(models, n)
            on = n.mask.any((1, 2))
            overlaps.append((dice(mask[on], n.mask[on]), dice(mask, n.mask), n.diameter_mm))
            rows.append(r.logits)
        logits[name] = np.array(rows)
        d = np.array(overlaps)
        print(f"{name}: {len(d)} nodules, Dice on slices with truth {d[:, 0].mean():.3f} +- {d[:, 0].std():.3f}, "
              f"all slices {d[:, 1].mean():.3f}, below 0.5: {(d[:, 0] < 0.5).sum()}, "
              f"above 10 mm {d[d[:, 2] > 10, 0].mean():.3f}, below 6 mm {d[d[:, 2] < 6, 0].mean():.3f}")
    label = {name: np.array([every[i].labels for i in getattr(parts, name)]) for name in logits}
    maps = {}
    for k, c in enumerate(CHARACTERISTICS):
        a, b = maps[c] = platt(logits["calibrate"][:, k], label["calibrate"][:, k])
        y, z = label["test"][:, k], logits["test"][:, k]
        low, high = interval(y, z)
        print(f"{c}: AUC {roc_auc_score(y, z):.3f} ({low:.3f}-{high:.3f}), Brier {brier_score_loss(y, sigmoid(z)):.3f}, "
              f"calibrated {brier_score_loss(y, sigmoid(a * z + b)):.3f}, share of label 1 {y.mean():.2f}")
    for name in logits:
        z = logits[name][:, 4]
        print(f"nodule logit of {name} nodules: percentiles 2, 5, 10, 50 " +
              ", ".join(f"{v:.2f}" for v in np.percentile(z, (2, 5, 10, 50))))
    if args.calibrate:
        note(Path(args.calibrate), maps)


def truths(scan: Scan, path: Path) -> list[tuple[np.ndarray, float]]:
    """Centres (z,y,x voxels at 1 mm) and diameters of the outlined nodules."""
    with open(path) as f:
        return [(np.array(n["center_lps_mm"])[::-1] - scan.origin, n["diameter_mm"]) for n in json.load(f)]


def scans(args: argparse.Namespace) -> None:
    models = Models(args)
    for folder in sorted(p for p in Path(args.scans).iterdir() if any(p.glob("*.dcm"))):
        scan = read_scan(folder)
        volume = isotropic(scan)
        lung = lungs(volume)
        middle = midline(lung)
        known = Path(args.truth) / f"{scan.name}.json" if args.truth else None
        truth = truths(scan, known) if known and known.exists() else []
        p = probability(models.localize, volume, ndimage.binary_dilation(lung, iterations=2))
        found = []
        for c in candidates(p, args.threshold)[:60]:
            r = refine(models, scan.hu, scan.spacing, np.array(c.centre) / scan.spacing, 4)
            true = any(np.linalg.norm(np.array(c.centre) - t) <= max(5, d / 2) for t, d in truth)
            found.append((c, r.logits[4], true))
        for side in ("left", "right"):
            part = [f for f in found if (f[0].centre[2] >= middle) == (side == "left")]
            order = sorted(part, key=lambda f: -f[1])
            print(f"{scan.name} {side}: {len(part)} candidates above {args.threshold}, true at ranks "
                  f"{[i + 1 for i, f in enumerate(part) if f[2]]} by stage 1, "
                  f"{[i + 1 for i, f in enumerate(order) if f[2]]} by nodule; "
                  + ", ".join(f"{sum(not f[2] and f[1] > t for f in part)} false above logit {t}" for t in (-2, -1, 0, 1, 2)))
            for c, z, true in order[:6]:
                print(f"   score {c.score:.2f} voxels {c.voxels} nodule {z:.2f} at {np.round(c.centre, 1).tolist()}{' TRUE' if true else ''}")


def implant(scan: Scan, lung: np.ndarray, keep_off: list[np.ndarray], chosen: list[Nodule],
            rng: np.random.Generator) -> tuple[Scan, list[tuple[np.ndarray, float]]]:
    """Blends nodules into the lung, a third of them at its wall and all 28 mm apart, at the
    scan's own resolution; returns their centres (z,y,x at 1 mm) and diameters."""
    depth = ndimage.distance_transform_edt(lung[::2, ::2, ::2]) * 2
    inside, wall = np.argwhere(depth > 0) * 2, np.argwhere((depth > 0) & (depth <= 4)) * 2
    hu, placed = scan.hu.astype(np.float32), []
    for n in chosen:
        cutout = Cutout.of(n, scan.spacing)
        if cutout is None:
            continue
        pool = wall if rng.random() < 1 / 3 else inside
        for at in pool[rng.integers(0, len(pool), 200)]:
            if all(np.linalg.norm(at - c) > 28 for c in [*keep_off, *(c for c, _ in placed)]):
                corner = np.rint(at / scan.spacing - cutout.centre).astype(int)
                paste(hu, cutout.hu, cutout.weight(rng.uniform(3, 7)), corner)
                placed.append(((corner + cutout.centre) * scan.spacing, n.diameter_mm))
                break
    return replace(scan, hu=np.rint(hu).astype(np.int16)), placed


def implants(args: argparse.Namespace) -> None:
    """Sensitivity on nodules never trained on, in left lungs never trained on."""
    every = read_nodules(Path(args.data))
    parts = split(every)
    models = Models(args)
    rng = np.random.default_rng(0)
    # One lung and its nodules calibrate the nodule output, the other lung and the test fold judge it.
    fitted: tuple[float, float] = (1.0, 0.0)
    for name, part in (("LIDC-IDRI-0002", "calibrate"), ("LIDC-IDRI-0001", "test")):
        scan = read_scan(Path(args.scans) / name)
        lung = lungs(isotropic(scan))
        lung[:, :, :midline(lung)] = False
        own = truths(scan, Path(args.truth) / f"{name}.json")
        order = [i for i in rng.permutation(getattr(parts, part)) if every[i].diameter_mm >= 4]
        hits, alarms = [], []
        for k in range(args.rounds):
            chosen = [every[i] for i in order[k * 20:(k + 1) * 20]]
            made, placed = implant(scan, lung, [c for c, _ in own], chosen, rng)
            volume = isotropic(made)
            p = probability(models.localize, volume, ndimage.binary_dilation(lung, iterations=2))
            found = [(c, refine(models, made.hu, made.spacing, np.array(c.centre) / made.spacing, 4).logits[4])
                     for c in candidates(p, args.threshold)[:60]]
            for at, d in placed:
                near = [(c.score, z) for c, z in found if np.linalg.norm(np.array(c.centre) - at) <= max(5, d / 2)]
                hits.append((d, max((s for s, _ in near), default=0), max((z for _, z in near), default=-99)))
            if k == 0:
                alarms = [(c.score, z) for c, z in found if all(
                    np.linalg.norm(np.array(c.centre) - at) > max(5, d / 2) for at, d in [*placed, *own])]
        h, a = np.array(hits), np.array(alarms).reshape(-1, 2)
        for low, high in ((4, 6), (6, 10), (10, 99), (4, 99)):
            of = h[(h[:, 0] >= low) & (h[:, 0] < high)]
            print(f"{name} left, {part} nodules of {low} to {high} mm: {len(of)}, stage 1 finds "
                  f"{(of[:, 1] > 0).mean():.2f}, above nodule logit -2, -1, 0, 1, 2: "
                  + ", ".join(f"{(of[:, 2] > t).mean():.2f}" for t in (-2, -1, 0, 1, 2)))
        print(f"{name} left: {len(a)} false candidates, above nodule logit -2, -1, 0, 1, 2: "
              + ", ".join(str((a[:, 1] > t).sum()) for t in (-2, -1, 0, 1, 2)))
        for t in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
            print(f"   stage 1 score above {t}: found {(h[:, 1] > t).mean():.2f}, 6 mm and more "
                  f"{(h[h[:, 0] >= 6, 1] > t).mean():.2f}, false {(a[:, 0] > t).sum()}")
        z = np.concatenate([h[h[:, 2] > -99, 2], a[:, 1]])
        y = np.concatenate([np.ones((h[:, 2] > -99).sum()), np.zeros(len(a))]).astype(int)
        if 0 < y.sum() < len(y):
            if part == "calibrate":
                fitted = platt(z, y)
            else:
                print(f"nodule: AUC {roc_auc_score(y, z):.3f}, Brier {brier_score_loss(y, sigmoid(z)):.3f}, "
                      f"calibrated {brier_score_loss(y, sigmoid(fitted[0] * z + fitted[1])):.3f}")
    if args.calibrate:
        note(Path(args.calibrate), {"nodule": fitted})


def release(args: argparse.Namespace) -> None:
    maps = json.loads(Path(args.calibrate).read_text()) if args.calibrate else {t: (1.0, 0.0) for t in TASKS}
    out = Path(args.out)
    write_localize(load(MUNet(args.localize_width), args.models, "localize"), out / "localize.onnx",
                   metadata("localize", args.version, "quick", args.trained_on,
                            {"candidate": args.threshold}, [1.0, 1.0, 1.0]))
    write_refine(load(MSUNet(args.refine_width, tasks=TASKS), args.models, "refine"), out / "refine.onnx",
                 metadata("refine", args.version, "quick", args.trained_on,
                          {"mask": 0.5, "nodule": args.nodule_threshold, **{c: 0.5 for c in CHARACTERISTICS}},
                          list(SLAB_SPACING_MM), maps))


def load(net, folder: str, role: str):
    net.load_state_dict(torch.load(Path(folder) / f"{role}.pt", weights_only=True))
    return net.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--models", required=True, help="folder with the two networks, .onnx (release: .pt)")
    shared.add_argument("--threshold", type=float, default=0.3, help="candidates lie above this probability")
    shared.add_argument("--calibrate", help="file of the Platt maps")
    shared.add_argument("--threads", type=int, default=2)
    one = commands.add_parser("nodules", parents=[shared], help="Dice, AUC and Brier on the test fold")
    one.add_argument("--data", required=True, help="folder with nodules.npz and index.csv")
    one.set_defaults(run=nodules)
    two = commands.add_parser("scans", parents=[shared], help="candidates and false alarms on whole scans")
    two.add_argument("--scans", required=True, help="folder of CT series")
    two.add_argument("--truth", help="folder of NAME.json with the outlined nodules")
    two.set_defaults(run=scans)
    four = commands.add_parser("implants", parents=[shared], help="sensitivity on test nodules in unseen lungs")
    four.add_argument("--data", required=True, help="folder with nodules.npz and index.csv")
    four.add_argument("--scans", required=True, help="folder with LIDC-IDRI-0001 and LIDC-IDRI-0002")
    four.add_argument("--truth", required=True, help="folder of NAME.json with the outlined nodules")
    four.add_argument("--rounds", type=int, default=3, help="searches a lung, 20 nodules each")
    four.set_defaults(run=implants)
    three = commands.add_parser("release", parents=[shared], help="write localize.onnx and refine.onnx")
    three.add_argument("--out", required=True)
    three.add_argument("--localize-width", type=float, default=0.125)
    three.add_argument("--refine-width", type=float, default=0.25)
    three.add_argument("--version", required=True)
    three.add_argument("--nodule-threshold", type=float, default=0.5)
    three.add_argument("--trained-on", default=TRAINED_ON)
    three.set_defaults(run=release)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.run(args)


if __name__ == "__main__":
    main()
