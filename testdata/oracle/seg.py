"""Opens segmentations as highdicom does and compares them with what was put in.

Usage: seg.py DIRECTORY. In it lie NAME.dcm and NAME.json, which tells what the
segmentation should hold. Prints a line for each difference; silence and exit
status 0 mean that there is none.
"""

import json
import pathlib
import sys

import highdicom as hd
import numpy as np
import pydicom


def differences(path, truth):
    seg = hd.seg.segread(path)

    def expect(what, got, want):
        if got != want:
            yield f"{what}: {got!r}, not {want!r}"

    slices, nodules = truth["slices"], truth["nodules"]
    yield from expect("segments", list(seg.segment_numbers), list(range(1, len(nodules) + 1)))
    yield from expect("frame of reference", str(seg.FrameOfReferenceUID), truth["frame_of_reference_uid"])
    yield from expect("segmentation type", seg.segmentation_type, hd.seg.SegmentationTypeValues.BINARY)
    yield from expect("sources", {str(i[2]) for i in seg.get_source_image_uids()}, {s["sop_instance_uid"] for s in slices})

    # Voxels, asked for slice by slice as a viewer does.
    uids = [s["sop_instance_uid"] for s in slices]
    if truth["multiframe"]:
        voxels = seg.get_pixels_by_source_frame(
            uids[0], [s["frame"] for s in slices], assert_missing_frames_are_empty=True)
    else:
        voxels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    want = np.zeros((len(uids), truth["rows"], truth["columns"], len(nodules)), bool)
    for n, nodule in enumerate(nodules):
        for x, y, z in nodule["voxels"]:
            want[z, y, x, n] = True
    yield from expect("shape", voxels.shape, want.shape)
    if voxels.shape == want.shape:
        yield from expect("voxels that differ", int((voxels.astype(bool) != want).sum()), 0)

    # The same as a volume in space, where the frames let it be one.
    try:
        volume = seg.get_volume(combine_segments=False, rescale_fractional=False)
    except (RuntimeError, ValueError) as e:
        if truth["volume"]:
            yield f"no volume: {e}"
    else:
        for n, nodule in enumerate(nodules):
            centre = np.mean(nodule["lps"], axis=0)
            index = np.argwhere(np.asarray(volume.array)[..., n] > 0)
            got = volume.map_indices_to_reference(index.astype(float)).mean(axis=0)
            if not np.allclose(got, centre, atol=1e-3):
                yield f"nodule {n + 1} lies around {got}, not {centre}"

    for n, nodule in enumerate(nodules):
        d = seg.get_segment_description(n + 1)
        yield from expect("tracking ID", str(d.tracking_id), nodule["id"])
        yield from expect("tracking UID", str(d.tracking_uid), nodule["tracking_uid"])
        yield from expect("property", d.segmented_property_type.value, "27925004")
        yield from expect("algorithm type", d.algorithm_type, hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC)
        color = hd.color.CIELabColor.from_dicom_value(tuple(d.RecommendedDisplayCIELabValue))
        if np.abs(np.subtract(color.to_rgb(), nodule["rgb"])).max() > 1:
            yield f"colour: {color.to_rgb()}, not {nodule['rgb']}"
        yield from expect("algorithm name", d.algorithm_identification.name, truth["algorithm"])

    # Positions are the strings of the images.
    strings = {(s["sop_instance_uid"], s["frame"]): s["position"] for s in slices}
    for i, frame in enumerate(pydicom.dcmread(path).PerFrameFunctionalGroupsSequence):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        key = str(source.ReferencedSOPInstanceUID), int(source.get("ReferencedFrameNumber") or 0)
        position = "\\".join(str(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient)
        yield from expect(f"position of frame {i + 1}", position, strings[key])


wrong = 0
files = sorted(pathlib.Path(sys.argv[1]).glob("*.dcm"))
for file in files:
    for line in differences(file, json.loads(file.with_suffix(".json").read_text())):
        print(f"{file.stem}: {line}")
        wrong += 1
if not files:
    print("no segmentation to compare")
sys.exit(bool(wrong or not files))
