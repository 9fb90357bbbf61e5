"""Opens segmentations as highdicom and pydicom do and compares them with what was
put in.

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

CLASSES = {"BINARY": "1.2.840.10008.5.1.4.1.1.66.4", "FRACTIONAL": "1.2.840.10008.5.1.4.1.1.66.4",
           "LABELMAP": "1.2.840.10008.5.1.4.1.1.66.7"}


def expect(what, got, want):
    if got != want:
        yield f"{what}: {got!r}, not {want!r}"


def volume_of(truth):
    """The values that were put in: slice, row, column, segment."""
    out = np.zeros((len(truth["slices"]), truth["rows"], truth["columns"], len(truth["nodules"])), np.uint8)
    for n, nodule in enumerate(truth["nodules"]):
        for x, y, z, value in nodule["voxels"]:
            out[z, y, x, n] = value
    return out


def by_source(seg, slices):
    """Voxels, asked for image by image as a viewer does."""
    options = {"assert_missing_frames_are_empty": True}
    if seg.segmentation_type == hd.seg.SegmentationTypeValues.FRACTIONAL:
        options["rescale_fractional"] = False
    uids = [s["sop_instance_uid"] for s in slices]
    if not slices[0]["frame"]:
        return seg.get_pixels_by_source_instance(uids, **options)
    out = None
    for uid in dict.fromkeys(uids):
        planes = [z for z, s in enumerate(slices) if s["sop_instance_uid"] == uid]
        part = seg.get_pixels_by_source_frame(uid, [slices[z]["frame"] for z in planes], **options)
        if out is None:
            out = np.zeros((len(slices), *part.shape[1:]), part.dtype)
        out[planes] = part
    return out


def read_by_highdicom(path, truth):
    seg = hd.seg.segread(path)
    slices, nodules, kind = truth["slices"], truth["nodules"], truth["kind"]
    yield from expect("class", str(seg.SOPClassUID), CLASSES[kind])
    yield from expect("segments", [int(n) for n in seg.segment_numbers], list(range(1, len(nodules) + 1)))
    yield from expect("frame of reference", str(seg.FrameOfReferenceUID), truth["frame_of_reference_uid"])
    yield from expect("segmentation type", seg.segmentation_type.value, kind)
    yield from expect("sources", {str(i[2]) for i in seg.get_source_image_uids()}, {s["sop_instance_uid"] for s in slices})

    want = volume_of(truth)
    if kind == "LABELMAP":
        want = (want > 0).astype(np.uint8)  # highdicom gives each segment by itself
    voxels = by_source(seg, slices)
    yield from expect("shape", voxels.shape, want.shape)
    if voxels.shape == want.shape:
        yield from expect("voxels that differ", int((voxels != want).sum()), 0)

    # The same as a volume in space, where the frames let it be one.
    try:
        volume = seg.get_volume(combine_segments=False, rescale_fractional=False)
    except (RuntimeError, ValueError) as e:
        if truth["volume"]:
            yield f"no volume: {e}"
    else:
        for n, nodule in enumerate(nodules):
            if not nodule["lps"]:
                continue
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
        yield from expect("algorithm name", d.algorithm_identification.name, truth["algorithm"])
        color = hd.color.CIELabColor.from_dicom_value(tuple(d.RecommendedDisplayCIELabValue))
        if np.abs(np.subtract(color.to_rgb(), nodule["rgb"])).max() > 1:
            yield f"colour: {color.to_rgb()}, not {nodule['rgb']}"


def read_by_pydicom(path, truth):
    ds = pydicom.dcmread(path)
    slices = {(s["sop_instance_uid"], s["frame"]): z for z, s in enumerate(truth["slices"])}
    want = volume_of(truth)
    pixels = ds.pixel_array
    if pixels.ndim == 2:
        pixels = pixels[np.newaxis]
    yield from expect("frames", pixels.shape, (int(ds.NumberOfFrames), truth["rows"], truth["columns"]))
    covered = np.zeros_like(want, bool)
    for i, (frame, got) in enumerate(zip(ds.PerFrameFunctionalGroupsSequence, pixels, strict=True)):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        z = slices[str(source.ReferencedSOPInstanceUID), int(source.get("ReferencedFrameNumber") or 0)]
        # Positions are the strings of the images.
        position = "\\".join(str(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient)
        yield from expect(f"position of frame {i + 1}", position, truth["slices"][z]["position"])
        if "SegmentIdentificationSequence" in frame:
            n = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber - 1
            plane = want[z, :, :, n]
            covered[z, :, :, n] = True
        else:
            plane = want[z].max(axis=-1)
            covered[z] = True
        yield from expect(f"voxels that differ in frame {i + 1}", int((got != plane).sum()), 0)
    yield from expect("voxels without a frame", int(want[~covered].sum()), 0)

    shared = ds.SharedFunctionalGroupsSequence[0]
    orientation = "\\".join(str(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient)
    yield from expect("orientation", orientation, truth["orientation"].strip())
    measures = shared.PixelMeasuresSequence[0]
    yield from expect("pixel spacing", [float(v) for v in measures.PixelSpacing], truth["pixel_spacing"])
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    ends = [np.array(s["position"].split("\\"), float) for s in (truth["slices"][0], truth["slices"][-1])]
    distance = float((ends[1] - ends[0]) @ np.cross(*axes)) / (len(truth["slices"]) - 1)
    if abs(float(measures.SpacingBetweenSlices) - distance) > 1e-5:
        yield f"slices are {measures.SpacingBetweenSlices} mm apart, their positions {distance}"


wrong = 0
files = sorted(pathlib.Path(sys.argv[1]).glob("*.dcm"))
for file in files:
    told = json.loads(file.with_suffix(".json").read_text())
    for reader in (read_by_highdicom, read_by_pydicom):
        for line in reader(file, told):
            print(f"{file.stem}: {reader.__name__}: {line}")
            wrong += 1
if not files:
    print("no segmentation to compare")
sys.exit(bool(wrong or not files))
