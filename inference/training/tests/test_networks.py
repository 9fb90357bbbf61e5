"""The networks are the published ones, and what is exported is what was trained."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from pulmonode_training.export import FoldedLocalize, metadata, write_localize, write_refine
from pulmonode_training.networks import CHARACTERISTICS, MSUNet, MUNet, count, difference


def lively(net: nn.Module) -> nn.Module:
    """Batch norms and gates that matter, as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


def session(path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def localize(tmp_path_factory):
    torch.manual_seed(0)
    net = lively(MUNet(0.125))
    with torch.no_grad():
        net.head.weight *= 10
    path = tmp_path_factory.mktemp("localize") / "localize.onnx"
    write_localize(net, path, metadata("localize", "0.0.0", "quick", "nothing", {"candidate": 0.3}, [1.0, 1.0, 1.0]))
    return net, path


@pytest.fixture(scope="module")
def refine(tmp_path_factory):
    torch.manual_seed(0)
    net = lively(MSUNet(0.125))
    path = tmp_path_factory.mktemp("refine") / "refine.onnx"
    calibration = {c: [1.0, 0.0] for c in (*CHARACTERISTICS, "nodule")}
    write_refine([net], path, metadata("refine", "0.0.0", "quick", "nothing", {"mask": 0.5}, [1.0, 0.6, 0.6], calibration))
    return net, path


def test_parameter_counts_are_the_published_ones():
    assert count(MUNet()) == 25_973_161
    assert count(MSUNet(tasks=CHARACTERISTICS)) == 21_810_915
    assert count(MSUNet()) == 21_810_915 + 258


def test_a_width_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="slice groups"):
        MSUNet(0.1)


@torch.no_grad()
def test_encoder_keeps_slices_apart():
    torch.manual_seed(0)
    net = lively(MSUNet(0.25))
    x = torch.randn(1, 4, 64, 64)
    before = net.body.encode(x)
    for k in range(4):
        y = x.clone()
        y[:, k] += torch.randn(64, 64)
        for a, b in zip(before, net.body.encode(y)):
            a, b = (t.unflatten(1, (4, -1)) for t in (a, b))
            assert [torch.equal(a[:, j], b[:, j]) for j in range(4)] == [j != k for j in range(4)]


@torch.no_grad()
def test_folding_depth_changes_nothing(localize):
    net, _ = localize
    x = torch.rand(2, 1, 32, 48, 32)
    assert (FoldedLocalize(net)(x)[:, 0] - torch.sigmoid(difference(net(x)))).abs().max() < 1e-4


@pytest.mark.parametrize("shape", [(1, 1, 64, 64, 64), (3, 1, 64, 64, 64), (1, 1, 96, 64, 128)])
@torch.no_grad()
def test_localize_file_equals_the_network(localize, shape):
    net, path = localize
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    out, = session(path).run(["nodule"], {"cube": x.numpy()})
    want = torch.sigmoid(difference(net(x)))[:, None].numpy()
    assert out.shape == shape and out.dtype == np.float32
    assert np.abs(out - want).max() < 1e-4
    assert np.ptp(want) > 0.01


@pytest.mark.parametrize("n", [1, 5, 16])
@torch.no_grad()
def test_refine_file_equals_the_network(refine, n):
    net, path = refine
    x = torch.rand(n, 4, 64, 64, generator=torch.Generator().manual_seed(2))
    mask, characteristics, nodule = session(path).run(["mask", "characteristics", "nodule"], {"slab": x.numpy()})
    seg, heads = net(x)
    logits = torch.stack([difference(h) for h in heads], 1).numpy()
    assert mask.shape == (n, 4, 64, 64) and characteristics.shape == (n, 4) and nodule.shape == (n, 1)
    assert np.abs(mask - torch.sigmoid(difference(seg)).numpy()).max() < 1e-4
    assert np.abs(characteristics - logits[:, :4]).max() < 1e-4
    assert np.abs(nodule - logits[:, 4:]).max() < 1e-4


def test_files_carry_the_contract_and_no_trace_of_the_machine(localize, refine):
    for _, path in (localize, refine):
        model = onnx.load(path)
        properties = {p.key: p.value for p in model.metadata_props}
        assert properties["pulmonode.contract"] == "1"
        assert json.loads(properties["pulmonode.window_hu"]) == [-1000, 500]
        assert json.loads(properties["pulmonode.thresholds"])
        assert all(k.startswith("pulmonode.") for k in properties)
        assert next(o.version for o in model.opset_import if o.domain == "") >= 17
        assert not {"BatchNormalization"} & {n.op_type for n in model.graph.node}
        assert b"/" + b"pulmonode_training" not in path.read_bytes()
