"""Reads reports with highdicom and compares them with the results they are of.

Usage: sr.py CASES.json, a list of {"path", "result", "segmentation", "without_segment"},
where "result" is a result.json and "segmentation" the UID that groups refer to.
Prints a line for each difference and ends with 1 if there was one.
"""

import json
import sys

import highdicom as hd
from pydicom.sr.codedict import codes

LABELS = {
    "malignancy": ("RID36042", {"low": "malignancy-low", "indeterminate": "malignancy-ind", "high": "malignancy-high"}),
    "margin": ("C25563", {"clear": "RID5707", "unclear": "RID5709"}),
    "texture": ("C41144", {"solid": "RID50151", "subsolid": "subsolid"}),
    "calcification": ("C3672", {"absent": "RID28473", "present": "52101004"}),
}
SIDES = {"left": "7771000", "right": "24028007"}


def close(a, b):
    return a is not None and abs(a - b) <= 1e-12 * max(1, abs(b))


def value(item):
    measured = item.MeasuredValueSequence[0]
    return float(measured.get("FloatingPointValue", measured.NumericValue))


def measurements(group):
    """Numbers of a group by code, and by derivation where they have one."""
    out = {}
    for m in group.get_measurements():
        key = (m.name.value, m.derivation.value if m.derivation is not None else "")
        assert key not in out, f"{key} is measured twice"
        out[key] = value(m[0])
    return out


def compare(case, say):
    report = hd.sr.srread(case["path"])
    expected = case["result"]
    content = report.content
    if not isinstance(content, hd.sr.MeasurementReport):
        say(f"content is a {type(content).__name__}")
        return
    observers = content.get_observer_contexts(observer_type=codes.DCM.Device)
    if len(observers) != 1:
        say(f"{len(observers)} device observers")
    nodules = expected["nodules"] or []
    if case["without_segment"]:
        groups = content.get_image_measurement_groups()
    else:
        groups = content.get_volumetric_roi_measurement_groups()
    if len(groups) != len(nodules):
        say(f"{len(groups)} measurement groups, {len(nodules)} nodules")
    for number, (group, n) in enumerate(zip(groups, nodules), 1):
        where = n["id"]
        one = content_group(content, n, case["without_segment"])
        if one != 1:
            say(f"{where}: its tracking UID finds {one} groups")
        checks = [
            ("tracking identifier", group.tracking_identifier, n["id"]),
            ("tracking UID", group.tracking_uid, n["tracking_uid"]),
            ("finding", group.finding_type, codes.SCT.Nodule),
            ("site", group.finding_sites[0].value, codes.SCT.Lung),
        ]
        side = group.finding_sites[0].laterality
        checks.append(("laterality", side.value if side else "", SIDES.get(n["laterality"], "")))
        if not case["without_segment"]:
            segment = group.referenced_segment
            checks += [
                ("segmentation", segment.referenced_sop_instance_uid, case["segmentation"]),
                ("segment", segment.referenced_segment_numbers, [number]),
                ("source series", segment.source_series_for_segmentation.value,
                 expected["series"]["series_instance_uid"]),
            ]
        for name, ours, theirs in checks:
            if ours != theirs:
                say(f"{where}: {name} is {ours!r}, not {theirs!r}")
        found = measurements(group)
        numbers = {
            ("118565006", ""): n["volume_mm3"],
            ("103339001", ""): n["long_axis_mm"],
            ("103340004", ""): n["short_axis_mm"],
            ("L0JK", ""): n["max_diameter_3d_mm"],
            ("112031", "373098007"): n["mean_hu"],
            ("112031", "386136009"): n["sd_hu"],
            ("111012", ""): 100 * n["nodule_prob"],
            ("111047", ""): 100 * n["characteristics"]["malignancy"]["probability"],
        }
        for key, number_ in numbers.items():
            if not close(found.get(key), number_):
                say(f"{where}: {key} is {found.get(key)}, not {number_}")
        for key in found.keys() - numbers.keys():
            say(f"{where}: {key} is measured and was not put in")
        said = {e.name.value: e for e in group.get_qualitative_evaluations()}
        for name, (concept, words) in LABELS.items():
            c = n["characteristics"][name]
            item = said[concept][0] if concept in said else None
            if item is None or item.value.value != words[c["label"]]:
                say(f"{where}: {name} is {item and item.value}, not {c['label']}")
        inner(report, n, say)


def content_group(content, n, without_segment):
    find = content.get_image_measurement_groups if without_segment else content.get_volumetric_roi_measurement_groups
    return len(find(tracking_uid=n["tracking_uid"]))


def inner(report, n, say):
    """The probabilities that stand below their answers."""
    groups = [g for part in report.ContentSequence if part.ConceptNameCodeSequence[0].CodeValue == "126010"
              for g in part.ContentSequence]
    for group in groups:
        if group.ContentSequence[0].TextValue != n["id"]:
            continue
        for name, (concept, _) in LABELS.items():
            if name == "malignancy":
                continue
            item = next(i for i in group.ContentSequence if "ConceptNameCodeSequence" in i
                        and i.ConceptNameCodeSequence[0].CodeValue == concept)
            p = item.ContentSequence[0]
            c = n["characteristics"][name]
            limit = next(i for i in p.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "122411")
            if not close(value(p), 100 * c["probability"]) or not close(value(limit), 100 * c["threshold"]):
                say(f"{n['id']}: probability of {name} is {value(p)} against {value(limit)}")


def main():
    wrong = []
    with open(sys.argv[1]) as f:
        cases = json.load(f)
    for case in cases:
        try:
            compare(case, lambda s: wrong.append(f"{case['path']}: {s}"))
        except Exception as e:  # what highdicom cannot read is a difference too
            wrong.append(f"{case['path']}: {type(e).__name__}: {e}")
    print("\n".join(wrong) or f"{len(cases)} reports agree")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
