"""PyTorch eager as a peer: the networks that are shipped, with weights of chance.

    python torch_infer.py export ROLE SHIPPED FOLDER        writes ROLE.onnx and ROLE.pt
    python torch_infer.py time ROLE SHIPPED FOLDER SHAPE CALLS THREADS

How fast a network is does not depend on its weights; that both sides run the same ones does. So
the architecture is that of the file SHIPPED (its preset, its number of networks), `export` gives
it weights, and `time` runs these on FOLDER/ROLE.in (float32 of SHAPE), writes what comes out to
FOLDER/ROLE.out and prints {"seconds", "layout"}. Batch norms are folded into convolutions, as in
the exported file, and of PyTorch's memory layouts the faster one is taken.
"""
import copy
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "inference" / "training"))
from pulmonode_training.export import Refine, fold_batch_norm, write_localize, write_refine  # noqa: E402
from pulmonode_training.networks import PRESETS, MSUNet, MUNet, difference  # noqa: E402

LAYOUTS = {"localize": torch.channels_last_3d, "refine": torch.channels_last}


class Localize(nn.Module):
    """Stage 1 as it is trained: 3D convolutions."""

    def __init__(self, net: MUNet):
        super().__init__()
        self.net = fold_batch_norm(net)

    def forward(self, cube: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.sigmoid(difference(self.net(cube))),)


def weights(model: onnx.ModelProto) -> int:
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    return sum(int(np.prod(t.dims)) for t in model.graph.initializer if t.data_type in floats)


def networks(role: str, shipped: onnx.ModelProto) -> list[nn.Module]:
    preset = {p.key: p.value for p in shipped.metadata_props}["pulmonode.preset"]
    options = PRESETS.get(preset, PRESETS["small"])[role]
    if role == "localize":
        return [MUNet(**options)]
    numbers = [int(n) for t in shipped.graph.initializer for n in re.findall(r"^nets\.(\d+)\.", t.name)]
    return [MSUNet(**options) for _ in range(max(numbers, default=0) + 1)]


def export(role: str, shipped: onnx.ModelProto, folder: Path) -> None:
    torch.manual_seed(8)
    nets = networks(role, shipped)
    for net in nets:
        # Batch norms that fit the activations keep these from fading layer by layer.
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = None
        with torch.no_grad():
            net.train()(torch.rand(2, 1, 64, 64, 64) if role == "localize" else torch.rand(8, 4, 64, 64))
        net.eval()
    torch.save([net.state_dict() for net in nets], folder / f"{role}.pt")
    properties = {p.key: p.value for p in shipped.metadata_props}
    path = folder / f"{role}.onnx"
    if role == "localize":
        write_localize(nets[0], path, properties)
    else:
        write_refine(nets, path, properties)
    ours, theirs = weights(onnx.load(path)), weights(shipped)
    if abs(ours - theirs) > 0.01 * theirs:
        sys.exit(f"the shipped {role}.onnx has {theirs} weights, what its preset builds now has {ours}: it is another network")


def module(role: str, shipped: onnx.ModelProto, folder: Path) -> nn.Module:
    nets = networks(role, shipped)
    for net, state in zip(nets, torch.load(folder / f"{role}.pt", weights_only=True), strict=True):
        net.load_state_dict(state)
        net.eval()
    return Localize(nets[0]).eval() if role == "localize" else Refine(nets).eval()


@torch.inference_mode()
def timed(net: nn.Module, x: torch.Tensor, calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        net(x)
    return time.perf_counter() - begin


def main() -> None:
    action, role, shipped, folder = sys.argv[1], sys.argv[2], onnx.load(sys.argv[3]), Path(sys.argv[4])
    if action == "export":
        export(role, shipped, folder)
        return
    shape, calls, threads = [int(n) for n in sys.argv[5].split(",")], int(sys.argv[6]), int(sys.argv[7])
    torch.set_num_threads(threads)
    x = torch.from_numpy(np.fromfile(folder / f"{role}.in", "<f4").reshape(shape))
    net = module(role, shipped, folder)
    with torch.inference_mode():
        np.concatenate([out.float().numpy().ravel() for out in net(x)]).astype("<f4").tofile(folder / f"{role}.out")
    tried = {}
    for name, layout in (("contiguous", torch.contiguous_format), ("channels_last", LAYOUTS[role])):
        pair = copy.deepcopy(net).to(memory_format=layout), x.clone(memory_format=layout)
        timed(*pair, 1)
        tried[name] = timed(*pair, 3), pair
    layout = min(tried, key=lambda name: tried[name][0])
    print(json.dumps({"seconds": timed(*tried[layout][1], calls), "layout": layout}))


if __name__ == "__main__":
    main()
