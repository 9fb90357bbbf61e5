"""Reads objects with dcmqi's programs and compares what comes out.

Usage: dcmqi.py BIN FILE.dcm..., BIN being the folder of the programs and each
file having what it must say in FILE.json. Segmentations go through
segimage2itkimage and are compared voxel by voxel in space, reports through
tid1500reader. Prints "FILE<tab>ok" or "FILE<tab>what differs".
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import SimpleITK as sitk

BIN = pathlib.Path(sys.argv[1])


def call(program, *arguments):
    done = subprocess.run([BIN / program, *arguments], capture_output=True, text=True)
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(f"{program}: {lines[-1]}")



def seg(path, truth, folder):
    call("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder, "-t", "nrrd")
    meta = json.loads((folder / "meta.json").read_text())
    segments = {s["labelID"]: s for group in meta["segmentAttributes"] for s in group}
    if sorted(segments) != list(range(1, len(truth["nodules"]) + 1)):
        yield f"segments {sorted(segments)}"
        return
    found = {}
    for file in folder.glob("*.nrrd"):
        image = sitk.ReadImage(str(file))
        array = sitk.GetArrayFromImage(image)
        to_lps = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        if truth["kind"] == "FRACTIONAL":  # a file for each segment
            array = np.where(array > 0, int(file.stem), 0)
        for label in np.unique(array[array > 0]):
            index = np.argwhere(array == label)[:, ::-1]
            found[int(label)] = index @ to_lps.T + image.GetOrigin()
    for number, nodule in enumerate(truth["nodules"], 1):
        want, got = np.asarray(nodule["lps"]), found.get(number, np.zeros((0, 3)))
        if len(got) != len(want):
            yield f"segment {number}: {len(got)} voxels, not {len(want)}"
            continue
        order = lambda a: a[np.lexsort(np.round(a, 2).T)]
        off = np.abs(order(got) - order(want)).max()
        if off > 0.02:
            yield f"segment {number}: a voxel lies {off:.2f} mm off"
        if segments[number].get("SegmentedPropertyTypeCodeSequence", {}).get("CodeValue") != "27925004":
            yield f"segment {number} is no nodule"


def sr(path, truth, folder):
    out = folder / "sr.json"
    call("tid1500reader", "--inputDICOM", path, "--outputMetadata", out)
    groups = {g["TrackingUniqueIdentifier"]: g for g in json.loads(out.read_text()).get("Measurements", [])}
    nodules = truth["result"]["nodules"]
    if len(groups) != len(nodules):
        yield f"{len(groups)} groups of measurements, not {len(nodules)}"
    for n in nodules:
        group = groups.get(n["tracking_uid"])
        if group is None:
            yield f"{n['id']} is not there"
            continue
        values = {m["quantity"]["CodeValue"]: float(m["value"]) for m in group["measurementItems"]}
        for code, key in ("118565006", "volume_mm3"), ("103339001", "long_axis_mm"), ("103340004", "short_axis_mm"):
            if code not in values or abs(values[code] - n[key]) > 1e-6 * n[key]:
                yield f"{n['id']}: {key} is {values.get(code)}, not {n[key]}"


for name in sys.argv[2:]:
    path = pathlib.Path(name)
    truth = json.loads(path.with_suffix(".json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        try:
            said = list({"seg": seg, "sr": sr}[path.parent.name](path, truth, pathlib.Path(folder)))
        except Exception as e:  # what can't be read is a difference too
            said = [f"{type(e).__name__}: {e}"]
    for line in said or ["ok"]:
        print(f"{name}\t{line}")
