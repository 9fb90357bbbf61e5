"""What is exported is what was trained."""
import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from scipy import ndimage
from torch import nn

from pulmonode_training.composites import Cubes
from pulmonode_training.export import HALVED_FROM, FoldedLocalize, Refine, metadata, write_localize, write_refine
from pulmonode_training.networks import CHARACTERISTICS, TASKS, MSUNet, MUNet, difference
from pulmonode_training.preprocess import quantise, resample, scale, slab_positions

PARITY = 1e-4


def lively(net: nn.Module) -> nn.Module:
    """Batch norms that matter, as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


def halved(net: nn.Module) -> nn.Module:
    """Weights that half precision holds exactly."""
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(p.half())
    return net


def msunet(seed: int, **options) -> nn.Module:
    torch.manual_seed(seed)
    return lively(MSUNet(0.0625, **options))


def session(path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


OUTPUTS = ("mask", "characteristics", "nodule")


@pytest.fixture(scope="module")
def localize(tmp_path_factory):
    torch.manual_seed(0)
    net = lively(MUNet(0.125))
    with torch.no_grad():
        net.head.weight *= 10
    path = tmp_path_factory.mktemp("localize") / "localize.onnx"
    write_localize(net, path, metadata("localize", "0.0.0", "quick", "nothing", {"candidate": 0.3}, [1.0, 1.0, 1.0]))
    return net, path


def written(folder, nets):
    path = folder / "refine.onnx"
    write_refine(nets, path, metadata("refine", "0.0.0", "quick", "nothing", {"mask": 0.5}, [1.0, 0.6, 0.6],
                                      {t: [1.0, 0.0] for t in TASKS}, smallest_mm=4))
    return nets, path


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return written(tmp_path_factory.mktemp("single"), [msunet(0, measured=False)])


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Networks with the head that measures."""
    return written(tmp_path_factory.mktemp("several"), [msunet(k) for k in (1, 2)])


@pytest.fixture(scope="module")
def slab(nodules) -> torch.Tensor:
    """Real nodules as the node presents them, and noise."""
    real = [scale(quantise(resample(n.hu, slab_positions(ndimage.center_of_mass(n.mask), n.spacing, (-1, 0, 1, 2)))))
            for n in nodules[:6]]
    return torch.cat((torch.from_numpy(np.stack(real)), torch.rand(2, 4, 64, 64, generator=torch.Generator().manual_seed(2))))


@torch.no_grad()
def test_folding_depth_changes_nothing(localize):
    net, _ = localize
    x = torch.rand(2, 1, 32, 48, 32)
    assert (FoldedLocalize(net)(x)[:, 0] - torch.sigmoid(difference(net(x)))).abs().max() < PARITY


@pytest.mark.parametrize("shape", [(1, 1, 64, 64, 64), (3, 1, 32, 48, 64)])
@torch.no_grad()
def test_localize_file_equals_the_network(localize, shape):
    net, path = localize
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    out, = session(path).run(["nodule"], {"cube": x.numpy()})
    want = torch.sigmoid(difference(net(x)))[:, None].numpy()
    assert out.shape == shape and out.dtype == np.float32
    assert np.abs(out - want).max() < PARITY and np.ptp(want) > 0.01


@torch.no_grad()
def test_localize_file_equals_the_network_on_nodules(localize, nodules, right):
    net, path = localize
    x, truth = Cubes(nodules, [right], [1.0], np.random.default_rng(0)).batch(2)
    assert truth.any()
    out, = session(path).run(["nodule"], {"cube": x.numpy()})
    assert np.abs(out - torch.sigmoid(difference(net(x)))[:, None].numpy()).max() < PARITY


@pytest.mark.parametrize("which", ["single", "several"])
@torch.no_grad()
def test_refine_file_equals_the_networks(which, slab, request):
    nets, path = request.getfixturevalue(which)
    got = session(path).run(OUTPUTS, {"slab": slab.numpy()})
    assert [g.shape for g in got] == [(8, 4, 64, 64), (8, 4), (8, 1)]
    for ours, theirs in zip(got, Refine(nets)(slab)):
        assert np.abs(ours - theirs.numpy()).max() < PARITY
    # One at a time: no picture bears on its neighbours.
    one = session(path).run(OUTPUTS, {"slab": slab[3:4].numpy()})
    for alone, together in zip(one, got):
        assert np.abs(alone[0] - together[3]).max() < PARITY


@torch.no_grad()
def test_several_networks_are_their_mean(slab):
    nets = [halved(msunet(k)) for k in (1, 2)]
    both = [net(slab) for net in nets]
    mask, characteristics, nodule = Refine(nets)(slab)
    # Folding a batch norm moves a weight to another that half precision rounds by 2^-11.
    assert (mask - sum(torch.sigmoid(difference(m)) for m, _ in both) / 2).abs().max() < 1e-2
    for k, task in enumerate(TASKS):
        want = sum(difference(heads[k]) for _, heads in both) / 2
        got = nodule[:, 0] if task == "nodule" else characteristics[:, CHARACTERISTICS.index(task)]
        assert (got - want).abs().max() < 1e-2
    assert (mask - torch.sigmoid(difference(both[0][0]))).abs().max() > 2e-2


def test_the_mask_is_a_probability_and_the_ratings_are_logits(several, slab):
    mask, characteristics, _ = session(several[1]).run(OUTPUTS, {"slab": 50 * slab.numpy()})
    assert mask.min() >= 0 and mask.max() <= 1 and np.ptp(mask) > 0.1
    assert characteristics.min() < 0  # which no probability is


def test_weights_take_half_the_bytes(single):
    nets, path = single
    tensors = onnx.load(path).graph.initializer
    large = [t for t in tensors if np.prod(t.dims) >= HALVED_FROM and t.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)]
    assert large and all(t.data_type == onnx.TensorProto.FLOAT16 for t in large)
    weights = sum(p.numel() for p in nets[0].parameters())
    assert 2 * weights < path.stat().st_size < 2 * weights + 200_000
    # The node opens it without an operator of half precision: each weight is cast once.
    casts = {n.input[0] for n in onnx.load(path).graph.node if n.op_type == "Cast"}
    assert {t.name for t in large} <= casts


def test_batch_norms_are_folded_into_convolutions(localize, single):
    for _, path in (localize, single):
        assert not {"BatchNormalization"} & {n.op_type for n in onnx.load(path).graph.node}


def test_files_carry_the_contract_and_no_trace_of_the_machine(localize, single, several):
    for _, path in (localize, single, several):
        model = onnx.load(path)
        properties = {p.key: p.value for p in model.metadata_props}
        assert properties["pulmonode.contract"] == "1"
        assert json.loads(properties["pulmonode.window_hu"]) == [-1000, 500]
        assert json.loads(properties["pulmonode.thresholds"])
        assert all(k.startswith("pulmonode.") for k in properties)
        assert next(o.version for o in model.opset_import if o.domain == "") >= 17
        # Weights are bytes at random, in which any word may stand.
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")
        content = model.SerializeToString()
        assert not re.search(rb"\.py\b|site-packages|pulmonode_training|/(tmp|root|home)\b", content)
