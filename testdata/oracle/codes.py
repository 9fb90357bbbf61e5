"""Checks codes against the dictionaries of pydicom, which are made of PS3.16.

Usage: codes.py CODES.json, a list of {"Value", "Scheme", "Meaning"}. Prints what
is wrong, then the codes whose scheme the dictionaries cover only in part.
Ends with 1 if anything is wrong.
"""

import json
import re
import sys

from pydicom.sr._concepts_dict import concepts

# Every code of these schemes that PS3.16 uses is in the dictionaries.
WHOLE = {"DCM", "UCUM", "IBSI"}
# Codes of UCUM that are annotations are written as they are meant (PS3.16 7.2.2).
ANNOTATIONS = {"{-1:1}", "{pixels}"}


def meanings(code):
    """What the dictionaries call it, also without SNOMED's word for the kind of concept."""
    return [re.sub(r" \([a-z ]+\)$", "", meaning) for by_value in concepts.get(code["Scheme"], {}).values()
            for value, (meaning, _) in by_value.items() if value == code["Value"]]


def main():
    wrong, unchecked, checked = [], [], 0
    with open(sys.argv[1]) as f:
        codes = json.load(f)
    for code in codes:
        words = "({Value}, {Scheme}, {Meaning!r})".format(**code)
        if len(code["Meaning"]) > 64 or len(code["Value"]) > 16 or len(code["Scheme"]) > 16:
            wrong.append(f"{words} is too long")
        known = meanings(code)
        if code["Meaning"].lower() in [k.lower() for k in known]:
            checked += 1
        elif known and not (code["Scheme"] == "UCUM" and code["Value"] in known):
            wrong.append(f"{words} means {' or '.join(map(repr, known))}")
        elif code["Scheme"] in WHOLE and code["Value"] not in ANNOTATIONS and not known:
            wrong.append(f"{words} is not in the dictionary")
        elif known:
            checked += 1
        else:
            unchecked.append(words)
    print("\n".join(wrong + [f"{checked} agree; not in the dictionaries: {', '.join(unchecked)}"]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
