"""What `make train-quick` needs beside the commands of `make train`.

    python -m pulmonode_training.quick nodules --data runs/nodules
    python -m pulmonode_training.quick check   --data runs/nodules --phantoms runs/phantoms \\
        --runs runs --models runs/models

nodules writes the fifteen nodules of the phantom in the form that training reads: one reader, who
is the consensus. check says whether each loss fell, on pictures drawn for it, and whether the
written files say what the networks say of these nodules.
"""
from __future__ import annotations

import argparse
import gzip
import json
import struct
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from scipy import ndimage

from .composites import Background, Cubes, Slabs
from .data import Nodule, read_nodules, read_scan, write_nodules
from .export import Refine
from .networks import CHARACTERISTICS, PRESETS, MSUNet, MUNet, difference
from .preprocess import quantise, resample, scale, slab_positions
from .train import localize_loss, recalibrate, refine_loss

PHANTOM = Path(__file__).parents[2] / "phantom" / "nodules.bin.gz"
PARITY = 1e-4
# A mean rating on the right side of LABEL_CUT.
RATING = {"calcification": (3, 6)}


def phantom_nodules(file: Path = PHANTOM) -> list[dict]:
    """As lidc_xml.read_series gives them."""
    content = gzip.decompress(file.read_bytes())
    size, = struct.unpack_from("<I", content)
    at, out = 4 + size, []
    for n in json.loads(content[4:at])["nodules"]:
        voxels = int(np.prod(n["shape"]))
        hu = np.frombuffer(content, "<i2", voxels, at).reshape(n["shape"])
        mask = np.frombuffer(content, np.uint8, voxels, at + 2 * voxels).reshape(n["shape"])
        at += 3 * voxels
        out.append({"hu": hu, "bits": mask, "readers": 1, "spacing": n["spacing_mm"],
                    "patient": n["key"].rpartition("_")[0],
                    "ratings": {c: [RATING.get(c, (2, 5))[n["labels"][c]]] for c in CHARACTERISTICS}})
    return out


def _loss(net: torch.nn.Module, pictures: list, loss) -> float:
    net.eval()
    with torch.no_grad():
        return float(np.mean([loss(net, p)[0].item() for p in pictures]))


def _slabs(nodules: list[Nodule]) -> np.ndarray:
    return np.stack([scale(quantise(resample(n.hu, slab_positions(
        ndimage.center_of_mass(n.mask), n.spacing, (-1, 0, 1, 2))))) for n in nodules])


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def check(data: Path, phantoms: Path, runs: Path, models: Path, pictures: int = 8) -> list[str]:
    """What is wrong, nothing where all is well."""
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    nodules = read_nodules(data)
    known = [Background(read_scan(f)) for f in sorted(phantoms.iterdir())]
    wrong = []

    def fell(name: str, untrained: torch.nn.Module, trained: torch.nn.Module, shown: list, loss, only_x) -> None:
        recalibrate(untrained, map(only_x, shown))
        before, after = _loss(untrained, shown, loss), _loss(trained, shown, loss)
        print(f"{name}: loss {before:.3f} before training, {after:.3f} after")
        if not after < before:
            wrong.append(f"{name}: the loss did not fall")

    def agrees(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        worst = float(np.abs(ours - theirs).max())
        print(f"{name}: ONNX Runtime differs from PyTorch by at most {worst:.1e}, of values {theirs.min():.3f} to {theirs.max():.3f}")
        if not worst <= PARITY:
            wrong.append(f"{name}: {worst:.1e} is more than {PARITY}")

    def load(net: torch.nn.Module, path: Path) -> torch.nn.Module:
        net.load_state_dict(torch.load(path, weights_only=True))
        return net.eval()

    options = PRESETS["quick"]
    shares = [1.0] * len(known)
    cubes = Cubes(nodules, known, shares, rng)
    shown = [cubes.batch(2) for _ in range(pictures)]
    fresh = MUNet(**options["localize"])
    fresh.head.bias.data = torch.tensor([2.0, -2.0])  # as training begins
    net = load(MUNet(**options["localize"]), runs / "localize" / "localize.pt")
    fell("localize", fresh, net, shown, lambda net, p: localize_loss(net, *p), lambda p: p[0])
    cube = shown[0][0]
    with torch.no_grad():
        agrees("localize", _session(models / "localize.onnx").run(["nodule"], {"cube": cube.numpy()})[0],
               torch.sigmoid(difference(net(cube)))[:, None].numpy())

    slabs = Slabs(nodules, known, shares, rng)
    shown = [slabs.batch(10, 4) for _ in range(pictures)]
    nets = [load(MSUNet(**options["refine"]), f) for f in sorted((runs / "cv").glob("fold-*/refine.pt"))]
    for k, net in enumerate(nets):
        fell(f"refine, fold {k}", MSUNet(**options["refine"]), net, shown, refine_loss, lambda b: b.slab)
    slab = _slabs(nodules)
    outputs = ("mask", "characteristics", "nodule")
    with torch.no_grad():
        for name, got, want in zip(outputs, _session(models / "refine.onnx").run(outputs, {"slab": slab}),
                                   Refine(nets)(torch.from_numpy(slab))):
            agrees(f"refine, {name}", got, want.numpy())
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("nodules", "check"))
    parser.add_argument("--data", required=True, type=Path, help="folder for nodules.npz and index.csv")
    parser.add_argument("--phantoms", type=Path, help="check: folder of the CT series that were trained on")
    parser.add_argument("--runs", type=Path, help="check: folder with localize and cv")
    parser.add_argument("--models", type=Path, help="check: folder with the two files")
    args = parser.parse_args()
    if args.what == "nodules":
        write_nodules(args.data, phantom_nodules())
    elif wrong := check(args.data, args.phantoms, args.runs, args.models):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
