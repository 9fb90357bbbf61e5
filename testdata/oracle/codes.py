"""Checks codes against published dictionaries.

Usage: codes.py CODES.json, a list of {"Value", "Scheme", "Meaning"}. The
dictionaries are pydicom's and highdicom's, which are made of PS3.16, and below
them the few codes that those do not have, each with where it is published.
Prints what is wrong and ends with 1 if anything is.
"""

import inspect
import json
import re
import sys

import highdicom.sr.templates
from pydicom.sr._concepts_dict import concepts

# Codes of UCUM that are annotations are written as they are meant (PS3.16 7.2.2).
ANNOTATIONS = {"{-1:1}", "{pixels}"}
# The program's own codes; every report names the scheme.
PRIVATE = "99PULMONODE"

LIDC = "QIICR/lidc2dicom, concepts_dict.json and values_dict.json: the published reports of LIDC-IDRI, doi:10.1002/mp.14445"
# Exceptions: in no dictionary above, but published there.
PUBLISHED = {
    ("C0034375", "UMLS"): ("Qualitative Evaluations", "PS3.16 TID 1500, row 12; npm dcmjs 0.52.2, utilities/TID1500/templates.js"),
    ("en", "RFC5646"): ("English", "IANA language subtag registry, to which PS3.16 CID 5000 refers"),
    ("RID36042", "RADLEX"): ("Malignancy", LIDC),
    ("RID5707", "RADLEX"): ("Circumscribed margin", LIDC),
    ("RID5709", "RADLEX"): ("Indistinct margin", LIDC),
    ("RID50151", "RADLEX"): ("solid pulmonary nodule", LIDC),
    ("RID28473", "RADLEX"): ("Absent", LIDC),
    ("C25563", "NCIt"): ("Margin", LIDC),
    ("C41144", "NCIt"): ("Texture", LIDC),
    ("C3672", "NCIt"): ("Calcification", LIDC),
}


def meanings(code):
    """What the dictionaries call it, also without SNOMED's word for the kind of concept."""
    return [re.sub(r" \([a-z ]+\)$", "", meaning) for by_value in concepts.get(code["Scheme"], {}).values()
            for value, (meaning, _) in by_value.items() if value == code["Value"]]


def highdicom_meanings(code, source=inspect.getsource(highdicom.sr.templates)):
    """The codes that highdicom's templates write out."""
    found = []
    for call in re.findall(r"CodedConcept\((.*?)\)", source, re.S):
        parts = dict(re.findall(r"(value|meaning|scheme_designator)=['\"](.*?)['\"]", call))
        if parts.get("value") == code["Value"] and parts.get("scheme_designator") == code["Scheme"]:
            found.append(parts["meaning"])
    return found


def main():
    wrong, counts, used = [], {"dictionaries": 0, "exceptions": 0, "private": 0}, set()
    with open(sys.argv[1]) as f:
        codes = json.load(f)
    for code in codes:
        words = "({Value}, {Scheme}, {Meaning!r})".format(**code)
        key = (code["Value"], code["Scheme"])
        if len(code["Meaning"]) > 64 or len(code["Value"]) > 16 or len(code["Scheme"]) > 16:
            wrong.append(f"{words} is too long")
        known = meanings(code) + highdicom_meanings(code)
        says = code["Meaning"].lower()
        if says in [k.lower() for k in known] or code["Scheme"] == "UCUM" and (code["Value"] in known or code["Value"] in ANNOTATIONS):
            counts["dictionaries"] += 1
        elif known:
            wrong.append(f"{words} means {' or '.join(map(repr, known))}")
        elif key in PUBLISHED:
            used.add(key)
            counts["exceptions"] += 1
            if PUBLISHED[key][0].lower() != says:
                wrong.append(f"{words} means {PUBLISHED[key][0]!r} in {PUBLISHED[key][1]}")
        elif code["Scheme"] == PRIVATE:
            counts["private"] += 1
        else:
            wrong.append(f"{words} is in no dictionary and not among the published exceptions")
    wrong += [f"the exception {key} is not used: take it out" for key in PUBLISHED.keys() - used]
    print("\n".join(wrong + [", ".join(f"{n} by {what}" for what, n in counts.items())]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
