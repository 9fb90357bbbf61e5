"""The readers' XML gives the nodules that the readers drew."""
import sys
import tarfile

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from pulmonode_training import lidc_xml
from pulmonode_training.data import read_nodules, write_nodules
from pulmonode_training.lidc_xml import filled, read_outlines, read_series

ROWS, COLUMNS, SLICES = 24, 30, 6
# Five by five pixels drawn, of which the inner three by three are the nodule.
RING = [(x, y) for x, y in [*((x, 8) for x in range(10, 15)), *((14, y) for y in range(9, 13)),
                            *((x, 12) for x in range(13, 9, -1)), *((10, y) for y in range(11, 8, -1))]]


def write_slice(path, k: int, modality: str = "CT") -> None:
    d = FileDataset(str(path), {}, preamble=b"\0" * 128, file_meta=FileMetaDataset())
    d.file_meta.TransferSyntaxUID, d.file_meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, f"1.2.{k}"
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
    d.Modality, d.PatientID = modality, "LIDC-IDRI-9999"
    if modality == "CT":
        d.ImagePositionPatient, d.ImageOrientationPatient = [-50, -60, -100 + 2.5 * k], [1, 0, 0, 0, 1, 0]
    d.PixelSpacing, d.RescaleSlope, d.RescaleIntercept = [5, 5], 1, -1000
    d.Rows, d.Columns, d.SamplesPerPixel, d.PhotometricInterpretation = ROWS, COLUMNS, 1, "MONOCHROME2"
    d.BitsAllocated = d.BitsStored = 16
    d.HighBit, d.PixelRepresentation = 15, 0
    d.PixelData = (np.arange(ROWS * COLUMNS) % 7 + 100 * k).astype("<u2").tobytes()
    d.save_as(path, enforce_file_format=True)


def roi(k: int, points=RING, inclusion: str = "TRUE") -> str:
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
    return f"<roi><imageZposition>0</imageZposition><imageSOP_UID>1.2.{k}</imageSOP_UID><inclusion>{inclusion}</inclusion>{edges}</roi>"


def nodule(*rois: str, rating: int = 4) -> str:
    rated = "".join(f"<{c}>{rating}</{c}>" for c in ("subtlety", "malignancy", "margin", "texture", "calcification"))
    return f"<unblindedReadNodule><noduleID>1</noduleID><characteristics>{rated}</characteristics>{''.join(rois)}</unblindedReadNodule>"


SMALL = f"<unblindedReadNodule><noduleID>2</noduleID>{roi(2, [(5, 5)])}</unblindedReadNodule>"


def message(*readers: str) -> str:
    sessions = "".join(f"<readingSession><annotationVersion>3.12</annotationVersion>{r}</readingSession>" for r in readers)
    return f'<?xml version="1.0" encoding="UTF-8"?><LidcReadMessage xmlns="http://www.nih.gov"><ResponseHeader/>{sessions}</LidcReadMessage>'


@pytest.fixture
def series(tmp_path):
    """A folder with the slices, not in order of their names; called with the XML."""
    for k in range(SLICES):
        write_slice(tmp_path / f"{(k * 5) % SLICES}.dcm", k)

    def made(*readers: str):
        (tmp_path / "069.xml").write_text(message(*readers))
        return tmp_path
    return made


def test_the_line_is_the_first_ring_outside_the_nodule():
    got = filled(np.array(RING), (ROWS, COLUMNS))
    want = np.zeros((ROWS, COLUMNS), bool)
    want[9:12, 11:14] = True
    assert np.array_equal(got, want)


def test_a_gap_in_the_line_is_closed():
    assert np.array_equal(filled(np.array(RING[::2]), (ROWS, COLUMNS)), filled(np.array(RING), (ROWS, COLUMNS)))


def test_a_line_without_an_inside_is_nothing():
    assert not filled(np.array([(3, 3), (4, 3), (5, 3), (4, 3)]), (ROWS, COLUMNS)).any()


def test_three_readers_make_a_nodule_and_two_do_not(series):
    one = nodule(roi(2), roi(3))
    assert read_series(series(one, one)) == []
    found, = read_series(series(one, one, one, ""))
    assert found["readers"] == 3 and found["patient"] == "LIDC-IDRI-9999" and found["spacing"] == (2.5, 5, 5)
    # A slice more below and above, 15 mm around in plane: three pixels.
    assert found["bits"].shape == found["hu"].shape == (4, 9, 9)
    assert np.array_equal(np.argwhere(found["bits"]).min(0), (1, 3, 3)) and np.array_equal(np.argwhere(found["bits"]).max(0), (2, 5, 5))
    assert (found["bits"][1:3, 3:6, 3:6] == 0b111).all() and (found["bits"] > 0).sum() == 2 * 9
    # Slices 1 to 4 in ascending order of z, whatever the files are called.
    row, column = 9 - 3, 11 - 3
    assert found["hu"][:, 0, 0].tolist() == [(row * COLUMNS + column) % 7 + 100 * k - 1000 for k in (1, 2, 3, 4)]


def test_each_reader_has_a_bit_and_ratings(series):
    wide = [(x - (x == 10), y) for x, y in RING]  # a column more to the left
    found, = read_series(series(nodule(roi(2), rating=1), nodule(roi(2, wide), rating=3), nodule(roi(2), roi(3), rating=5)))
    assert found["ratings"]["malignancy"] == [1, 3, 5]
    bits = found["bits"]
    assert [int((bits >> r & 1).sum()) for r in range(3)] == [9, 12, 18]


def test_what_is_excluded_is_cut_out(series):
    hole = [(11, 9), (12, 9), (13, 9), (13, 10), (13, 11), (12, 11), (11, 11), (11, 10)]  # about one pixel
    one = nodule(roi(2), roi(2, hole, "FALSE"))
    found, = read_series(series(one, one, one))
    assert (found["bits"] == 0b111).sum() == 8 and found["bits"][1, 4, 4] == 0


def test_below_3_mm_is_no_nodule(series):
    assert read_series(series(SMALL, SMALL, SMALL, SMALL)) == []
    assert [len(r) for r in read_outlines(series(SMALL + nodule(roi(2)), SMALL) / "069.xml", (ROWS, COLUMNS))] == [1, 0]


def test_nodules_that_do_not_touch_are_two(series):
    far = [(x + 12, y + 8) for x, y in RING]
    both = nodule(roi(2)) + nodule(roi(2, far))
    assert len(read_series(series(both, both, both))) == 2


def test_two_pieces_of_one_reader_are_one_nodule(series):
    high, low = [(x, y - 2) for x, y in RING], [(x, y + 2) for x, y in RING]
    whole = [(x, y - 2 if y == 8 else y + 2 if y == 12 else y) for x, y in RING]
    pieces = nodule(roi(2, high)) + nodule(roi(2, low))
    found, = read_series(series(nodule(roi(2, whole)), pieces, nodule(roi(2, whole))))
    assert found["readers"] == 3 and len(found["ratings"]["texture"]) == 3


@pytest.mark.parametrize("points", [[(-1, 5), (3, 5), (3, 9)], [(COLUMNS, 5), (3, 5), (3, 9)], [(5, ROWS), (3, 5), (3, 9)]])
def test_an_outline_off_the_picture_is_left_out(series, points):
    one = nodule(roi(2, points), roi(3))
    found, = read_series(series(one, one, one))
    assert (found["bits"] > 0).sum() == 9


def test_an_outline_on_a_slice_that_is_not_there_is_left_out(series):
    one = nodule(roi(77))
    assert read_series(series(one, one, one)) == []


@pytest.mark.parametrize("content", ["", "<LidcReadMessage><readingSession>", "\0\1\2", message(nodule(roi(2))).replace(">11<", ">eleven<")])
def test_a_broken_file_is_named(series, content):
    folder = series()
    (folder / "069.xml").write_text(content)
    with pytest.raises(ValueError, match="069.xml.*fetch the file again"):
        read_series(folder)


def test_entities_that_grow_are_refused(series):
    folder = series()
    bomb = '<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">' + "".join(
        f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10)) + "]><LidcReadMessage>&a9;</LidcReadMessage>"
    (folder / "069.xml").write_text(bomb)
    with pytest.raises(ValueError, match="069.xml"):
        read_series(folder)


def test_a_series_has_one_xml(series):
    folder = series(nodule(roi(2)))
    (folder / "070.xml").write_text(message())
    with pytest.raises(ValueError, match="2 XML files"):
        read_series(folder)


def test_a_radiograph_is_no_series(tmp_path):
    write_slice(tmp_path / "1.dcm", 1, "DX")
    (tmp_path / "1.xml").write_text(message(nodule(roi(1))))
    assert read_series(tmp_path) == []


def run(monkeypatch, *words) -> None:
    monkeypatch.setattr(sys, "argv", ["lidc_xml", *map(str, words)])
    lidc_xml.main()


def test_the_command_writes_what_training_reads_and_leaves_out_what_is_broken(series, tmp_path, monkeypatch, capsys):
    one = nodule(roi(2), roi(3))
    series(one, one, one)
    broken = tmp_path / "other"
    broken.mkdir()
    write_slice(broken / "1.dcm", 1)
    write_slice(broken / "2.dcm", 2)
    (broken / "1.xml").write_text("<half")
    run(monkeypatch, "--data", tmp_path, "--out", tmp_path / "out")
    said = capsys.readouterr().out
    assert "left out" in said and "1.xml" in said and "1 nodules of 1 patients" in said
    n, = read_nodules(tmp_path / "out")
    assert n.key == "LIDC-IDRI-9999_1" and n.mask.sum() == 18


def test_a_folder_without_series_is_refused(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "--data", tmp_path, "--out", tmp_path / "out")
    assert "nor a series (*.dcm) with its LIDC XML" in capsys.readouterr().err


@pytest.mark.parametrize("patient, keys", [("LIDC-IDRI-0001", ["LIDC-IDRI-0001_1"]), ("LIDC-IDRI-0002", [])])
def test_real_series_give_the_volumes_of_the_crops(given, tmp_path, patient, keys):
    with tarfile.open(given / "scans" / f"{patient}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    found = read_series(tmp_path / patient)
    want = [n for n in read_nodules(given / "lidc-nodules") if n.patient == patient]
    assert [n.key for n in want] == keys and len(found) == len(keys)
    if found:
        write_nodules(tmp_path / "out", found)
        for ours, theirs in zip(read_nodules(tmp_path / "out"), want):
            assert ours.diameter_mm == pytest.approx(theirs.diameter_mm, abs=0.05)
            assert ours.mask.sum() == theirs.mask.sum() and ours.labels == theirs.labels
            assert np.array_equal(np.sort(ours.hu[ours.mask]), np.sort(theirs.hu[theirs.mask]))
            assert (ours.share > 0).sum() == pytest.approx((theirs.share > 0).sum(), rel=1e-3)
    # Two readers outlined the nodule of 0002: not enough for the crops, but for this reader.
    assert len(read_series(tmp_path / patient, at_least=2)) >= 1
