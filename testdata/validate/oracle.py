"""Reads objects with highdicom and pydicom and compares them with what was put in.

Usage: oracle.py FILE.dcm..., each with what it must say in FILE.json. The
comparison is that of testdata/oracle. Prints "FILE<tab>ok" or "FILE<tab>what
differs", a line each.
"""

import contextlib
import io
import json
import pathlib
import runpy
import sys
import tempfile

import highdicom as hd
import pydicom

ORACLE = pathlib.Path(__file__).parent.parent / "oracle"


def run(script, argument):
    """The lines that a script of the oracle prints, none when it agrees."""
    out = io.StringIO()
    sys.argv = [script, str(argument)]
    with contextlib.redirect_stdout(out):
        try:
            runpy.run_path(str(ORACLE / script), run_name="__main__")
        except SystemExit as e:
            if not e.code:
                return []
    return out.getvalue().splitlines()


def seg(path, truth):
    with tempfile.TemporaryDirectory() as d:
        for suffix in ".dcm", ".json":
            (pathlib.Path(d) / path.with_suffix(suffix).name).symlink_to(path.with_suffix(suffix).resolve())
        return run("seg.py", d)


def sr(path, truth):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump([truth | {"path": str(path)}], f)
        f.flush()
        return run("sr.py", f.name)


def key(path, truth):
    d = pydicom.dcmread(path)
    pixels = d.pixel_array
    if pixels.shape != (d.Rows, d.Columns, 3) or pixels.min() == pixels.max():
        yield f"pixels are {pixels.shape} from {pixels.min()} to {pixels.max()}"


def kos(path, truth):
    d = pydicom.dcmread(path)
    if not hd.ko.KeyObjectSelectionDocument.from_dataset(d).content.get_references():
        yield "it selects nothing"


def document(path, truth):
    d = pydicom.dcmread(path)
    if d.MIMETypeOfEncapsulatedDocument != "application/pdf" or not d.EncapsulatedDocument.startswith(b"%PDF-"):
        yield "it is no PDF"


for name in list(sys.argv[1:]):
    path = pathlib.Path(name)
    truth = json.loads(path.with_suffix(".json").read_text())
    try:
        said = list({"seg": seg, "sr": sr, "key": key, "kos": kos, "pdf": document}[path.parent.name](path, truth))
        patient = str(pydicom.dcmread(path, stop_before_pixels=True).PatientName).rstrip("=")
        if patient != truth["patient_name"]:
            said.append(f"the patient is {patient!r}, not {truth['patient_name']!r}")
    except Exception as e:  # what can't be read is a difference too
        said = [f"{type(e).__name__}: {e}"]
    for line in said or ["ok"]:
        print(f"{name}\t{' '.join(line.split())}")
