"""Reads the nodules (crops of LIDC-IDRI with every reader's outline) and whole CT series.

Index order is z,y,x throughout; z ascends towards the head, y to the back, x to the patient's
left, so world coordinates are LPS with the origin at the first voxel.
"""
from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from scipy import ndimage
from sklearn.mixture import GaussianMixture

from .networks import CHARACTERISTICS
from .preprocess import AIR_HU, isotropic_positions, resample

# Whole scans, and the demonstration, show these patients: no nodule of theirs is trained on.
HELD_OUT_PATIENTS = ("LIDC-IDRI-0001", "LIDC-IDRI-0002", "LIDC-IDRI-0003")
# Label 1: malignant, clear margin, solid, calcification absent (the paper's table 3).
LABEL_CUT = {"malignancy": 4, "margin": 4, "texture": 4, "calcification": 5.5}
SOLID = CHARACTERISTICS.index("texture")


@dataclass(frozen=True)
class Nodule:
    key: str
    patient: str
    hu: np.ndarray  # int16 [z,y,x]
    share: np.ndarray  # float32 [z,y,x], share of the readers who outlined the voxel
    spacing: tuple[float, float, float]
    labels: tuple[int, int, int, int]
    diameter_mm: float

    @property
    def mask(self) -> np.ndarray:
        return self.share >= 0.5


def _nodule(key: str, patient: str, hu: np.ndarray, bits: np.ndarray, readers: int,
            spacing: tuple[float, float, float], ratings: dict[str, list[int]], diameter_mm: float) -> Nodule:
    share = np.mean([bits >> r & 1 for r in range(readers)], axis=0, dtype=np.float32)
    return Nodule(
        key, patient,
        # Values below -1024 are the scanner's padding (PS3.3 C.7.5.1.1.2).
        np.where(hu < -1024, AIR_HU, hu).astype(np.int16), share, spacing,
        tuple(int(np.mean(ratings[c]) >= LABEL_CUT[c]) for c in CHARACTERISTICS), diameter_mm)


def read_nodules(folder: Path) -> list[Nodule]:
    """Reads nodules.npz (hu int16, readers uint8: all crops one after another) and index.csv."""
    if not (folder / "nodules.npz").exists():
        raise ValueError(f"{folder}: no nodules.npz and index.csv; pulmonode_training.lidc_xml makes them of LIDC-IDRI")
    with np.load(folder / "nodules.npz") as arrays:
        hu, readers = arrays["hu"], arrays["readers"]
    out = []
    with open(folder / "index.csv", newline="") as f:
        for row in csv.DictReader(f):
            shape = tuple(int(row[k]) for k in ("nz", "ny", "nx"))
            part = slice(int(row["offset"]), int(row["offset"]) + int(np.prod(shape)))
            out.append(_nodule(row["key"], row["patient"], hu[part].reshape(shape), readers[part].reshape(shape),
                               int(row["readers"]), tuple(float(row[k]) for k in ("dz", "dy", "dx")),
                               {c: [int(v) for v in row[c].split(";")] for c in CHARACTERISTICS},
                               float(row["diameter_mm"])))
    return out


def write_nodules(folder: Path, nodules: list[dict]) -> None:
    """What read_nodules reads, of nodules as lidc_xml.read_series gives them; those of which no
    voxel was outlined by half of the readers are left out."""
    rows, offset, seen = [], 0, Counter()
    kept = []
    for n in nodules:
        share = np.mean([n["bits"] >> r & 1 for r in range(n["readers"])], axis=0)
        volume = float((share >= 0.5).sum() * np.prod(n["spacing"]))
        if not volume:
            continue
        seen[n["patient"]] += 1
        rows.append({"key": f"{n['patient']}_{seen[n['patient']]}", "patient": n["patient"], "offset": offset,
                     **dict(zip(("nz", "ny", "nx"), n["hu"].shape)), **dict(zip(("dz", "dy", "dx"), n["spacing"])),
                     "readers": n["readers"], "diameter_mm": round((6 * volume / np.pi) ** (1 / 3), 3),
                     **{c: ";".join(map(str, n["ratings"][c])) for c in CHARACTERISTICS}})
        kept.append(n)
        offset += n["hu"].size
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "index.csv", "w", newline="") as f:
        table = csv.DictWriter(f, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    # The file that readers look for comes last: with it the folder is whole.
    np.savez_compressed(folder / "part.npz", hu=np.concatenate([n["hu"].ravel() for n in kept]).astype(np.int16),
                        readers=np.concatenate([n["bits"].ravel() for n in kept]).astype(np.uint8))
    (folder / "part.npz").replace(folder / "nodules.npz")


def features(n: Nodule) -> list[float]:
    """What the mixture model balances folds by: size, density, its spread, the labels."""
    hu = n.hu[n.mask].astype(float)
    return [np.log(n.diameter_mm), hu.mean() / 200, hu.std() / 200, *n.labels]


def folds(nodules: list[Nodule], k: int = 5, kinds: int = 8, seed: int = 0) -> list[list[int]]:
    """Patient-wise folds, balanced by kind of nodule, as lists of indices.

    The paper balances its folds by a Gaussian mixture on learned features; here the mixture
    is fitted to measured ones. Patients go, those with most nodules first, where they leave the
    kinds most evenly spread.
    """
    x = np.array([features(n) for n in nodules])
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
    kind = GaussianMixture(kinds, covariance_type="diag", random_state=seed, n_init=3).fit_predict(x)
    by_patient: dict[str, list[int]] = {}
    for i, n in enumerate(nodules):
        by_patient.setdefault(n.patient, []).append(i)
    order = sorted(by_patient)
    np.random.default_rng(seed).shuffle(order)
    want = np.maximum(np.bincount(kind, minlength=kinds), 1) / k
    have = np.zeros((k, kinds))
    out: list[list[int]] = [[] for _ in range(k)]
    for p in sorted(order, key=lambda p: -len(by_patient[p])):
        adds = np.bincount(kind[by_patient[p]], minlength=kinds)
        cost = [(((have[f] + adds) / want) ** 2).sum() - ((have[f] / want) ** 2).sum() for f in range(k)]
        best = int(np.argmin(cost))
        have[best] += adds
        out[best].extend(by_patient[p])
    return out


@dataclass(frozen=True)
class Split:
    """Indices of nodules. Patients cross no split, and those of the whole scans are in none."""

    train: list[int]
    test: list[int]


def split(nodules: list[Nodule], fold: int | None) -> Split:
    """Fold `fold` of five tests and the others train; None: all train, nothing tests."""
    parts = folds(nodules)
    if fold is not None and not 0 <= fold < len(parts):
        raise ValueError(f"fold {fold}: there are folds 0 to {len(parts) - 1}")

    def keep(chosen):
        return [i for k, part in enumerate(parts) if chosen(k) for i in part
                if nodules[i].patient not in HELD_OUT_PATIENTS]

    return Split(keep(lambda k: k != fold), keep(lambda k: k == fold))


@dataclass(frozen=True)
class Scan:
    name: str
    hu: np.ndarray  # int16 [z,y,x]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]  # z,y,x of the first voxel, mm

    def to_voxel(self, world: np.ndarray) -> np.ndarray:
        return (np.asarray(world) - self.origin) / self.spacing

    def to_world(self, voxel: np.ndarray) -> np.ndarray:
        return np.asarray(voxel) * self.spacing + self.origin


def find_series(folder: Path) -> Path:
    """Where a patient's CT series lies: the folder with most *.dcm, at whatever depth."""
    count = Counter(f.parent for f in folder.rglob("*.dcm"))
    if not count:
        raise ValueError(f"{folder}: no *.dcm in it; unpack the patient's CT series there")
    return max(sorted(count), key=count.__getitem__)


def read_scan(folder: Path) -> Scan:
    """Reads an axial CT series: all *.dcm of the folder."""
    slices = sorted((pydicom.dcmread(f) for f in Path(folder).glob("*.dcm")),
                    key=lambda d: float(d.ImagePositionPatient[2]))
    if len(slices) < 2:
        raise ValueError(f"{folder}: fewer than two slices; name a folder with one CT series")
    first = slices[0]
    if not np.allclose([float(v) for v in first.ImageOrientationPatient], (1, 0, 0, 0, 1, 0), atol=1e-3):
        raise ValueError(f"{folder}: not axial; training reads axial series only")
    z = np.array([float(d.ImagePositionPatient[2]) for d in slices])
    planes = []
    for d in slices:
        stored = d.pixel_array.astype(np.int32)
        hu = stored * float(d.RescaleSlope) + float(d.RescaleIntercept)
        if "PixelPaddingValue" in d:
            # An unsigned value representation beside signed pixels: compare modulo 2^16.
            hu = np.where(stored & 0xFFFF == int(d.PixelPaddingValue) & 0xFFFF, AIR_HU, hu)
        planes.append(np.clip(np.rint(hu), -32768, 32767).astype(np.int16))
    dy, dx = (float(v) for v in first.PixelSpacing)
    x, y, z0 = (float(v) for v in first.ImagePositionPatient)
    return Scan(Path(folder).name, np.stack(planes), (float(np.median(np.diff(z))), dy, dx), (z0, y, x))


def isotropic(scan: Scan) -> np.ndarray:
    """float32 HU at 1 mm, not yet clipped."""
    return resample(scan.hu, isotropic_positions(scan.hu.shape, scan.spacing))


def lungs(volume: np.ndarray) -> np.ndarray:
    """Lung mask of a 1 mm volume, closed so that nodules at the wall stay in."""
    air = ndimage.binary_opening(volume < -400)
    label, _ = ndimage.label(air)
    outside = np.unique(np.concatenate([label[:, 0].ravel(), label[:, -1].ravel(),
                                        label[:, :, 0].ravel(), label[:, :, -1].ravel()]))
    size = np.bincount(label.ravel())
    size[outside] = 0
    size[0] = 0
    kept = [i for i in np.argsort(-size)[:2] if size[i] > 200_000]
    if not kept:
        raise ValueError("no lung found: is this a chest CT in Hounsfield units?")
    # Closing by 14 mm, at 2 mm: a nodule of 25 mm at the wall is a dent of that depth.
    lung = np.isin(label, kept)
    box = np.pad(lung[::2, ::2, ::2], 10)
    grown = ndimage.distance_transform_edt(~box) <= 7
    closed = (ndimage.distance_transform_edt(grown) > 7)[10:-10, 10:-10, 10:-10]
    for axis, n in enumerate(volume.shape):
        closed = np.repeat(closed, 2, axis).take(range(n), axis)
    return lung | closed


def midline(lung: np.ndarray) -> int:
    """Column between right (below) and left (from here on) lung."""
    columns = np.flatnonzero(lung.any((0, 1)))
    return int(columns[0] + columns[-1]) // 2
