"""Writes consensus-0001.json: the readers' 50 % consensus of the nodule of LIDC-IDRI-0001.

    python consensus.py DATA > consensus-0001.json

DATA is a folder with lidc-nodules/{index.csv,nodules.npz}. The bits are packed
least significant first, x fastest. LIDC-IDRI: TCIA, CC BY 3.0, Armato et al.,
Med Phys 2011, doi 10.1118/1.3528204, doi 10.7937/K9/TCIA.2015.LO9QL9SX.
"""
import base64
import csv
import json
import sys
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1]) / "lidc-nodules"
row = next(r for r in csv.DictReader(open(folder / "index.csv", newline="")) if r["key"] == "LIDC-IDRI-0001_1")
shape = [int(row[k]) for k in ("nz", "ny", "nx")]
first = int(row["offset"])
readers = np.load(folder / "nodules.npz")["readers"][first:first + int(np.prod(shape))].reshape(shape)
n = int(row["readers"])
mask = sum((readers >> r & 1).astype(int) for r in range(n)) / n >= 0.5
json.dump({
    "licence": "LIDC-IDRI, TCIA, CC BY 3.0, doi 10.7937/K9/TCIA.2015.LO9QL9SX",
    "series": row["series_uid"], "z0_mm": float(row["z0_mm"]), "dz_mm": float(row["dz"]),
    "x0": int(row["x0_px"]), "y0": int(row["y0_px"]), "shape_zyx": shape,
    "bits": base64.b64encode(np.packbits(mask.ravel(), bitorder="little").tobytes()).decode(),
}, sys.stdout, indent=1)
