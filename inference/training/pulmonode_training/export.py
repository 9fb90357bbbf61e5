"""Writes networks as the ONNX files the node runs, with the metadata it checks.

    localize.onnx  cube [N,1,D,H,W] -> nodule [N,1,D,H,W], probability; D, H, W multiples of 16
    refine.onnx    slab [N,4,64,64] -> mask [N,4,64,64], probability; characteristics [N,4],
                   uncalibrated logits of label 1; nodule [N,1], logit
"""
from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .networks import TASKS, Gate, MUNet, difference

OPSET = 18
# Smaller tensors stay float32: they weigh nothing.
HALVED_FROM = 256
LICENCE = "CC BY 3.0 (trained on LIDC-IDRI, doi 10.7937/K9/TCIA.2015.LO9QL9SX)"


def fold_batch_norm(net: nn.Module) -> nn.Module:
    """A copy of `net` for inference whose convolutions carry their batch norms."""
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for i in range(len(module) - 1):
            conv, norm = module[i], module[i + 1]
            if isinstance(conv, (nn.Conv2d, nn.Conv3d)) and isinstance(norm, (nn.BatchNorm2d, nn.BatchNorm3d)):
                module[i] = fuse_conv_bn_eval(conv, norm)
                module[i + 1] = nn.Identity()
    return net


class FoldedLocalize(nn.Module):
    """MU-Net by 2D operators alone: depth rides in the batch axis and each 3D convolution
    becomes a 2D one over three neighbouring slices, 1.5 to 1.7 times faster on a CPU."""

    def __init__(self, net: MUNet):
        super().__init__()
        net = fold_batch_norm(net)
        self.body, self.scales = net.body, net.body.scales
        self.head = self._flat(net.head)
        self.units = nn.ModuleDict()
        for name, module in net.body.named_modules():
            key = name.replace(".", "_")
            if isinstance(module, nn.Sequential) and isinstance(module[0], nn.Conv3d):
                self.units[key] = self._flat(module[0])
                module.key = key
            elif isinstance(module, Gate):
                self.units[key] = nn.Sequential(self._flat(module.w1), nn.ReLU(), self._flat(module.w2), nn.Sigmoid())
                module.key = key

    @staticmethod
    @torch.no_grad()
    def _flat(conv: nn.Conv3d) -> nn.Conv2d:
        out, cin, k = conv.weight.shape[:3]
        flat = nn.Conv2d(cin * k, out, k, padding=k // 2)
        flat.weight.copy_(conv.weight.permute(0, 2, 1, 3, 4).reshape(out, cin * k, k, k))
        flat.bias.copy_(conv.bias)
        return flat

    def _unit(self, module: nn.Sequential, x: Tensor, d: int) -> Tensor:
        for unit in (module if isinstance(module[0], nn.Sequential) else [module]):
            y = F.pad(x.unflatten(0, (-1, d)), (0, 0, 0, 0, 0, 0, 1, 1))
            x = torch.cat((y[:, :-2], y[:, 1:-1], y[:, 2:]), 2).flatten(0, 1)
            x = torch.relu(self.units[unit.key](x))
        return x

    @staticmethod
    def _pool(x: Tensor, d: int) -> Tensor:
        y = F.max_pool2d(x, 2).unflatten(0, (-1, d // 2, 2))
        return torch.maximum(y[:, :, 0], y[:, :, 1]).flatten(0, 1)

    def _up(self, module: nn.Sequential, x: Tensor, d: int) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest").unflatten(0, (-1, d))
        return self._unit(module[1], torch.stack((x, x), 2).flatten(0, 2), 2 * d)

    def forward(self, cube: Tensor) -> Tensor:
        body, depth = self.body, cube.shape[2]
        x = small = cube.transpose(1, 2).flatten(0, 1)
        maps, d = [], depth
        for i, block in enumerate(body.down):
            if i:
                x = self._pool(x, d)
                d = d // 2
            x = self._unit(block, x, d)
            if 1 <= i <= self.scales:
                small = self._pool(small, 2 * d)
                f = self._unit(body.pyramid[i - 1], small, d)
                x = x * self.units[body.gate_in[i - 1].key](x + f)
            maps.append(x)
        for i in reversed(range(len(maps) - 1)):
            x = self._up(body.up[i], x, d)
            d = 2 * d
            if str(i) in body.gate_out:
                x = x * self.units[body.gate_out[str(i)].key](x + maps[i])
            x = self._unit(body.merge[i], torch.cat((maps[i], x), 1), d)
        z = self.head(x)
        return torch.sigmoid(z[:, 1:2] - z[:, 0:1]).unflatten(0, (-1, depth)).transpose(1, 2)


class Refine(nn.Module):
    """One MSU-Net or the mean of several, with the outputs of the contract.

    Weights are rounded to half precision, as the file keeps them; what is computed stays float32.
    """

    def __init__(self, nets: Sequence[nn.Module]):
        super().__init__()
        self.nets = nn.ModuleList(fold_batch_norm(net) for net in nets)
        with torch.no_grad():
            for p in self.nets.parameters():
                if p.numel() >= HALVED_FROM:
                    p.copy_(p.half())

    def forward(self, slab: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        masks, logits = [], []
        for net in self.nets:
            mask, heads = net(slab)
            masks.append(torch.sigmoid(difference(mask)))
            of = dict(zip(net.tasks, heads))
            logits.append(torch.stack([difference(of[task]) for task in TASKS], 1))
        mask, logit = (torch.stack(t).mean(0) for t in (masks, logits))
        return mask, logit[:, :4], logit[:, 4:]


def metadata(role: str, version: str, preset: str, trained_on: str, thresholds: dict,
             spacing_mm: list[float], calibration: dict | None = None, smallest_mm: float | None = None) -> dict[str, str]:
    """The properties the node checks at start; structured ones are JSON."""
    out = {"contract": "1", "name": f"pulmonode-{role}", "version": version, "preset": preset,
           "spacing_mm": json.dumps(spacing_mm), "window_hu": "[-1000,500]", "levels": "1024",
           "thresholds": json.dumps(thresholds), "trained_on": trained_on, "licence": LICENCE}
    if calibration is not None:
        out["calibration"] = json.dumps(calibration)
    if smallest_mm is not None:
        out["smallest_mm"] = json.dumps(smallest_mm)
    return {f"pulmonode.{k}": v for k, v in out.items()}


def _halve(model: onnx.ModelProto) -> None:
    """Keeps weights that half precision holds exactly in half the bytes: ONNX Runtime turns them
    back into float32 once, when the file is opened."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        value = onnx.numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if value.size >= HALVED_FROM and np.array_equal(half.astype(np.float32), value):
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _write(module: nn.Module, example: Tensor, inputs: list[str], outputs: list[str],
           shapes: dict, properties: dict[str, str], path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.onnx"
        torch.onnx.export(module.eval(), (example,), raw, input_names=inputs, output_names=outputs,
                          dynamic_shapes=shapes, opset_version=OPSET, dynamo=True,
                          external_data=False, verbose=False)
        model = onnx.load(raw)
    # The exporter's own notes name source files of the machine it ran on.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.metadata_props[:]
    _halve(model)
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def write_localize(net: MUNet, path: Path, properties: dict[str, str]) -> None:
    """Writes the depth-folded form with N, D, H, W free."""
    shapes = {"cube": {0: Dim.DYNAMIC, 2: 16 * Dim("d", min=2, max=32),
                       3: 16 * Dim("h", min=2, max=32), 4: 16 * Dim("w", min=2, max=32)}}
    _write(FoldedLocalize(net), torch.zeros(2, 1, 64, 48, 80), ["cube"], ["nodule"],
           shapes, properties, path)


def write_refine(nets: Sequence[nn.Module], path: Path, properties: dict[str, str]) -> None:
    """Writes the mean of the networks."""
    _write(Refine(nets), torch.zeros(2, 4, 64, 64), ["slab"], ["mask", "characteristics", "nodule"],
           {"slab": {0: Dim.DYNAMIC}}, properties, path)
