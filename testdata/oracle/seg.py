"""Opens a segmentation as highdicom does and compares it with what was put in.

Usage: seg.py SEG.dcm TRUTH.json. Prints one line for each difference; silence
and exit status 0 mean that there is none.
"""

import json
import sys

import highdicom as hd
import numpy as np
import pydicom

path, truth = sys.argv[1], json.load(open(sys.argv[2]))
seg = hd.seg.segread(path)
wrong = []


def expect(what, got, want):
    if got != want:
        wrong.append(f"{what}: {got!r}, not {want!r}")


expect("segments", list(seg.segment_numbers), list(range(1, len(truth["nodules"]) + 1)))
expect("frame of reference", str(seg.FrameOfReferenceUID), truth["frame_of_reference_uid"])
expect("segmentation type", seg.segmentation_type, hd.seg.SegmentationTypeValues.BINARY)
expect("sources", {str(i[2]) for i in seg.get_source_image_uids()}, {s["sop_instance_uid"] for s in truth["slices"]})

# Voxels, asked for slice by slice as a viewer does.
uids = [s["sop_instance_uid"] for s in truth["slices"]]
if truth["multiframe"]:
    voxels = seg.get_pixels_by_source_frame(
        uids[0], [s["frame"] for s in truth["slices"]], assert_missing_frames_are_empty=True)
else:
    voxels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
want = np.zeros((len(uids), truth["rows"], truth["columns"], len(truth["nodules"])), bool)
for n, nodule in enumerate(truth["nodules"]):
    for x, y, z in nodule["voxels"]:
        want[z, y, x, n] = True
expect("shape", voxels.shape, want.shape)
if voxels.shape == want.shape:
    expect("voxels that differ", int((voxels.astype(bool) != want).sum()), 0)

# The same as a volume in space, where the frames let it be one.
try:
    volume = seg.get_volume(combine_segments=False, rescale_fractional=False)
except (RuntimeError, ValueError) as e:
    if truth["volume"]:
        wrong.append(f"no volume: {e}")
else:
    for n, nodule in enumerate(truth["nodules"]):
        centre = np.mean(nodule["lps"], axis=0)
        index = np.argwhere(np.asarray(volume.array)[..., n] > 0)
        got = volume.map_indices_to_reference(index.astype(float)).mean(axis=0)
        if not np.allclose(got, centre, atol=1e-3):
            wrong.append(f"nodule {n + 1} lies around {got}, not {centre}")

for n, nodule in enumerate(truth["nodules"]):
    d = seg.get_segment_description(n + 1)
    expect("tracking ID", str(d.tracking_id), nodule["id"])
    expect("tracking UID", str(d.tracking_uid), nodule["tracking_uid"])
    expect("property", d.segmented_property_type.value, "27925004")
    expect("algorithm type", d.algorithm_type, hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC)
    expect("algorithm name", d.algorithm_identification.name, truth["algorithm"])

# Positions are the strings of the images.
ds = pydicom.dcmread(path)
strings = {s["sop_instance_uid"] + "/" + str(s["frame"]): s["position"] for s in truth["slices"]}
for i, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
    src = frame.DerivationImageSequence[0].SourceImageSequence[0]
    key = f'{src.ReferencedSOPInstanceUID}/{src.get("ReferencedFrameNumber") or 0}'
    position = "\\".join(str(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient)
    expect(f"position of frame {i + 1}", position, strings[key].strip())

print("\n".join(wrong))
sys.exit(bool(wrong))
