"""Reads nodules from whole LIDC-IDRI series: DICOM slices with the readers' XML beside them.

    python -m pulmonode_training.lidc_xml --data LIDC-IDRI --out runs/nodules

For who has all of LIDC-IDRI, as TCIA hands it out: writes nodules.npz and index.csv, which
training and `make evaluate` read.
"""
from __future__ import annotations

import argparse
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from scipy import ndimage
from tqdm import tqdm

from .data import write_nodules
from .networks import CHARACTERISTICS

MARGIN_MM = 15  # around the union of the outlines, in plane


@dataclass(frozen=True)
class Outline:
    """One reader's nodule: filled contours by slice, and ratings."""

    slices: dict[str, np.ndarray]  # SOP Instance UID -> bool [rows, columns]
    ratings: dict[str, int]


def _text(element, name: str) -> str:
    found = element.find(f"{{*}}{name}")
    return "" if found is None or found.text is None else found.text.strip()


def filled(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Inside of an outline [N,2] of columns and rows. The outline is the first ring of pixels
    outside the nodule (LIDC's rule) and is not part of it."""
    ring = np.zeros(shape, bool)
    # Neighbours in the list touch, but for the rare gap that a line closes.
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0)):
        n = max(abs(x1 - x0), abs(y1 - y0), 1)
        t = np.arange(n + 1) / n
        ring[np.rint(y0 + t * (y1 - y0)).astype(int), np.rint(x0 + t * (x1 - x0)).astype(int)] = True
    return ndimage.binary_fill_holes(ring) & ~ring


def read_outlines(xml: Path, shape: tuple[int, int]) -> list[list[Outline]]:
    """By reader, the nodules of 3 mm and more that have ratings."""
    try:
        root = ElementTree.parse(xml).getroot()
        return [[outline for nodule in session.findall("{*}unblindedReadNodule")
                 if (outline := _outline(nodule, shape)) is not None]
                for session in root.findall("{*}readingSession")]
    except (ElementTree.ParseError, ValueError) as e:
        raise ValueError(f"{xml}: not the readers' XML of LIDC-IDRI: {e}; fetch the file again") from e


def _outline(nodule, shape: tuple[int, int]) -> Outline | None:
    rated = nodule.find("{*}characteristics")
    if rated is None or any(not _text(rated, c).isdigit() for c in CHARACTERISTICS):
        return None  # below 3 mm: a point without ratings
    slices: dict[str, np.ndarray] = {}
    for roi in nodule.findall("{*}roi"):
        points = np.array([(int(_text(e, "xCoord")), int(_text(e, "yCoord")))
                           for e in roi.findall("{*}edgeMap")], int).reshape(-1, 2)
        if len(points) < 3 or points.min() < 0 or (points >= shape[::-1]).any():
            continue
        uid, area = _text(roi, "imageSOP_UID"), filled(points, shape)
        had = slices.get(uid, np.zeros(shape, bool))
        slices[uid] = had | area if _text(roi, "inclusion").upper() != "FALSE" else had & ~area
    slices = {uid: area for uid, area in slices.items() if area.any()}
    return Outline(slices, {c: int(_text(rated, c)) for c in CHARACTERISTICS}) if slices else None


def _overlap(a: Outline, b: Outline) -> bool:
    return any((a.slices[uid] & b.slices[uid]).any() for uid in a.slices.keys() & b.slices.keys())


def _joined(a: Outline, b: Outline) -> Outline:
    """Of one reader, who drew a nodule in two pieces and rated the first."""
    return Outline({uid: a.slices.get(uid, False) | b.slices.get(uid, False)
                    for uid in a.slices.keys() | b.slices.keys()}, a.ratings)


def read_series(folder: Path, at_least: int = 3) -> list[dict]:
    """Nodules of one CT series that `at_least` readers outlined: hu, outline bits, spacing, ratings.

    Raises ValueError where the folder has no XML or more than one.
    """
    files = sorted(Path(folder).glob("*.xml"))
    if len(files) != 1:
        raise ValueError(f"{folder}: {len(files)} XML files; a LIDC-IDRI series has one beside its slices")
    slices = [pydicom.dcmread(f) for f in Path(folder).glob("*.dcm")]
    if any(d.get("Modality") != "CT" for d in slices):
        return []  # some patients have a chest radiograph as well
    if len(slices) < 2:
        raise ValueError(f"{folder}: fewer than two slices; name a folder with one CT series")
    slices.sort(key=lambda d: float(d.ImagePositionPatient[2]))
    plane = {d.SOPInstanceUID: k for k, d in enumerate(slices)}
    shape = (int(slices[0].Rows), int(slices[0].Columns))
    z = [float(d.ImagePositionPatient[2]) for d in slices]
    spacing = (float(np.median(np.diff(z))), *(float(v) for v in slices[0].PixelSpacing))
    # Groups of overlapping outlines, at most one a reader.
    groups: list[dict[int, Outline]] = []
    for reader, outlines in enumerate(read_outlines(files[0], shape)):
        for outline in outlines:
            outline = Outline({uid: a for uid, a in outline.slices.items() if uid in plane}, outline.ratings)
            if not outline.slices:
                continue
            for group in groups:
                if any(_overlap(outline, other) for other in group.values()):
                    group[reader] = _joined(group[reader], outline) if reader in group else outline
                    break
            else:
                groups.append({reader: outline})
    out = []
    for group in groups:
        if len(group) < at_least:
            continue
        drawn = [(plane[uid], bit, area) for bit, o in enumerate(group.values()) for uid, area in o.slices.items()]
        where = np.argwhere(np.any([area for _, _, area in drawn], 0))
        first, last = min(k for k, _, _ in drawn), max(k for k, _, _ in drawn)
        margin = [1, *(int(np.ceil(MARGIN_MM / s)) for s in spacing[1:])]
        low = np.maximum((first, *where.min(0)) - np.array(margin), 0)
        high = np.minimum((last, *where.max(0)) + np.array(margin) + 1, (len(slices), *shape))
        box = tuple(slice(a, b) for a, b in zip(low, high))
        bits = np.zeros(high - low, np.uint8)
        for k, bit, area in drawn:
            bits[k - low[0]] |= area[box[1:]].astype(np.uint8) << bit
        hu = np.stack([np.rint(d.pixel_array[box[1:]] * float(d.RescaleSlope) + float(d.RescaleIntercept))
                       for d in slices[box[0]]]).astype(np.int16)
        out.append({"hu": hu, "bits": bits, "readers": len(group), "spacing": spacing,
                    "patient": str(slices[0].PatientID),
                    "ratings": {c: [o.ratings[c] for o in group.values()] for c in CHARACTERISTICS}})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder with all series, each with its XML")
    parser.add_argument("--out", required=True, type=Path, help="folder for nodules.npz and index.csv")
    args = parser.parse_args()
    series = sorted({f.parent for f in args.data.rglob("*.xml") if any(f.parent.glob("*.dcm"))})
    if not series:
        parser.error(f"{args.data}: neither nodules.npz and index.csv, nor a series (*.dcm) with its LIDC XML")
    nodules = []
    for one in tqdm(series, desc="series", mininterval=5):
        try:
            nodules += read_series(one)
        except (ValueError, AttributeError, InvalidDicomError) as e:
            tqdm.write(f"left out: {e if str(one) in str(e) else f'{one}: {e}'}")
    if not nodules:
        parser.error(f"{args.data}: no nodule that three readers outlined in {len(series)} series")
    write_nodules(args.out, nodules)
    print(f"{args.out}: {len(nodules)} nodules of {len({n['patient'] for n in nodules})} patients")


if __name__ == "__main__":
    main()
