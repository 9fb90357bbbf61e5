"""Says what pydicom reads in its own sample files.

    python elements.py FOLDER

FOLDER is one of pydicom's data folders, such as charset_files. Prints a JSON object: for each *.dcm
in it either {"error": ...}, or its transfer syntax, the tags of the data set before Pixel Data,
sequences with their items, and the text of the attributes that Specific Character Set is about.
"""
import json
import pathlib
import sys
import warnings

import pydicom

warnings.simplefilter("ignore")
TEXT = {"SH", "LO", "UC", "PN", "ST", "LT", "UT"}  # PS3.5 6.1.2.3


def elements(dataset, path=""):
    for e in dataset:
        if e.tag >= 0x7FE00008 and not path:
            return
        at = f"{path}{e.tag.group:04X},{e.tag.element:04X}"
        if e.VR == "SQ":
            yield at, None
            for i, item in enumerate(e.value):
                yield from elements(item, f"{at}[{i}].")
        elif e.VR in TEXT:
            many = e.value if isinstance(e.value, pydicom.multival.MultiValue) else [e.value]
            yield at, [str("" if v is None else v) for v in many]
        else:
            yield at, None


said = {}
for path in sorted((pathlib.Path(pydicom.__file__).parent / "data" / sys.argv[1]).glob("*.dcm")):
    try:
        d = pydicom.dcmread(path)
        d.decode()
        said[path.name] = {
            "path": str(path), "syntax": d.file_meta.get("TransferSyntaxUID", ""),
            "elements": [{"tag": t, "text": v} for t, v in elements(d)],
        }
    except Exception as e:  # whatever it is, it is what is compared
        said[path.name] = {"path": str(path), "error": f"{type(e).__name__}: {e}"}
json.dump(said, sys.stdout)
