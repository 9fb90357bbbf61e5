"""What is implanted and written is what other programs read."""
import numpy as np
import pydicom
import pytest

from conftest import sphere
from pulmonode_training.data import Scan, read_scan
from pulmonode_training.implants import implant, mirrored, write
from test_lidc_xml import COLUMNS, ROWS, SLICES, write_slice


@pytest.fixture
def series(tmp_path):
    (tmp_path / "in").mkdir()
    for k in range(SLICES):
        write_slice(tmp_path / "in" / f"{k}.dcm", k)
    return tmp_path / "in"


def test_a_mirrored_half_lies_where_it_lay(series):
    scan = read_scan(series)
    half = mirrored(scan, 20)
    kept = COLUMNS - 20
    assert half.hu.shape == (SLICES, ROWS, 2 * kept)
    assert np.array_equal(half.hu[:, :, kept:], scan.hu[:, :, 20:]) and np.array_equal(half.hu, half.hu[:, :, ::-1])
    # Column 20 of the scan is the first of the half's second half: the same place in the patient.
    assert np.allclose(half.to_world((3, 4, kept)), scan.to_world((3, 4, 20)))


def test_a_written_series_is_read_with_its_geometry(series, tmp_path):
    half = mirrored(read_scan(series), 20)
    write(series, half, tmp_path / "out")
    again = read_scan(tmp_path / "out")
    assert np.array_equal(again.hu, half.hu)
    assert again.spacing == half.spacing and np.allclose(again.origin, half.origin)
    read = [pydicom.dcmread(f) for f in sorted((tmp_path / "out").glob("*.dcm"))]
    assert {(d.Rows, d.Columns, len(d.PixelData)) for d in read} == {(ROWS, 20, 2 * ROWS * 20)}
    assert len({d.SOPInstanceUID for d in read}) == SLICES and len({(d.StudyInstanceUID, d.SeriesInstanceUID) for d in read}) == 1
    assert all(d.SOPInstanceUID == d.file_meta.MediaStorageSOPInstanceUID for d in read)
    # Nobody's scan: neither the patient's name nor his identifiers go on.
    assert {str(d.PatientID) for d in read} == {"IMPLANTS"}
    assert not {d.SOPInstanceUID for d in read} & {pydicom.dcmread(f).SOPInstanceUID for f in series.glob("*.dcm")}


def test_implants_lie_in_the_lung_apart_and_off_what_is_there(chest):
    lung = np.zeros(chest.hu.shape, bool)
    lung[10:110, 40:160, 150:240] = True
    own = [np.array([60, 100, 195])]
    made, placed = implant(chest, lung, own, [sphere(d) for d in (6, 9, 12)], np.random.default_rng(0))
    centres = [c for c, _ in placed]
    assert len(placed) == 3
    for k, c in enumerate(centres):
        assert lung[tuple(np.rint(c).astype(int))] and made.hu[tuple(np.rint(c).astype(int))] == 50
        # Centres are those of the outline, the places half a voxel off at most.
        assert all(np.linalg.norm(c - o) > 26 for o in own + centres[:k])
    changed = made.hu != chest.hu
    assert changed.any() and not changed[:, :, :140].any()
