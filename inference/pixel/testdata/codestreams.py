"""Writes the codestreams beside it: a picture of 29 x 37 samples of 12 bits, as other encoders
compress it.

    python codestreams.py        (pydicom, DCMTK, OpenJPEG's and OpenJPH's tools)

asserted.j2c is lossless.j2c as a fuzzer changed it.
"""
import pathlib
import subprocess
import tempfile

import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmread, uid
from pydicom.encaps import generate_frames

here = pathlib.Path(__file__).parent
y, x = np.mgrid[0:37, 0:29]
picture = ((31 * x + 17 * y + x * y % 97) % 4096).astype("<u2")


def dicom(path, samples, bits):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = uid.CTImageStorage, "1.2.3"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = "1.2.4", "1.2.5", "CT"
    ds.Rows, ds.Columns = samples.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = samples.itemsize * 8, bits, bits - 1
    ds.PixelRepresentation, ds.SamplesPerPixel, ds.PhotometricInterpretation = 0, 1, "MONOCHROME2"
    b = samples.tobytes()
    ds.PixelData = b + b"\0" * (len(b) % 2)
    ds["PixelData"].VR = "OW" if bits > 8 else "OB"
    ds.save_as(path, enforce_file_format=True)


with tempfile.TemporaryDirectory() as name:
    t = pathlib.Path(name)
    dicom(t / "12", picture, 12)
    dicom(t / "8", (picture >> 4).astype("u1"), 8)
    (t / "p.rawl").write_bytes(picture.tobytes())
    (t / "p.yuv").write_bytes(picture.tobytes())
    for to, bits, command in (
        ("baseline.jpg", 8, "dcmcjpeg +eb +q 95"),
        ("extended.jpg", 12, "dcmcjpeg +ee +q 95"),
        ("lossless.jls", 12, "dcmcjpls +el"),
        ("near2.jls", 12, "dcmcjpls +en +md 2"),
    ):
        subprocess.run([*command.split(), t / str(bits), t / "out"], check=True)
        frame = next(generate_frames(dcmread(t / "out").PixelData, number_of_frames=1))
        (here / to).write_bytes(frame)
    for to, options in (
        ("lossless.j2k", ""),
        ("tiles.j2k", "-t 16,16 -p RPCL -r 4,1 -SOP -EPH -TP R"),
        ("lossy.j2k", "-I -q 60"),
    ):
        form = ["-F", "29,37,1,12,u", "-n", "3"]
        subprocess.run(["opj_compress", "-i", t / "p.rawl", "-o", here / to, *form, *options.split()], check=True)
    for to, options in (
        ("lossless.j2c", "-reversible true"),
        ("tiles.j2c", "-reversible true -tile_size {16,16}"),
        ("lossy.j2c", "-qstep 0.001"),
    ):
        form = "-num_decomps 3 -dims {29,37} -num_comps 1 -signed false -bit_depth 12 -downsamp {1,1}"
        subprocess.run(["ojph_compress", "-i", t / "p.yuv", "-o", here / to, *form.split(), *options.split()], check=True)
    # What openjpeg.go asks OpenJPEG first, whether it decodes HTJ2K.
    y, x = np.mgrid[0:8, 0:8]
    (t / "8x8.yuv").write_bytes(((16 * x + 9 * y) % 256).astype("u1").tobytes())
    form = "-num_decomps 1 -reversible true -dims {8,8} -num_comps 1 -signed false -bit_depth 8 -downsamp {1,1}"
    to = here.parent / "htj2k_8x8.j2c"
    subprocess.run(["ojph_compress", "-i", t / "8x8.yuv", "-o", to, *form.split()], check=True)
