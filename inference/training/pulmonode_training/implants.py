"""Writes whole scans with nodules put into them, as DICOM, for `make evaluate SERIES=...`.

    python -m pulmonode_training.implants --data DIR --scans DIR --truth DIR --fold 0 --out runs/implants

Real scans with a nodule-free background are two. Training sees their right lungs, so that what is
written is the left half of the chest alone, with nodules of a fold that training kept out: neither
nodule nor lung was ever trained on. The scans' own nodules stay and are in the truth.
"""
from __future__ import annotations

import argparse
import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy import ndimage
from tqdm import tqdm

from .composites import Cutout, paste
from .data import Nodule, Scan, isotropic, lungs, midline, read_nodules, read_scan, split
from .train import REAL_SCANS

APART_MM = 28
SMALLEST_MM = 4


def implant(scan: Scan, lung: np.ndarray, keep_off: list[np.ndarray], chosen: list[Nodule],
            rng: np.random.Generator) -> tuple[Scan, list[tuple[np.ndarray, Nodule]]]:
    """Blends nodules into the lung, a third of them at its wall, at the scan's own resolution;
    returns their centres (z,y,x at 1 mm)."""
    depth = ndimage.distance_transform_edt(lung[::2, ::2, ::2]) * 2
    inside, wall = np.argwhere(depth > 0) * 2, np.argwhere((depth > 0) & (depth <= 4)) * 2
    hu, placed = scan.hu.astype(np.float32), []
    for n in chosen:
        cutout = Cutout.of(n, scan.spacing)
        if cutout is None:
            continue
        pool = wall if rng.random() < 1 / 3 else inside
        for at in pool[rng.integers(0, len(pool), 200)]:
            if all(np.linalg.norm(at - c) > APART_MM for c in [*keep_off, *(c for c, _ in placed)]):
                corner = np.rint(at / scan.spacing - cutout.centre).astype(int)
                paste(hu, cutout.hu, cutout.weight(rng.uniform(3, 7)), corner)
                placed.append(((corner + cutout.centre) * scan.spacing, n))
                break
    return replace(scan, hu=np.rint(hu).astype(np.int16)), placed


def write_left_half(folder: Path, scan: Scan, first_column: int, out: Path) -> None:
    """The slices of `folder` with the HU of `scan`, from a column on."""
    slices = sorted((pydicom.dcmread(f) for f in folder.glob("*.dcm")), key=lambda d: float(d.ImagePositionPatient[2]))
    out.mkdir(parents=True, exist_ok=True)
    study, series = generate_uid(entropy_srcs=[str(out), "study"]), generate_uid(entropy_srcs=[str(out), "series"])
    for k, (d, hu) in enumerate(zip(slices, scan.hu)):
        d = copy.deepcopy(d)
        stored = np.clip(np.rint((hu[:, first_column:] - float(d.RescaleIntercept)) / float(d.RescaleSlope)), -32768, 32767)
        signed = d.PixelRepresentation == 1
        d.PixelData = stored.astype("<i2").tobytes() if signed else np.clip(stored, 0, 65535).astype("<u2").tobytes()
        d["PixelData"].VR = "OW"
        for tag in ("PixelPaddingValue", "SmallestImagePixelValue", "LargestImagePixelValue"):
            if tag in d:
                delattr(d, tag)
        d.BitsStored, d.HighBit = 16, 15
        d.Columns = hu.shape[1] - first_column
        d.ImagePositionPatient = [f"{float(d.ImagePositionPatient[0]) + first_column * scan.spacing[2]:.6f}",
                                  *d.ImagePositionPatient[1:]]
        d.StudyInstanceUID, d.SeriesInstanceUID = study, series
        d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(out), str(k)])
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.PatientName, d.PatientID = "IMPLANTS^SYNTHETIC", "IMPLANTS"
        d.save_as(out / f"{k:04d}.dcm", enforce_file_format=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with nodules.npz and index.csv")
    parser.add_argument("--scans", required=True, help=f"folder with {', '.join(REAL_SCANS)}")
    parser.add_argument("--truth", required=True, help="folder of NAME.json with the outlined nodules")
    parser.add_argument("--fold", type=int, required=True, help="whose nodules are put in")
    parser.add_argument("--rounds", type=int, default=4, help="scans made of each")
    parser.add_argument("--nodules", type=int, default=10, help="put into a scan")
    parser.add_argument("--out", required=True, help="folder for series/NAME and truth/NAME.json")
    args = parser.parse_args()
    every = read_nodules(Path(args.data))
    rng = np.random.default_rng(args.fold)
    order = [i for i in rng.permutation(split(every, args.fold).test) if every[i].diameter_mm >= SMALLEST_MM]
    (Path(args.out) / "truth").mkdir(parents=True, exist_ok=True)
    for name in REAL_SCANS:
        folder = Path(args.scans) / name
        scan = read_scan(folder)
        lung = lungs(isotropic(scan))
        middle = midline(lung)
        lung[:, :, :middle] = False
        own = json.loads((Path(args.truth) / f"{name}.json").read_text())
        centres = [np.array(n["center_lps_mm"])[::-1] - scan.origin for n in own]
        for k in tqdm(range(args.rounds), desc=name):
            chosen, order = order[:args.nodules], order[args.nodules:]
            made, placed = implant(scan, lung, centres, [every[i] for i in chosen], rng)
            label = f"{name}-{k}"
            write_left_half(folder, made, int(middle / scan.spacing[2]), Path(args.out) / "series" / label)
            truth = own + [{"center_lps_mm": (c + scan.origin)[::-1].tolist(), "diameter_mm": n.diameter_mm,
                            "ratings": {"texture": [5 if n.labels[2] else 1]}, "key": n.key} for c, n in placed]
            (Path(args.out) / "truth" / f"{label}.json").write_text(json.dumps(truth, indent=1))


if __name__ == "__main__":
    main()
