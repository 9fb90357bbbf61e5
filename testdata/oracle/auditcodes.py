"""Checks the codes of audit messages against PS3.16's context groups.

Usage: auditcodes.py CODES.json, a list of {"CID", "Value", "Meaning"}. The
context groups are pydicom's, which are made of PS3.16. Prints what is wrong and
ends with 1 if anything is.
"""

import json
import sys

from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts


def wrong(code):
    for keyword in cid_concepts[code["CID"]]["DCM"]:
        for value, (meaning, _) in concepts["DCM"][keyword].items():
            if value == code["Value"]:
                return "" if meaning == code["Meaning"] else f"is called {meaning!r}"
    return "is not of the group"


with open(sys.argv[1]) as f:
    codes = json.load(f)
faults = [f"CID {c['CID']}: {c['Value']} {c['Meaning']!r} {w}" for c in codes if (w := wrong(c))]
print(*faults, sep="\n")
sys.exit(bool(faults) or not codes)
