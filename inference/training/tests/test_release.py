"""The two files that are shipped are made of what training left."""
import json
import sys

import onnx
import pytest
import torch

from pulmonode_training import release
from pulmonode_training.networks import CHARACTERISTICS, PRESETS, MSUNet, MUNet

MAPS = {**{c: [2.0, -0.5] for c in CHARACTERISTICS}, "nodule": [1.0, 0.0]}


@pytest.fixture
def runs(tmp_path):
    """What a run of the quick preset leaves, with two folds."""
    for name, net in (("localize/localize", MUNet(**PRESETS["quick"]["localize"])),
                      *((f"cv/fold-{k}/refine", MSUNet(**PRESETS["quick"]["refine"])) for k in range(2))):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(net.state_dict(), tmp_path / f"{name}.pt")
    (tmp_path / "calibration.json").write_text(json.dumps({"maps": MAPS, "thresholds": {"malignancy": 0.31}}))
    return tmp_path


def run(monkeypatch, folder, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["release", "--localize", f"{folder}/localize", "--folds", f"{folder}/cv", "--calibration",
                                      f"{folder}/calibration.json", "--out", f"{folder}/models", *words])
    release.main()


def test_both_files_are_written(runs, monkeypatch, capsys):
    run(monkeypatch, runs, "--version", "1.2.3", "--preset", "quick", "--nodule", "0.2", "--candidate", "0.15")
    said = capsys.readouterr().out
    for name, thresholds in (("localize", {"candidate": 0.15}),
                             ("refine", {"mask": 0.5, "nodule": 0.2, **{c: 0.5 for c in CHARACTERISTICS}, "malignancy": 0.31})):
        model = onnx.load(runs / "models" / f"{name}.onnx")
        got = {p.key.removeprefix("pulmonode."): p.value for p in model.metadata_props}
        assert got["name"] == f"pulmonode-{name}" and got["version"] == "1.2.3" and got["preset"] == "quick"
        assert json.loads(got["thresholds"]) == thresholds and json.loads(got["smallest_mm"]) == 4
        assert "LIDC-IDRI" in got["trained_on"] and f"{name}.onnx" in said
        assert ("calibration" in got) == (name == "refine")
    assert json.loads(got["calibration"]) == MAPS


@pytest.mark.parametrize("missing, words, says", [
    ("cv/fold-*/refine.pt", ["--version", "1", "--preset", "quick"], "train them with pulmonode_training.crossvalidate"),
    ("localize/localize.pt", ["--version", "1", "--preset", "quick"], "localize.pt: no such file"),
    ("", ["--version", "1", "--preset", "small"], "not weights of preset small"),
    ("", ["--preset", "quick"], "--version"),
])
def test_what_is_missing_is_named(runs, monkeypatch, capsys, missing, words, says):
    for path in runs.glob(missing) if missing else ():
        path.unlink()
    with pytest.raises(SystemExit):
        run(monkeypatch, runs, *words)
    assert says in capsys.readouterr().err and not (runs / "models").exists()


def test_help_shows_how_it_is_called(runs, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, runs, "--help")
    assert end.value.code == 0 and "python -m pulmonode_training.release --localize runs/localize" in capsys.readouterr().out
