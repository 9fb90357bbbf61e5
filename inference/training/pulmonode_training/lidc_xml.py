"""Reads nodules from whole LIDC-IDRI series: DICOM slices with the readers' XML beside them.

For who has all of LIDC-IDRI: a folder with a folder a series, as TCIA hands them out, gives the
same nodules in the same form as nodules.npz and index.csv.
"""
from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from scipy import ndimage

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
    readers = []
    for session in ElementTree.parse(xml).getroot().findall("{*}readingSession"):
        outlines = []
        for nodule in session.findall("{*}unblindedReadNodule"):
            rated = nodule.find("{*}characteristics")
            if rated is None or any(not _text(rated, c).isdigit() for c in CHARACTERISTICS):
                continue  # below 3 mm: a point without ratings
            slices: dict[str, np.ndarray] = {}
            for roi in nodule.findall("{*}roi"):
                points = np.array([(int(_text(e, "xCoord")), int(_text(e, "yCoord")))
                                   for e in roi.findall("{*}edgeMap")], int).reshape(-1, 2)
                if len(points) < 3 or points.min() < 0 or (points >= shape[::-1]).any():
                    continue
                uid, area = _text(roi, "imageSOP_UID"), filled(points, shape)
                had = slices.get(uid, np.zeros(shape, bool))
                slices[uid] = had | area if _text(roi, "inclusion").upper() != "FALSE" else had & ~area
            if any(a.any() for a in slices.values()):
                outlines.append(Outline(slices, {c: int(_text(rated, c)) for c in CHARACTERISTICS}))
        readers.append(outlines)
    return readers


def _volume(outline: Outline, uids: list[str], shape: tuple[int, int]) -> np.ndarray:
    out = np.zeros((len(uids), *shape), bool)
    for k, uid in enumerate(uids):
        if uid in outline.slices:
            out[k] = outline.slices[uid]
    return out


def read_series(folder: Path, at_least: int = 3) -> list[dict]:
    """Nodules of one series that `at_least` readers outlined: hu, outline bits, spacing, ratings.

    Raises ValueError where the folder has no XML or more than one.
    """
    files = sorted(Path(folder).glob("*.xml"))
    if len(files) != 1:
        raise ValueError(f"{folder}: {len(files)} XML files; a LIDC-IDRI series has one beside its slices")
    slices = sorted((pydicom.dcmread(f) for f in Path(folder).glob("*.dcm")),
                    key=lambda d: float(d.ImagePositionPatient[2]))
    uids = [d.SOPInstanceUID for d in slices]
    shape = (int(slices[0].Rows), int(slices[0].Columns))
    z = [float(d.ImagePositionPatient[2]) for d in slices]
    spacing = (float(np.median(np.diff(z))), *(float(v) for v in slices[0].PixelSpacing))
    known = set(uids)
    # Groups of overlapping outlines, at most one a reader.
    groups: list[dict[int, tuple[Outline, np.ndarray]]] = []
    for reader, outlines in enumerate(read_outlines(files[0], shape)):
        for outline in outlines:
            if not known & outline.slices.keys():
                continue
            mask = _volume(outline, uids, shape)
            for group in groups:
                if any((mask & other).any() for _, other in group.values()):
                    if reader in group:  # drew it in two pieces
                        group[reader] = (group[reader][0], group[reader][1] | mask)
                    else:
                        group[reader] = (outline, mask)
                    break
            else:
                groups.append({reader: (outline, mask)})
    out = []
    for group in groups:
        if len(group) < at_least:
            continue
        bits = np.zeros((len(uids), *shape), np.uint8)
        for bit, (_, mask) in enumerate(group.values()):
            bits |= mask.astype(np.uint8) << bit
        where = np.argwhere(bits)
        margin = [1, *(int(np.ceil(MARGIN_MM / s)) for s in spacing[1:])]
        low = np.maximum(where.min(0) - margin, 0)
        high = np.minimum(where.max(0) + margin + 1, bits.shape)
        box = tuple(slice(a, b) for a, b in zip(low, high))
        hu = np.stack([np.rint(d.pixel_array[box[1:]] * float(d.RescaleSlope) + float(d.RescaleIntercept))
                       for d in slices[box[0]]]).astype(np.int16)
        out.append({"hu": hu, "bits": bits[box], "readers": len(group), "spacing": spacing,
                    "patient": str(slices[0].PatientID),
                    "ratings": {c: [o.ratings[c] for o, _ in group.values()] for c in CHARACTERISTICS}})
    return out
