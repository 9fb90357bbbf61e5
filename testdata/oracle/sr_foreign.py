"""Writes a report of a nodule with highdicom, as another maker's system would.

Usage: sr_foreign.py REPORT.dcm              one nodule of another maker
       sr_foreign.py REPORT.dcm RESULT.json  the nodules of a result.json
"""

import json
import sys

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, SegmentationStorage


def ct():
    d = Dataset()
    d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, "2.25.201"
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = "2.25.202", "2.25.203", "2.25.204"
    d.PatientID, d.PatientName, d.PatientBirthDate, d.PatientSex = "4711", "Doe^Jane", "19500401", "F"
    d.AccessionNumber, d.StudyID, d.StudyDate, d.StudyTime = "A-1", "1", "20260102", "101500"
    d.ReferringPhysicianName = ""
    d.Modality, d.Rows, d.Columns = "CT", 512, 512
    d.PixelSpacing, d.SliceThickness = [0.7, 0.7], 1.25
    d.ImageOrientationPatient, d.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-179, -179, -100]
    return d


def coded(value, scheme, meaning):
    return hd.sr.CodedConcept(value, scheme, meaning)


ANSWERS = {
    "malignancy": (("RID36042", "RADLEX", "Malignancy"), {
        "low": ("malignancy-low", "99PULMONODE", "Low"), "indeterminate": ("malignancy-ind", "99PULMONODE", "Indeterminate"),
        "high": ("malignancy-high", "99PULMONODE", "High")}),
    "margin": (("C25563", "NCIt", "Margin"), {"clear": ("RID5707", "RADLEX", "Circumscribed"), "unclear": ("RID5709", "RADLEX", "Indistinct")}),
    "texture": (("C41144", "NCIt", "Texture"), {"solid": ("RID50151", "RADLEX", "solid"), "subsolid": ("subsolid", "99PULMONODE", "Part-solid or non-solid")}),
    "calcification": (("C3672", "NCIt", "Calcification"), {"absent": ("RID28473", "RADLEX", "Absent"), "present": ("52101004", "SCT", "Present")}),
}


def of_result(result, image, segmentation):
    """The measurement groups of a result's nodules: a contour for the second, segments for the others."""
    mm, hu, percent = codes.UCUM.Millimeter, codes.UCUM.HounsfieldUnit, codes.UCUM.Percent
    groups = []
    for number, n in enumerate(result["nodules"], 1):
        sides = {"left": codes.SCT.Left, "right": codes.SCT.Right}
        measured = [
            (codes.SCT.Volume, n["volume_mm3"], codes.UCUM.CubicMillimeter, None),
            (codes.SCT.LongAxis, n["long_axis_mm"], mm, None),
            (codes.SCT.ShortAxis, n["short_axis_mm"], mm, None),
            (codes.IBSI.Maximum3DDiameterOfAMesh, n["max_diameter_3d_mm"], mm, None),
            (codes.DCM.AttenuationCoefficient, n["mean_hu"], hu, codes.SCT.Mean),
            (codes.DCM.AttenuationCoefficient, n["sd_hu"], hu, codes.SCT.StandardDeviation),
            (coded("111012", "DCM", "Certainty of Finding"), 100 * n["nodule_prob"], percent, None),
            (codes.DCM.ProbabilityOfCancer, 100 * n["characteristics"]["malignancy"]["probability"], percent, None),
        ]
        common = dict(
            tracking_identifier=hd.sr.TrackingIdentifier(uid=n["tracking_uid"], identifier=n["id"]),
            finding_type=codes.SCT.Nodule,
            finding_sites=[hd.sr.FindingSite(codes.SCT.Lung, laterality=sides.get(n["laterality"]))],
            algorithm_id=hd.sr.AlgorithmIdentification(name=result["algorithm"]["name"], version=result["algorithm"]["version"]),
            measurements=[hd.sr.Measurement(name=name, value=value, unit=unit, derivation=derivation)
                          for name, value, unit, derivation in measured],
            qualitative_evaluations=[hd.sr.QualitativeEvaluation(name=coded(*concept), value=coded(*answers[n["characteristics"][key]["label"]]))
                                     for key, (concept, answers) in ANSWERS.items()],
        )
        if number == 2:
            groups.append(hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
                referenced_region=hd.sr.ImageRegion(
                    graphic_type=hd.sr.GraphicTypeValues.POLYLINE, graphic_data=np.array([[1.0, 1.0], [9.0, 1.0], [9.0, 9.0], [1.0, 1.0]]),
                    source_image=hd.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID)),
                **common))
        else:
            groups.append(hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                referenced_segment=hd.sr.ReferencedSegment(
                    sop_class_uid=SegmentationStorage, sop_instance_uid=segmentation.SOPInstanceUID, segment_number=number,
                    source_series=hd.sr.SourceSeriesForSegmentation(image.SeriesInstanceUID)),
                **common))
    return groups


def main():
    image = ct()
    segmentation = ct()
    segmentation.SOPClassUID, segmentation.SOPInstanceUID = SegmentationStorage, "2.25.205"
    segmentation.SeriesInstanceUID = "2.25.206"
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid="2.25.207", identifier="Lesion A"),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=SegmentationStorage, sop_instance_uid="2.25.205", segment_number=4,
            source_series=hd.sr.SourceSeriesForSegmentation("2.25.203")),
        finding_type=codes.SCT.Nodule,
        finding_sites=[hd.sr.FindingSite(codes.SCT.Lung, laterality=codes.SCT.Left)],
        algorithm_id=hd.sr.AlgorithmIdentification(name="Other finder", version="7"),
        measurements=[
            hd.sr.Measurement(name=codes.SCT.Volume, value=321.5, unit=codes.UCUM.CubicMillimeter),
            hd.sr.Measurement(name=codes.SCT.Diameter, value=8.5, unit=codes.UCUM.Millimeter),
            hd.sr.Measurement(name=codes.DCM.ProbabilityOfCancer, value=42, unit=codes.UCUM.Percent),
            hd.sr.Measurement(name=codes.SCT.LongAxis, value=0.9, unit=codes.UCUM.Centimeter),
        ],
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(
            name=hd.sr.CodedConcept("RID36042", "RadLex", "Malignancy"),
            value=hd.sr.CodedConcept("903", "99LIDCQIICR", "3 out of 5 (Indeterminate Likelihood)"))],
    )
    groups = [group]
    if len(sys.argv) > 2:
        with open(sys.argv[2]) as f:
            groups = of_result(json.load(f), image, segmentation)
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(uid="2.25.208"))),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
        referenced_images=[image],
    )
    report = hd.sr.Comprehensive3DSR(
        evidence=[image, segmentation], content=content[0], series_instance_uid="2.25.209", series_number=7,
        sop_instance_uid="2.25.210", instance_number=1, manufacturer="Other", is_complete=True)
    report.save_as(sys.argv[1])


if __name__ == "__main__":
    main()
