"""Writes a report of a nodule with highdicom, as another maker's system would.

Usage: sr_foreign.py REPORT.dcm
"""

import sys

import highdicom as hd
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
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(uid="2.25.208"))),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[group],
        referenced_images=[image],
    )
    report = hd.sr.Comprehensive3DSR(
        evidence=[image, segmentation], content=content[0], series_instance_uid="2.25.209", series_number=7,
        sop_instance_uid="2.25.210", instance_number=1, manufacturer="Other", is_complete=True)
    report.save_as(sys.argv[1])


if __name__ == "__main__":
    main()
