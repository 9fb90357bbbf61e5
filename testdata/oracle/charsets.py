"""Compares the text of results with that of the images they are of.

Usage: charsets.py            prints the folder of pydicom's example files
       charsets.py CASES.json compares pairs {"ct", "result", "as_received"}

Prints a line for each difference and ends with 1 if there was one.
"""

import json
import os
import sys

import pydicom

ATTRIBUTES = ["PatientName", "PatientID", "ReferringPhysicianName", "StudyDescription", "AccessionNumber", "StudyID"]


def text(dataset, keyword):
    value = dataset.get(keyword)
    return "" if value is None else str(value)


def main():
    if len(sys.argv) == 1:
        print(os.path.join(os.path.dirname(pydicom.__file__), "data", "charset_files"))
        return False
    wrong = []
    with open(sys.argv[1]) as f:
        cases = json.load(f)
    for case in cases:
        ct, result = pydicom.dcmread(case["ct"]), pydicom.dcmread(case["result"])
        where = os.path.basename(case["ct"])
        if case["as_received"]:
            if result.get("SpecificCharacterSet") != ct.get("SpecificCharacterSet"):
                wrong.append(f"{where}: the character set is {result.get('SpecificCharacterSet')}")
            if "PatientName" in ct and result.PatientName.original_string.rstrip() != ct.PatientName.original_string.rstrip():
                wrong.append(f"{where}: the bytes of the name are {result.PatientName.original_string}")
        elif result.SpecificCharacterSet != "ISO_IR 192":
            wrong.append(f"{where}: the character set is {result.SpecificCharacterSet}")
        for keyword in ATTRIBUTES:
            if text(result, keyword) != text(ct, keyword):
                wrong.append(f"{where}: {keyword} is {text(result, keyword)!r}, not {text(ct, keyword)!r}")
        for item in ct.get("RequestedProcedureCodeSequence", []):
            codes = result.ReferencedRequestSequence[0].RequestedProcedureCodeSequence
            if codes[0].CodeMeaning != str(item.PatientName):
                wrong.append(f"{where}: the name in the item is {codes[0].CodeMeaning!r}, not {str(item.PatientName)!r}")
    print("\n".join(wrong) or f"{len(cases)} results agree")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
