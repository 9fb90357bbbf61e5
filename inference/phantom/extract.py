"""Cuts the nodules that the phantom carries out of the LIDC-IDRI nodule set (numpy only).

    python extract.py --data DIR        # DIR holds lidc.py and lidc-nodules/

Writes nodules.bin.gz beside this file: a little-endian uint32 with the length of a JSON index, the
index, then per nodule its Hounsfield units (int16) and the consensus mask (uint8), z,y,x in C
order. Only patients of the first of five folds are used: training never sees them.
"""
import argparse
import gzip
import json
import struct
import sys
from pathlib import Path

import numpy as np

# Well resolved, surrounded by lung, not cut by the crop's first or last slice; benign and
# malignant, calcified, spiculated, part-solid and ground-glass.
KEYS = (
    "LIDC-IDRI-0264_2", "LIDC-IDRI-0119_1", "LIDC-IDRI-0766_1", "LIDC-IDRI-0614_3",
    "LIDC-IDRI-0576_3", "LIDC-IDRI-0893_2", "LIDC-IDRI-0587_5", "LIDC-IDRI-0756_1",
    "LIDC-IDRI-0562_2", "LIDC-IDRI-0415_7", "LIDC-IDRI-0794_1", "LIDC-IDRI-0486_2",
    "LIDC-IDRI-0039_5", "LIDC-IDRI-0402_10", "LIDC-IDRI-0940_1",
)
CONTEXT_MM = 6.0  # of lung kept around the outline in plane
KEPT = ("malignancy", "margin", "texture", "calcification", "subtlety")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder with lidc.py and lidc-nodules/")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("nodules.bin.gz"))
    args = parser.parse_args()
    sys.path.insert(0, str(args.data))
    from lidc import folds, load

    nodules = load(args.data / "lidc-nodules")
    held_out = {nodules[i].key: nodules[i] for i in folds(nodules, 5, seed=0)[0]}
    index, body = [], []
    for key in KEYS:
        n = held_out[key]  # a KeyError: not of the held-out fold
        margin = [n.hu.shape[0]] + [int(np.ceil(CONTEXT_MM / s)) for s in n.spacing[1:]]
        inside = np.nonzero(n.reader_masks.any(0))
        part = tuple(slice(max(int(i.min()) - m, 0), int(i.max()) + 1 + m) for i, m in zip(inside, margin))
        hu = np.clip(n.hu[part], -1024, 3071).astype("<i2")
        mask = n.consensus[part].astype(np.uint8)
        index.append({
            "key": key,
            "shape": list(hu.shape),
            "spacing_mm": [round(float(s), 6) for s in n.spacing],
            "diameter_mm": round(n.diameter_mm, 3),
            "labels": n.labels,
            "mean_ratings": {c: round(n.mean_rating(c), 3) for c in KEPT},
        })
        body += [hu.tobytes(), mask.tobytes()]
    head = json.dumps({"nodules": index}, separators=(",", ":")).encode()
    with open(args.out, "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
        z.write(struct.pack("<I", len(head)) + head + b"".join(body))
    print(f"{args.out}: {len(index)} nodules, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
