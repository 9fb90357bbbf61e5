"""Writes whole scans with nodules put into them, as DICOM, for `make evaluate SERIES=...`.

    python -m pulmonode_training.implants --data DIR --scans DIR --truth DIR --fold 0 --out runs/implants

Whole scans are two, and training sees their right lungs. What is written is their left half and
its mirror image, with nodules of a fold that training kept out in both: neither nodule nor lung was
ever trained on. The left half's own nodules stay, are mirrored with it, and are in the truth.
"""
from __future__ import annotations

import argparse
import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy import ndimage
from tqdm import tqdm

from .composites import Cutout, paste
from .data import SOLID, Nodule, Scan, isotropic, lungs, midline, read_nodules, read_scan, split
from .train import REAL_SCANS

APART_MM = 28
AIR_BELOW_HU = -500
SMALLEST_MM = 4


def implant(scan: Scan, lung: np.ndarray, keep_off: list[np.ndarray], chosen: list[Nodule],
            rng: np.random.Generator) -> tuple[Scan, list[tuple[np.ndarray, Nodule]]]:
    """Blends nodules into the lung, a third of them at its wall, at the scan's own resolution;
    returns their centres (z,y,x at 1 mm).

    A place has air around: half of a ball that is 3 mm larger than the nodule.
    """
    depth = ndimage.distance_transform_edt(lung[::2, ::2, ::2]) * 2
    inside, wall = np.argwhere(depth > 4) * 2, np.argwhere((depth > 0) & (depth <= 4)) * 2
    air = isotropic(scan) < AIR_BELOW_HU
    hu, placed = scan.hu.astype(np.float32), []
    for n in chosen:
        cutout = Cutout.of(n, scan.spacing)
        if cutout is None:
            continue
        pool = wall if rng.random() < 1 / 3 else inside
        for at in pool[rng.integers(0, len(pool), 500)]:
            if all(np.linalg.norm(at - c) > APART_MM for c in [*keep_off, *(c for c, _ in placed)]) and \
                    _share(air, at, n.diameter_mm / 2 + 3) >= 0.5:
                corner = np.rint(at / scan.spacing - cutout.centre).astype(int)
                paste(hu, cutout.hu, cutout.weight(rng.uniform(3, 7)), corner)
                placed.append(((corner + cutout.centre) * scan.spacing, n))
                break
    return replace(scan, hu=np.rint(hu).astype(np.int16)), placed


def _share(of: np.ndarray, at: np.ndarray, radius: float) -> float:
    """Share of a ball, z,y,x in voxels; what lies outside of the array counts as not."""
    r = math.ceil(radius)
    low, high = np.maximum(at - r, 0), np.minimum(at + r + 1, of.shape)
    part = of[tuple(slice(a, b) for a, b in zip(low, high))]
    z, y, x = np.ogrid[tuple(slice(a - c, b - c) for a, b, c in zip(low, high, at))]
    return part[z * z + y * y + x * x <= radius * radius].sum() / (4 / 3 * math.pi * radius ** 3)


def mirrored(scan: Scan, first_column: int) -> Scan:
    """The part from a column on, and its mirror image before it."""
    left = scan.hu[:, :, first_column:]
    dx = scan.spacing[2]
    z, y, x = scan.origin
    return replace(scan, hu=np.concatenate((left[:, :, ::-1], left), 2),
                   origin=(z, y, x + (first_column - left.shape[2]) * dx))


def write(folder: Path, scan: Scan, out: Path) -> None:
    """The slices of `folder` with the HU and the place of `scan`, as another patient's."""
    slices = sorted((pydicom.dcmread(f) for f in folder.glob("*.dcm")), key=lambda d: float(d.ImagePositionPatient[2]))
    out.mkdir(parents=True, exist_ok=True)
    study, series = generate_uid(entropy_srcs=[str(out), "study"]), generate_uid(entropy_srcs=[str(out), "series"])
    for k, (d, hu) in enumerate(zip(slices, scan.hu)):
        d = copy.deepcopy(d)
        stored = np.clip(np.rint((hu - float(d.RescaleIntercept)) / float(d.RescaleSlope)), -32768, 32767)
        signed = d.PixelRepresentation == 1
        d.PixelData = stored.astype("<i2").tobytes() if signed else np.clip(stored, 0, 65535).astype("<u2").tobytes()
        d["PixelData"].VR = "OW"
        for tag in ("PixelPaddingValue", "SmallestImagePixelValue", "LargestImagePixelValue"):
            if tag in d:
                delattr(d, tag)
        d.BitsStored, d.HighBit = 16, 15
        d.Rows, d.Columns = hu.shape
        d.ImagePositionPatient = [f"{scan.origin[2]:.6f}", *d.ImagePositionPatient[1:]]
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
    parser.add_argument("--rounds", type=int, default=5, help="scans made of each")
    parser.add_argument("--nodules", type=int, default=15, help="put into a scan")
    parser.add_argument("--out", required=True, help="folder for series/NAME and truth/NAME.json")
    args = parser.parse_args()
    every = read_nodules(Path(args.data))
    rng = np.random.default_rng(args.fold)
    order = [i for i in rng.permutation(split(every, args.fold).test) if every[i].diameter_mm >= SMALLEST_MM]
    (Path(args.out) / "truth").mkdir(parents=True, exist_ok=True)
    for name in REAL_SCANS:
        folder = Path(args.scans) / name
        whole = read_scan(folder)
        column = int(midline(lungs(isotropic(whole))) / whole.spacing[2])
        scan = mirrored(whole, column)
        lung = lungs(isotropic(scan))
        edge = whole.origin[2] + (column - 0.5) * whole.spacing[2]  # where the mirror stands
        own = []
        for n in json.loads((Path(args.truth) / f"{name}.json").read_text()):
            x, y, z = n["center_lps_mm"]
            if x > edge:
                own += [n, {**n, "center_lps_mm": [2 * edge - x, y, z]}]
        centres = [np.array(n["center_lps_mm"])[::-1] - scan.origin for n in own]
        for k in tqdm(range(args.rounds), desc=name):
            chosen, order = order[:args.nodules], order[args.nodules:]
            made, placed = implant(scan, lung, centres, [every[i] for i in chosen], rng)
            label = f"{name}-{k}"
            write(folder, made, Path(args.out) / "series" / label)
            truth = own + [{"center_lps_mm": (c + scan.origin)[::-1].tolist(), "diameter_mm": n.diameter_mm,
                            "ratings": {"texture": [5 if n.labels[SOLID] else 1]}, "key": n.key} for c, n in placed]
            (Path(args.out) / "truth" / f"{label}.json").write_text(json.dumps(truth, indent=1))


if __name__ == "__main__":
    main()
