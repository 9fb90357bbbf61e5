"""Prints the seconds highdicom takes to write a SEG and an equal SR (TID 1500).

    python documents.py DIR SEG SR

DIR holds the CT; SEG and SR are those of pulmonode, from which the nodules are
read. What is timed begins with headers and voxels in memory and ends with two
files, and is done once before, so that imports and caches are warm. At the end
the two pairs are compared: the same voxels, as many groups, measurements and
evaluations. Ours has besides what highdicom does not write in such a group (the
lines of the axes, centres, the numbers below evaluations).
"""
import pathlib
import sys
import tempfile
import time

import highdicom as hd
import numpy as np
import pydicom
from pydicom.sr.codedict import codes

folder, seg_path, sr_path = sys.argv[1:]
images = [pydicom.dcmread(p, stop_before_pixels=True) for p in sorted(pathlib.Path(folder).glob("*.dcm"))]
images.sort(key=lambda d: float(d.ImagePositionPatient[2]))
for d in images:  # highdicom asks for these types in its image library
    d.setdefault("SliceThickness", None)
uids = [d.SOPInstanceUID for d in images]
ours = hd.seg.segread(seg_path)
voxels = ours.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
our_report = hd.sr.srread(sr_path).content
groups = our_report.get_volumetric_roi_measurement_groups()
family = codes.cid7162.ArtificialIntelligence
maker = {"manufacturer": "peer", "device_serial_number": "1"}


def code(c):
    return hd.sr.CodedConcept(c.CodeValue, c.CodingSchemeDesignator, c.CodeMeaning)


def numbers_of(group):
    """Name, derivation, value and unit of each measurement."""
    out = []
    for m in group.get_measurements():
        measured = m[0].MeasuredValueSequence[0]
        out.append((code(m[0].ConceptNameCodeSequence[0]), m.derivation, float(measured.NumericValue),
                    code(measured.MeasurementUnitsCodeSequence[0])))
    return out


def evaluations_of(group):
    """Names and values; highdicom takes the algorithm's family for one."""
    return [(e.name, e.value) for e in group.get_qualitative_evaluations() if e.name != codes.DCM.AlgorithmFamily]


# What was found, in plain values: reading it out of our report is not timed.
nodules = []
for n, group in enumerate(groups, 1):
    site = group.finding_sites[0]
    nodules.append({
        "number": n, "id": group.tracking_identifier, "uid": group.tracking_uid, "laterality": site.laterality,
        "measurements": numbers_of(group),
        "evaluations": evaluations_of(group),
        "color": hd.color.CIELabColor.from_dicom_value(tuple(ours.get_segment_description(n).RecommendedDisplayCIELabValue)),
    })


def segmentation():
    algorithm = hd.AlgorithmIdentificationSequence("peer", family, "1")
    descriptions = [
        hd.seg.SegmentDescription(
            n["number"], f"Nodule {n['id']}", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Nodule, "AUTOMATIC", algorithm,
            tracking_uid=n["uid"], tracking_id=n["id"], anatomic_regions=[codes.SCT.Lung], display_color=n["color"])
        for n in nodules]
    return hd.seg.Segmentation(
        images, voxels, "BINARY", descriptions, series_instance_uid="2.25.12", series_number=1, sop_instance_uid="2.25.11",
        instance_number=1, manufacturer_model_name="peer", software_versions="1", omit_empty_frames=True, **maker)


def report(seg):
    algorithm = hd.sr.AlgorithmIdentification("peer", "1", family=family)
    findings = []
    for n in nodules:
        findings.append(hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            hd.sr.TrackingIdentifier(n["uid"], n["id"]),
            referenced_segment=hd.sr.ReferencedSegment(
                seg.SOPClassUID, seg.SOPInstanceUID, n["number"],
                source_series=hd.sr.SourceSeriesForSegmentation(images[0].SeriesInstanceUID)),
            finding_type=codes.SCT.Nodule, algorithm_id=algorithm,
            finding_sites=[hd.sr.FindingSite(codes.SCT.Lung, n["laterality"])],
            measurements=[hd.sr.Measurement(name, value, unit, derivation=derivation) for name, derivation, value, unit in n["measurements"]],
            qualitative_evaluations=[hd.sr.QualitativeEvaluation(name, value) for name, value in n["evaluations"]]))
    observer = hd.sr.ObserverContext(codes.DCM.Device, hd.sr.DeviceObserverIdentifyingAttributes("2.25.15", name="peer"))
    content = hd.sr.MeasurementReport(
        hd.sr.ObservationContext(observer_device_context=observer), codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=findings, title=codes.DCM.ImagingMeasurementReport, referenced_images=images)
    return hd.sr.Comprehensive3DSR(
        [*images, seg], content[0], series_instance_uid="2.25.14", series_number=2, sop_instance_uid="2.25.13",
        instance_number=1, manufacturer="peer", is_complete=True)


def write(directory):
    begin = time.perf_counter()
    seg = segmentation()
    seg.save_as(directory / "seg.dcm")
    report(seg).save_as(directory / "sr.dcm")
    return time.perf_counter() - begin


with tempfile.TemporaryDirectory() as name:
    directory = pathlib.Path(name)
    write(directory)
    seconds = write(directory)
    theirs = hd.seg.segread(directory / "seg.dcm")
    again = theirs.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    assert np.array_equal(again, voxels), "other voxels"
    content = hd.sr.srread(directory / "sr.dcm").content
    written = content.get_volumetric_roi_measurement_groups()
    assert len(written) == len(groups), "other groups"
    for a, b in zip(groups, written):
        assert len(a.get_measurements()) == len(b.get_measurements()), "other measurements"
        assert evaluations_of(a) == evaluations_of(b), "other evaluations"
print(seconds)
