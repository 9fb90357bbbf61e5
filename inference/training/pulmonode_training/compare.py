"""The baselines beside MU-Net and MSU-Net: one table on one held-out fold, judged by the node.

    python -m pulmonode_training.compare --data DIR --scans DIR --out runs/compare --folds runs/cv

Each network is trained as `train` trains, small and briefly, written as ONNX and judged by
cmd/evaluate: the node's own preprocessing, the CT's own voxels. Regression, forests and readers
rate the same nodules. With --folds (the networks of crossvalidate) comes a second table, over all
folds, with the regression on the masks that these networks outlined of nodules they never saw.

What is done is not done again; what was cut off goes on. The tables are printed and written as
compare.md and compare.json.
"""
from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from tqdm import tqdm

from . import train
from .classical import (all_seen, auc, crossvalidated, draws, fitted, forest, interval, logistic, measured, outlined,
                        predicted, rated, readers)
from .crossvalidate import FOLDS
from .data import Nodule, read_nodules, split
from .export import metadata, write_localize, write_refine
from .networks import CHARACTERISTICS, TASKS, count
from .preprocess import SLAB_SPACING_MM

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True)
class Row:
    """A network and how train is told of it."""

    name: str
    network: str
    words: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")


def _options(*words: str) -> tuple[str, ...]:
    return tuple(w for word in words for w in ("--option", word))


# The plain baselines have no dropout: here no row has.
MSU = _options("dropout=0")
LOCALIZE = (Row("3D U-Net", "localize", _options("scales=0", "decoder_gates=")), Row("3D MU-Net", "localize"))
ENCODER = Row("MSU-Net, encoder only", "refine", (*MSU, *_options("heads=encoder")))
DECODER = Row("MSU-Net, decoder only", "refine", (*MSU, *_options("heads=decoder")))
BOTH = Row("MSU-Net", "refine", MSU)
REFINE = (
    *(Row(f"{form} {body}".replace("S- ", "S-"), "refine", ("--baseline", f"{form}/{body}"))
      for body in ("U-Net", "Attention U-Net", "Nested U-Net") for form in ("2D", "2.5D", "2.5D S-")),
    BOTH,
    Row("MSU-Net, not separable", "refine", (*MSU, *_options("separable=no"))),
    ENCODER, DECODER,
    Row("MSU-Net, nothing measured", "refine", (*MSU, *_options("measured=no"))),
)
NOT_RUN = {
    "V-Net, 3D FCN": "not built: below the 3D U-Net in the paper's table 4, and three-dimensional networks take the most time",
    "R2U-Net in 2D, 2.5D and 2.5D S-": "not built: below the U-Net in the paper's table 5, and its recurrence doubles the time",
    "DeepLabV3 in 2D and 2.5D": "not built: below the U-Net in the paper's table 5, and made for a pretrained backbone",
}


# The exporter is not made for two threads.
EXPORT = Lock()


class Judge:
    """cmd/evaluate, built once."""

    def __init__(self, out: Path, data: Path, rounds: int):
        self.data, self.rounds, self.program = data.resolve(), rounds, (out / "evaluate").resolve()
        subprocess.run(["go", "build", "-o", str(self.program), "./cmd/evaluate"], cwd=REPOSITORY, check=True)

    def __call__(self, figures: Path, scores: Path, *words: str) -> None:
        part = figures.with_suffix(".part")
        done = subprocess.run([str(self.program), "-data", str(self.data), "-rounds", str(self.rounds), "-json", str(part.resolve()),
                               "-scores", str(scores.resolve()), *words], cwd=REPOSITORY, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"evaluate {' '.join(words)}: {done.stderr.strip()[-2000:]}")
        part.replace(figures)


def run(row: Row, args: argparse.Namespace, judge: Judge, keys: str) -> None:
    """Trains, writes and judges one network, as far as that is not done."""
    out = Path(args.out) / row.folder
    out.mkdir(parents=True, exist_ok=True)
    words = [row.network, "--data", args.data, "--scans", args.scans, "--out", str(out), "--fold", str(args.fold),
             "--width", str(args.width), "--steps", str(args.steps if row.network == "refine" else args.cube_steps),
             "--batch", str(args.batch if row.network == "refine" else args.cube_batch), "--seed", str(args.seed), "--threads", "1",
             *(["--no-mining"] if row.network == "localize" else []), *row.words]
    recipe = json.dumps([w for w in words if w not in (args.data, args.scans, str(out))])
    kept = out / "recipe.json"
    if kept.exists() and kept.read_text() != recipe:
        raise RuntimeError(f"{out} was made with other settings ({kept.read_text()}): choose another --out, or delete it")
    kept.write_text(recipe)
    weights, model = out / f"{row.network}.pt", out / f"{row.network}.onnx"
    if not model.exists():
        if not weights.exists():
            with open(out / "log.txt", "a") as log:
                if subprocess.run([sys.executable, "-m", "pulmonode_training.train", *words], stdout=log, stderr=log,
                                  cwd=Path(__file__).parents[1], env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode:
                    raise RuntimeError(f"{row.name}: training failed, see {out / 'log.txt'}")
        with EXPORT:
            write(row, train.arguments(words), args.fold, weights, model)
    if not (out / "figures.json").exists():
        (out / "keys.txt").write_text(keys)
        judge(out / "figures.json", out / "scores.csv", "-keys", str((out / "keys.txt").resolve()), f"-{row.network}", str(model.resolve()))


def write(row: Row, options: argparse.Namespace, fold: int, weights: Path, model: Path) -> None:
    net = train.network(options)
    net.load_state_dict(torch.load(weights, weights_only=True))
    version, trained_on = f"compare-{row.folder}", f"LIDC-IDRI without fold {fold} of {FOLDS}, briefly, for comparison"
    part = model.with_suffix(".part")
    if row.network == "localize":
        write_localize(net, part, metadata("localize", version, "small", trained_on, {"candidate": 0.5}, [1.0, 1.0, 1.0]))
    else:
        write_refine([net], part, metadata("refine", version, "small", trained_on,
                                           {"mask": 0.5, "nodule": 0.5, **{c: 0.5 for c in CHARACTERISTICS}},
                                           list(SLAB_SPACING_MM), {t: (1.0, 0.0) for t in TASKS}))
    part.replace(model)


def parameters(row: Row, width: float) -> int:
    return count(train.network(train.arguments([row.network, "--data", "", "--scans", "", "--out", "", "--width", str(width), *row.words])))


def found(row: Row, args: argparse.Namespace) -> dict:
    """A row of the table from evaluate's figures."""
    figures = json.loads((Path(args.out) / row.folder / "figures.json").read_text())
    between = figures["interval_95"]
    out = {"name": row.name, "stage": 1 if row.network == "localize" else 2, "parameters": parameters(row, args.width), "interval_95": {}}
    stage1 = "stage1_" if row.network == "localize" else ""
    for name in ("dice_mean", "overlap_error_mean"):
        out[name], out["interval_95"][name] = figures[stage1 + name], between[stage1 + name]
    if row.network == "refine":
        for name in ("auc", "brier"):
            out[name], out["interval_95"][name] = figures[name], between[name]
    return out


COLUMNS = ("dice_mean", "overlap_error_mean", *(f"{of}.{c}" for of in ("auc", "brier") for c in CHARACTERISTICS))
HEADS = ("Dice", "overlap error", *(f"{of} {c}" for of in ("AUC", "Brier") for c in CHARACTERISTICS))


def cell(row: dict, column: str) -> str:
    value, between = row, row["interval_95"]
    for key in column.split("."):
        value, between = (None if d is None else d.get(key) for d in (value, between))
    if value is None or not np.isfinite(value):
        return "-"
    return f"{value:.3f} ({between[0]:.3f} to {between[1]:.3f})" if between else f"{value:.3f}"


def table(rows: list[dict], columns=COLUMNS, heads=HEADS) -> str:
    lines = ["| | parameters | " + " | ".join(heads) + " |", "|---|" + "---|" * (len(heads) + 1)]
    for row in rows:
        size = f"{row['parameters']:,}" if row.get("parameters") else "-"
        lines.append(f"| {row['name']} | {size} | " + " | ".join(cell(row, c) for c in columns) + " |")
    return "\n".join(lines) + "\n"


def known(value):
    """JSON has no NaN: null."""
    if isinstance(value, dict):
        return {k: known(v) for k, v in value.items()}
    if isinstance(value, list):
        return [known(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def read_scores(path: Path) -> list[dict]:
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def fold_scores(args: argparse.Namespace, judge: Judge, nodules: list[Nodule]) -> tuple[list[dict], str]:
    """evaluate's line of each nodule by the fold network that never saw it; or none, and why."""
    if not args.folds and not args.scores:
        return [], "needs --folds, the networks of crossvalidate"
    path = Path(args.scores) if args.scores else Path(args.out) / "folds.csv"
    if not args.scores:
        there = [k for k in range(FOLDS) if (Path(args.folds) / f"fold-{k}" / "keys.txt").exists()]
        if len(there) < FOLDS:
            return [], f"{args.folds} has folds {there} of {FOLDS}"
        figures = path.with_suffix(".json")
        if not figures.exists() or any((Path(args.folds) / f"fold-{k}" / "refine.onnx").stat().st_mtime > figures.stat().st_mtime for k in there):
            tqdm.write("judging the networks of --folds, about a second a nodule")
            judge(figures, path, "-folds", str(Path(args.folds).resolve()))
    rows = read_scores(path)
    if "predicted_mean_hu" not in rows[0]:
        return [], f"{path} has no column predicted_mean_hu: make it again with this cmd/evaluate"
    fold_of = {r["key"]: int(r["fold"]) for r in rows}
    for k in range(FOLDS):
        wanted = {nodules[i].key for i in split(nodules, k).test}
        if wanted != {key for key, f in fold_of.items() if f == k}:
            return [], f"{path} has other nodules in fold {k} than this data's split"
    return rows, ""


def against(nets: np.ndarray, other: np.ndarray, labels: np.ndarray, patients: list[str], rounds: int) -> dict:
    """By how much the networks' AUC is higher than another's, on the same draws of patients."""
    samples, out = draws(patients, rounds), {"interval_95": {"auc": {}}, "auc": {}}
    for k, c in enumerate(CHARACTERISTICS):
        def gain(s, k=k):
            return auc(nets[s, k], labels[s, k]) - auc(other[s, k], labels[s, k])
        out["auc"][c] = gain(np.arange(len(labels)))
        out["interval_95"]["auc"][c] = interval(gain, samples)
    return out


def classical_rows(args: argparse.Namespace, nodules: list[Nodule], cv: list[dict], reason: str,
                   models: list[tuple[str, Path]]) -> tuple[list[dict], list[dict], dict[str, str]]:
    """Rows of the held-out fold, rows over all folds, and rows that were not run with their reasons."""
    missing: dict[str, str] = {}
    parts = split(nodules, args.fold)
    everyone = sorted({*parts.train, *parts.test})
    nodules = [nodules[i] for i in everyone]
    place = {i: k for k, i in enumerate(everyone)}
    train_on, test = (np.array([place[i] for i in part]) for part in (parts.train, parts.test))
    labels, patients = np.array([n.labels for n in nodules]), [n.patient for n in nodules]
    by_key = {r["key"]: r for r in cv}
    fold = np.array([int(by_key[n.key]["fold"]) for n in nodules]) if cv else None
    tested = [patients[i] for i in test]
    one, all_folds = [], []

    def add(name: str, model, x: np.ndarray, over_all: bool = True) -> None:
        one.append({"name": name, **rated(fitted(model, x, labels, train_on, test), labels[test], tested, args.rounds)})
        if over_all and cv:
            p = crossvalidated(model, x, labels, fold)
            all_folds.append({"name": name, **rated(p, labels, patients, args.rounds), "p": p})

    on_truth = "logistic regression, diameter and HU of the readers' consensus"
    on_mask = "logistic regression, diameter and HU of the predicted mask"
    add(on_truth, logistic, outlined(nodules))
    if cv:
        rows = [by_key[n.key] for n in nodules]
        nets = np.array([[float(r[c]) for c in CHARACTERISTICS] for r in rows])
        contour = {f"{name}_mean": np.array([float(r[name]) for r in rows]) for name in ("dice", "overlap_error")}

        def judged(name: str, of: np.ndarray, whose: list[str]) -> dict:
            row, samples = {"name": name, **rated(nets[of], labels[of], whose, args.rounds)}, draws(whose, args.rounds)
            for column, v in contour.items():
                row[column], row["interval_95"][column] = float(v[of].mean()), interval(lambda s: v[of][s].mean(), samples)
            return row

        one.append(judged("network of --folds, trained longer", test, tested))
        add(on_mask, logistic, predicted(rows))
        all_folds.insert(0, judged("networks of --folds", np.arange(len(nodules)), patients))
        baseline = next(r for r in all_folds if r["name"] == on_mask)["p"]
        all_folds.append({"name": "networks less logistic on the predicted mask", **against(nets, baseline, labels, patients, args.rounds)})
    else:
        missing[on_mask] = missing["the table over all folds"] = reason
    add("random forest, 12 measures of the readers' consensus", forest,
        np.array([measured(n) for n in tqdm(nodules, desc="measures of the consensus", mininterval=5)]))
    for name, path in models:
        features, measures = all_seen(path, nodules, Path(args.out) / "features" / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.npz")
        add(f"random forest, features of {name}", forest, features, over_all=False)
        if name == models[-1][0]:
            add(f"random forest, 12 measures of the mask of {name}", forest, measures, over_all=False)
    for rows, of in ((one, set(tested)), (all_folds if cv else [], set(patients))):
        if rows:
            scores, said, whose = readers(Path(args.data) / "index.csv", of)
            rows.append({"name": "one reader, against the mean of the others", **rated(scores, said, whose, args.rounds, ("auc",))})
    for row in all_folds:
        row.pop("p", None)
    return one, all_folds, missing


def report(args: argparse.Namespace, networks: list[dict], one: list[dict], over_all: list[dict], missing: dict[str, str],
           nodules: int, tested: int) -> str:
    text = [
        f"Fold {args.fold} of {FOLDS}: {tested} nodules of patients that no row was fitted to; {nodules - tested} to fit to. Intervals: 95 %, bootstrap over patients, {args.rounds} rounds.\n",
        f"- All rows of stage 2 share width {args.width:g}, {args.steps} steps of {args.batch} slabs, seed {args.seed}, pictures, schedule and no dropout; those of stage 1 (3D) {args.cube_steps} steps of {args.cube_batch} cubes and no hard negatives. That is brief: it says which network is ahead by then, not how good it gets.\n"
        "- Judged by cmd/evaluate: the node's preprocessing, the CT's own voxels, slices with truth; stage 1 as in the paper's table 4, its one cube about the nodule cut at 0.5. Brier scores of networks are uncalibrated.\n"
        "- The baselines rate from the mean of their last map; MSU-Net rows also from what is measured of their contour, but for the row that says so. S- rows are grouped in the encoder alone.\n"
        "- Forests see features that their network gives to its own training nodules, as in the paper; the regression on the predicted mask sees masks of nodules that their network never saw.\n",
        table([*networks, *one])]
    if over_all:
        text += [f"\nAll {FOLDS} folds, {nodules} nodules, each rated by what was not fitted to its fold. The bar: no AUC of the networks below the logistic on the predicted mask.\n", table(over_all)]
        short = [f"{c} ({v:+.3f})" for c, v in over_all_gain(over_all).items() if v < 0]
        text.append("\nThe networks are " + (f"BELOW that logistic in {', '.join(short)}." if short else "below that logistic in none of the four.") + "\n")
    text.append("\nNot run:\n" + "".join(f"- {name}: {why}\n" for name, why in missing.items()))
    return "\n".join(text)


def over_all_gain(rows: list[dict]) -> dict[str, float]:
    return next(r["auc"] for r in rows if r["name"].startswith("networks less"))


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with nodules.npz and index.csv")
    parser.add_argument("--scans", required=True, help="folder of whole series, as for train")
    parser.add_argument("--out", required=True)
    parser.add_argument("--folds", help="folder of fold-0 ... with refine.onnx and keys.txt, of crossvalidate")
    parser.add_argument("--scores", help="evaluate's CSV of these folds, where it is there already")
    parser.add_argument("--fold", type=int, default=0, help="that is held out")
    parser.add_argument("--width", type=float, default=0.125, help="of all networks")
    parser.add_argument("--steps", type=int, default=400, help="of stage 2")
    parser.add_argument("--batch", type=int, default=20, help="slabs")
    parser.add_argument("--cube-steps", type=int, default=300, help="of stage 1")
    parser.add_argument("--cube-batch", type=int, default=2, help="cubes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=200, help="of the bootstrap")
    parser.add_argument("--jobs", type=int, default=1, help="networks at a time, each on one thread")
    parser.add_argument("--rows", nargs="*", choices=[r.folder for r in (*LOCALIZE, *REFINE)], help="only these networks")
    return parser.parse_args(words)


def main() -> None:
    args = arguments()
    data, out = Path(args.data).resolve(), Path(args.out).resolve()
    args.data, args.scans, args.out = str(data), str(Path(args.scans).resolve()), str(out)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    nodules = read_nodules(data)
    parts = split(nodules, args.fold)
    keys = "".join(nodules[i].key + "\n" for i in parts.test)
    judge = Judge(out, data, args.rounds)
    chosen = [r for r in (*LOCALIZE, *REFINE) if args.rows is None or r.folder in args.rows]
    missing = {r.name: "left out by --rows" for r in (*LOCALIZE, *REFINE) if r not in chosen}
    networks = []
    with ThreadPoolExecutor(args.jobs) as pool:
        waiting = [(row, pool.submit(run, row, args, judge, keys)) for row in chosen]
        for row, job in tqdm(waiting, desc="networks", unit="row"):
            try:
                job.result()
                networks.append(found(row, args))
            except RuntimeError as e:
                missing[row.name] = str(e)
                tqdm.write(f"{row.name}: {e}")
    cv, reason = fold_scores(args, judge, nodules)
    models = [(row.name, path) for row in (ENCODER, DECODER, BOTH) if (path := out / row.folder / "refine.onnx").exists()]
    if args.folds and (path := Path(args.folds) / f"fold-{args.fold}" / "refine.onnx").exists():
        models.append(("the network of --folds", path))
    one, over_all, more = classical_rows(args, nodules, cv, reason, models)
    missing = {**missing, **more, **NOT_RUN}
    text = report(args, networks, one, over_all, missing, len(parts.train) + len(parts.test), len(parts.test))
    settings = {k: getattr(args, k) for k in ("fold", "width", "steps", "batch", "cube_steps", "cube_batch", "seed", "rounds")}
    (out / "compare.md").write_text(text)
    (out / "compare.json").write_text(json.dumps(known({"settings": settings, "fold": [*networks, *one], "all_folds": over_all, "not_run": missing}), indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
