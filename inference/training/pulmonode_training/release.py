"""Writes the two files that the node ships with from what training left.

    python -m pulmonode_training.release --localize runs/localize --folds runs/cv \\
        --calibration runs/calibration.json --version 1.0.0 --out ../models

refine.onnx is the mean of the networks of all folds: together they have seen every nodule, it
outlines better than any one of them, and the calibration was fitted to what each said of nodules
that it had not seen.
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from .export import metadata, write_localize, write_refine
from .networks import CHARACTERISTICS, PRESETS, MSUNet, MUNet
from .preprocess import SLAB_SPACING_MM

CITATION = "LIDC-IDRI (Armato et al., Med Phys 2011, doi 10.1118/1.3528204)"
TRAINED_ON = {
    "localize": f"{CITATION}: outlined nodules without fold 0 of five, blended into the right lungs of LIDC-IDRI-0001 and LIDC-IDRI-0002",
    "refine": f"{CITATION}: outlined nodules, five networks, each without one fifth of the patients",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--localize", required=True, help="folder with localize.pt")
    parser.add_argument("--folds", required=True, help="folder of fold-0 ... with refine.pt")
    parser.add_argument("--calibration", required=True, help="file that calibrate wrote")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small", help="that they were trained with")
    parser.add_argument("--candidate", type=float, default=0.1, help="stage 1: candidates lie above this probability")
    parser.add_argument("--nodule", type=float, default=0.8, help="stage 2: nodules lie above this calibrated probability")
    parser.add_argument("--smallest-mm", type=float, default=4, help="diameter of the smallest nodules that both stages were evaluated for")
    parser.add_argument("--version", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()

    def load(net, path: Path):
        if not path.exists():
            parser.error(f"{path}: no such file; pulmonode_training.train writes it at its end")
        try:
            net.load_state_dict(torch.load(path, weights_only=True))
        except RuntimeError as e:
            parser.error(f"{path}: not weights of preset {args.preset}: {str(e).splitlines()[1].strip()}")
        return net

    localize = load(MUNet(**PRESETS[args.preset]["localize"]), Path(args.localize) / "localize.pt")
    weights = sorted(Path(args.folds).glob("fold-*/refine.pt"))
    if not weights:
        parser.error(f"{args.folds}: no fold-*/refine.pt; train them with pulmonode_training.crossvalidate")
    refine = [load(MSUNet(**PRESETS[args.preset]["refine"]), path) for path in weights]
    fitted = json.loads(Path(args.calibration).read_text())
    thresholds = {"mask": 0.5, "nodule": args.nodule, **{c: 0.5 for c in CHARACTERISTICS}, **fitted["thresholds"]}
    out = Path(args.out)
    write_localize(localize, out / "localize.onnx", metadata(
        "localize", args.version, args.preset, TRAINED_ON["localize"], {"candidate": args.candidate},
        [1.0, 1.0, 1.0], smallest_mm=args.smallest_mm))
    write_refine(refine, out / "refine.onnx", metadata(
        "refine", args.version, args.preset, TRAINED_ON["refine"], thresholds, list(SLAB_SPACING_MM), fitted["maps"],
        smallest_mm=args.smallest_mm))
    for name in ("localize.onnx", "refine.onnx"):
        print(f"{out / name}: {(out / name).stat().st_size / 2 ** 20:.1f} MiB")


if __name__ == "__main__":
    main()
