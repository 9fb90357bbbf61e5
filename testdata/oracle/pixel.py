"""Compresses CT slices with other people's encoders and decodes them with their decoders.

    python pixel.py DIR

DIR holds *.dcm, Explicit VR Little Endian, one frame of one sample each. Each is compressed into
DIR/made by what is installed of DCMTK, GDCM, pylibjpeg, pyjpegls, OpenJPEG and OpenJPH. These
files, and those of one sample a pixel that pydicom brings along, are decoded by every decoder that
takes them: stored values, int32, in DIR/made/*.raw. Prints JSON: the files with what they were made
of and the decodes, and the programs that are missing.
"""
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pydicom
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

folder = pathlib.Path(sys.argv[1])
made = folder / "made"
made.mkdir()
missing = set()


def has(program):
    if shutil.which(program):
        return True
    missing.add(program)
    return False


def run(*command):
    """False where the program does not do what it is asked for."""
    return subprocess.run([str(c) for c in command], capture_output=True).returncode == 0


def stored(path, plugin=""):
    ds = pydicom.dcmread(path)
    options = {"decoding_plugin": plugin} if plugin else {}
    array, _ = get_decoder(ds.file_meta.TransferSyntaxUID).as_array(ds, raw=True, **options)
    return array.astype(np.int32).reshape(-1)


DCMTK = [  # name, program, options, error of the stored values that is allowed (-1: as the codec does)
    ("dcmtk-rle", "dcmcrle", [], 0),
    ("dcmtk-sv1", "dcmcjpeg", ["+e1"], 0),
    *((f"dcmtk-lossless{n}", "dcmcjpeg", ["+el", "+sv", n], 0) for n in range(1, 8)),
    ("dcmtk-extended", "dcmcjpeg", ["+ee", "+q", 95], -1),
    ("dcmtk-extended-coarse", "dcmcjpeg", ["+ee", "+q", 30], -1),
    ("dcmtk-baseline", "dcmcjpeg", ["+eb", "+q", 95], -1),
    ("dcmtk-jpegls", "dcmcjpls", ["+el"], 0),
    ("dcmtk-near", "dcmcjpls", ["+en", "+md", 3], 3),
]
GDCM = [
    ("gdcm-rle", ["--rle"], 0),
    ("gdcm-lossless", ["--jpeg"], 0),
    ("gdcm-jpegls", ["--jpegls"], 0),
    ("gdcm-near", ["--jpegls", "--lossy", "-e", 2], 2),
    ("gdcm-j2k", ["--j2k"], 0),
    ("gdcm-j2k-lossy", ["--j2k", "--lossy", "-r", 8], -1),
]
PYDICOM = [
    ("pydicom-rle", uid.RLELossless, {}, 0),
    ("pyjpegls", uid.JPEGLSLossless, {}, 0),
    ("pyjpegls-near", uid.JPEGLSNearLossless, {"jls_error": 5}, 5),
    ("pylibjpeg-j2k", uid.JPEG2000Lossless, {}, 0),
    ("pylibjpeg-j2k-lossy", uid.JPEG2000, {"j2k_psnr": [60]}, -1),
]
OPENJPEG = [  # codestreams that the encoders above do not write
    ("openjpeg-tiles", uid.JPEG2000Lossless, ["-t", "64,48", "-p", "RPCL"], 0),
    ("openjpeg-precincts", uid.JPEG2000Lossless, ["-c", "[64,64],[32,32]", "-b", "16,16", "-n", 4, "-SOP", "-EPH"], 0),
    ("openjpeg-layers", uid.JPEG2000, ["-r", "20,10,1", "-p", "CPRL", "-TP", "R"], 0),
    ("openjpeg-offset", uid.JPEG2000Lossless, ["-d", "5,3", "-T", "2,1", "-t", "100,90"], 0),
    ("openjpeg-97", uid.JPEG2000, ["-I", "-q", "70"], -1),
]
OPENJPH = [
    ("openjph", uid.HTJ2KLossless, ["-reversible", "true", "-prog_order", "LRCP"], 0),
    ("openjph-rpcl", uid.HTJ2KLosslessRPCL, ["-reversible", "true", "-prog_order", "RPCL"], 0),
    ("openjph-tiles", uid.HTJ2KLosslessRPCL, ["-reversible", "true", "-tile_size", "{64,48}", "-precincts", "{64,64},{128,128}", "-block_size", "{32,32}"], 0),
    ("openjph-97", uid.HTJ2K, ["-qstep", "0.0005"], -1),
]

files = []


def note(path, source, name, error):
    if path.exists():
        files.append({"path": str(path), "of": source.stem, "by": name, "error": error})


def wrap(source, codestream, syntax, name, error):
    """A codestream becomes a file of its transfer syntax."""
    if not codestream.exists() or not codestream.stat().st_size:
        return
    ds = pydicom.dcmread(source)
    ds.PixelData = encapsulate([codestream.read_bytes()])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    path = made / f"{source.stem}-{name}.dcm"
    ds.save_as(path)
    note(path, source, name, error)


for source in sorted(folder.glob("*.dcm")):
    ds = pydicom.dcmread(source)
    signed, bits, rows, columns = ds.PixelRepresentation, ds.BitsStored, ds.Rows, ds.Columns
    for name, program, options, error in DCMTK:
        to = made / f"{source.stem}-{name}.dcm"
        if has(program) and run(program, *options, source, to):
            note(to, source, name, error)
    for name, options, error in GDCM:
        to = made / f"{source.stem}-{name}.dcm"
        if has("gdcmconv") and run("gdcmconv", *options, source, to):
            note(to, source, name, error)
    for name, syntax, options, error in PYDICOM:
        to = made / f"{source.stem}-{name}.dcm"
        copy = pydicom.dcmread(source)
        try:
            copy.compress(syntax, generate_instance_uid=False, **options)
        except (RuntimeError, ValueError):
            continue
        copy.save_as(to)
        note(to, source, name, error)
    samples = ds.pixel_array
    raw = made / f"{source.stem}.raw"
    raw.write_bytes(samples.astype("<u2" if ds.BitsAllocated == 16 else "u1").tobytes())
    for name, syntax, options, error in OPENJPEG:
        to = made / f"{source.stem}-{name}.j2k"
        form = f"{columns},{rows},1,{bits},{'s' if signed else 'u'}"
        little = made / f"{source.stem}.rawl"
        shutil.copy(raw, little)
        if has("opj_compress"):
            run("opj_compress", "-i", little, "-o", to, "-F", form, *options)
            wrap(source, to, syntax, name, error)
    # ojph_compress takes no negative samples: they are raised to unsigned ones, and the header says
    # afterwards that they are not (Ssiz, T.800 A.5.1), which undoes the level shift.
    half = 1 << bits - 1 if signed else 0
    yuv = made / f"{source.stem}.yuv"
    yuv.write_bytes((samples.astype(np.int32) + half).astype("<u2" if ds.BitsAllocated == 16 else "u1").tobytes())
    for name, syntax, options, error in OPENJPH:
        to = made / f"{source.stem}-{name}.j2c"
        if has("ojph_compress"):
            run("ojph_compress", "-i", yuv, "-o", to, "-dims", f"{{{columns},{rows}}}", "-num_comps", 1, "-signed",
                "false", "-bit_depth", bits, "-downsamp", "{1,1}", *options)
            if signed and to.exists():
                codestream = bytearray(to.read_bytes())
                codestream[42] |= 0x80
                to.write_bytes(codestream)
            wrap(source, to, syntax, name, error)

# What comes with pydicom.
for path in sorted((pathlib.Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
    try:
        ds = pydicom.dcmread(path)
        if ds.SamplesPerPixel == 1 and ds.BitsAllocated in (8, 16) and int(ds.get("NumberOfFrames", 1)) == 1:
            files.append({"path": str(path), "of": "", "by": path.stem, "error": -1})
    except (AttributeError, pydicom.errors.InvalidDicomError):
        continue

DECODERS = {"dcmdjpeg": ["dcmdjpeg"], "dcmdjpls": ["dcmdjpls"], "dcmdrle": ["dcmdrle"], "gdcm": ["gdcmconv", "--raw"]}
for n, f in enumerate(files):
    f["decodes"], f["refused"] = [], []
    syntax = pydicom.dcmread(f["path"], stop_before_pixels=True).file_meta.TransferSyntaxUID
    opinions = []
    for plugin in get_decoder(syntax).available_plugins if syntax.is_encapsulated else [""]:
        opinions.append((plugin or "pydicom", f["path"], plugin))
    for by, command in DECODERS.items():
        to = made / f"{n}-{by}.dcm"
        if syntax.is_encapsulated and has(command[0]) and run(*command, f["path"], to) and to.exists():
            if not pydicom.dcmread(to, stop_before_pixels=True).file_meta.TransferSyntaxUID.is_encapsulated:
                opinions.append((by, to, ""))
    for by, path, plugin in opinions:
        try:
            values = stored(path, plugin)
        except Exception as e:  # a decoder of ours to compare with that does not take this file
            f["refused"].append(f"{by}: {e}")
            continue
        to = made / f"{n}-{by}.raw"
        values.astype("<i4").tofile(to)
        f["decodes"].append({"by": by, "raw": str(to)})
    f["syntax"] = str(syntax)
print(json.dumps({"files": files, "missing": sorted(missing)}))
