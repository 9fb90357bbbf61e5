"""Trains stage 2 on four fifths of the patients, five times, and writes each fold's model and the
keys of the nodules that it never saw.

    python -m pulmonode_training.crossvalidate --data DIR --scans DIR --out runs/cv [options of train refine]

What was cut off goes on where it was; a fold that is done is not done again.
"""
from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from . import train
from .data import read_nodules, split
from .export import metadata, write_refine
from .networks import CHARACTERISTICS, TASKS
from .preprocess import SLAB_SPACING_MM

FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--folds", type=int, nargs="*", default=range(FOLDS), help="only these")
    ours, rest = parser.parse_known_args()
    nodules = read_nodules(Path(ours.data))
    for k in ours.folds:
        out = Path(ours.out) / f"fold-{k}"
        words = ["refine", "--data", ours.data, "--out", str(out), "--fold", str(k), *rest]
        args = train.arguments(words)
        if not (out / "refine.pt").exists():
            tqdm.write(f"fold {k} of {FOLDS}")
            try:
                code = subprocess.run([sys.executable, "-m", "pulmonode_training.train", *words]).returncode
            except KeyboardInterrupt:
                code = 1
            if code:
                sys.exit(code)  # training has said why
        net = train.network(args)
        net.load_state_dict(torch.load(out / "refine.pt", weights_only=True))
        write_refine([net], out / "refine.onnx", metadata(
            "refine", f"fold-{k}", args.preset, f"LIDC-IDRI without fold {k} of {FOLDS}",
            {"mask": 0.5, "nodule": 0.5, **{c: 0.5 for c in CHARACTERISTICS}}, list(SLAB_SPACING_MM),
            {t: (1.0, 0.0) for t in TASKS}))
        (out / "keys.txt").write_text("".join(nodules[i].key + "\n" for i in split(nodules, k).test))


if __name__ == "__main__":
    main()
