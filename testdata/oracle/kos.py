"""Reads a selection of key objects with highdicom.

Usage: kos.py CASE.json, {"path", "series", "instances"}: the file, the series of
the images and the instances that are selected, in their order.
Prints what differs and ends with 1 if anything does.
"""

import json
import sys

import highdicom as hd
import pydicom


def main():
    with open(sys.argv[1]) as f:
        case = json.load(f)
    document = hd.ko.KeyObjectSelectionDocument.from_dataset(pydicom.dcmread(case["path"]))
    wrong = []
    content = document.content
    title = content[0].ConceptNameCodeSequence[0]
    if (title.CodeValue, title.CodingSchemeDesignator) != ("113000", "DCM"):
        wrong.append(f"the title is {title}")
    selected = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in content.get_references()]
    if selected != case["instances"]:
        wrong.append(f"selected are {selected}")
    for uid in case["instances"][:1]:
        study, series, instance = document.resolve_reference(uid)
        if series != case["series"]:
            wrong.append(f"{uid} is of series {series}")
    print("\n".join(wrong) or f"{len(selected)} objects agree")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
