"""The losses' traps are disarmed, and a run that was cut off ends as if it had not been."""
import argparse

import numpy as np
import pytest
import torch
from torch import nn

from pulmonode_training import train
from pulmonode_training.composites import SlabBatch
from pulmonode_training.train import Run, dice_loss, focal_loss, localize_loss, recalibrate, refine_loss

SURE = 20.0


def two_classes(z: torch.Tensor) -> torch.Tensor:
    return torch.stack((-z / 2, z / 2), 1)


def slabs(n: int = 3, nodule=(1.0, 1.0, 0.0)) -> SlabBatch:
    truth = torch.zeros(n, 4, 64, 64)
    truth[:2, :, 20:30, 20:30] = 1
    valid = torch.ones(n, 1, 64, 64)
    valid[:, :, :, 50:] = 0
    return SlabBatch(torch.zeros(n, 4, 64, 64), truth, valid, torch.tensor([[1.0, 0, 1, 0]] * n), torch.tensor(nodule))


def refine(b: SlabBatch, z: torch.Tensor, ratings: torch.Tensor) -> tuple[torch.Tensor, dict]:
    return refine_loss(lambda _: (two_classes(z), [two_classes(r) for r in ratings.unbind(1)]), b)


def perfect(b: SlabBatch) -> tuple[torch.Tensor, torch.Tensor]:
    return SURE * (2 * b.truth - 1), torch.tensor([[SURE, -SURE, SURE, -SURE, SURE]] * 2 + [[0.0, 0, 0, 0, -SURE]])


def test_dice_is_that_of_each_sample():
    t = torch.zeros(2, 1, 10, 10)
    t[:, :, :3, :3] = 1
    p = torch.stack((t[0], torch.zeros(1, 10, 10)))
    assert dice_loss(p, t).tolist() == pytest.approx([0, 1 - 1 / 10])


def test_the_focal_loss_weighs_the_rare_class_more():
    half = torch.zeros(2)
    want = 0.25 * np.log(2)  # (1 - 1/2)^2 * log 2
    assert focal_loss(half, torch.tensor([1.0, 0.0])).tolist() == pytest.approx([0.75 * want, 0.25 * want])
    assert focal_loss(torch.tensor([SURE]), torch.tensor([1.0])).item() < 1e-12


def test_the_logarithm_of_a_perfect_dice_is_finite():
    b = slabs()
    z, ratings = perfect(b)
    z.requires_grad_()
    loss, parts = refine(b, z, ratings)
    loss.backward()
    assert parts["dice"] > 0.9999 and torch.isfinite(loss) and torch.isfinite(z.grad).all()
    assert loss.item() == pytest.approx(np.log(0.05), abs=1e-2)  # and nothing lies below
    worse, _ = refine(b, z.detach() / 20, ratings)
    assert worse > loss


def test_padded_pixels_do_not_matter():
    b = slabs()
    z, ratings = perfect(b)
    other = torch.where(b.valid > 0, z, torch.randn_like(z) * 5)
    assert refine(b, z, ratings)[0].item() == refine(b, other, ratings)[0].item()
    assert refine(b, z, ratings)[0].item() != refine(b, torch.where(b.valid > 0, -z, z), ratings)[0].item()


def test_only_nodules_are_rated_and_what_cannot_be_told_is_not_asked():
    b = slabs(nodule=(1.0, -1.0, 0.0))
    z, ratings = perfect(b)
    before = refine(b, z, ratings)[0].item()
    ratings[1, 4], ratings[1:, :4] = -SURE, SURE  # of the second it isn't known, the third is none
    assert refine(b, z, ratings)[0].item() == before
    ratings[2, 4] = SURE
    assert refine(b, z, ratings)[0].item() > before + 1


def cube(small: bool, large: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that find a nodule of 8 voxels, one of 1000, both or none; and the truth."""
    truth = torch.zeros(1, 1, 32, 32, 32)
    truth[..., 2:4, 2:4, 2:4], truth[..., 10:20, 10:20, 10:20] = 1 / 8, 1 / 1000
    found = torch.zeros_like(truth)
    found[..., 2:4, 2:4, 2:4], found[..., 10:20, 10:20, 10:20] = small, large
    return SURE * (2 * found[:, 0] - 1), truth


def localize(z: torch.Tensor, truth: torch.Tensor):
    return localize_loss(lambda _: two_classes(z), torch.zeros_like(truth), truth)


@pytest.mark.parametrize("small, large, missed", [(True, True, 0), (True, False, 0.5), (False, True, 0.5), (False, False, 1)])
def test_each_nodule_counts_the_same_in_what_is_missed(small, large, missed):
    assert localize(*cube(small, large))[1]["missed"] == pytest.approx(missed, abs=1e-4)


def test_a_cube_without_a_nodule_is_taught_to_be_quiet():
    z, truth = cube(False, False)
    quiet, parts = localize(z, 0 * truth)
    alarm, _ = localize(cube(True, False)[0], 0 * truth)
    assert "missed" not in parts and torch.isfinite(quiet) and alarm > quiet + 0.1


def test_recalibration_is_the_mean_over_all_batches():
    net = nn.Sequential(nn.BatchNorm2d(1, momentum=0.1))
    net(torch.full((1, 1, 2, 2), 99.0))
    recalibrate(net, (torch.full((2, 1, 3, 3), float(v)) for v in (1, 2, 6)))
    assert net[0].running_mean.item() == pytest.approx(3) and net[0].num_batches_tracked == 3
    assert not net.training


def run_args(out, **more) -> argparse.Namespace:
    return argparse.Namespace(**{"network": "localize", "out": str(out), "minutes": None, "steps": 12, "schedule": "cycle",
                                 "device": "cpu", "bf16": False, **more})


def begin(out, **more) -> Run:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    return Run(net, run_args(out, **more), 1e-2, 0.9, rng)


def go(run: Run, steps: int) -> None:
    """As training does: pictures by one generator, drop-out by the other."""
    def loss(net):
        x = torch.from_numpy(run.rng.standard_normal((6, 4)).astype(np.float32))
        value = (net(x) - x.sum(1, keepdim=True)).square().mean()
        return value, {"loss": value.item()}
    for _ in run.steps(loss):
        if run.step == steps:
            break


def weights(run: Run) -> list[torch.Tensor]:
    return [*run.net.state_dict().values(), *run.mean.parameters()]


@pytest.mark.parametrize("schedule", ["cycle", "plateau"])
def test_a_run_that_goes_on_ends_where_it_would_have(tmp_path, schedule):
    whole = begin(tmp_path / "whole", schedule=schedule)
    go(whole, 12)
    first = begin(tmp_path / "parts", schedule=schedule)
    go(first, 5)
    first.save()
    torch.rand(7)  # another process has another state
    second = begin(tmp_path / "parts", schedule=schedule)
    assert second.step == 5 and second.rng.bit_generator.state == first.rng.bit_generator.state
    go(second, 12)
    assert second.step == whole.step == 12 and second.falls == whole.falls and second.epochs == whole.epochs
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(second), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


def test_a_finished_run_does_nothing_more(tmp_path):
    run = begin(tmp_path)
    go(run, 99)
    before = [t.clone() for t in weights(begin(tmp_path))]
    again = begin(tmp_path)
    go(again, 99)
    assert again.step == 12 and all(torch.equal(a, b) for a, b in zip(before, weights(again)))


def test_what_a_run_keeps_beside_its_weights_is_there_again(tmp_path):
    run = begin(tmp_path)
    run.extra.update(hard=[[(1.0, 2.0, 3.0)]], mined=1)
    run.save()
    assert begin(tmp_path).extra == {"hard": [[(1.0, 2.0, 3.0)]], "mined": 1}


def rates(run: Run, losses) -> list[float]:
    out = []
    for run.step, loss in enumerate(losses):
        out.append(run._rate(loss))
    return out


def test_the_rate_falls_on_a_plateau_and_only_there(tmp_path):
    steps = 400
    flat = rates(begin(tmp_path / "a", steps=steps, schedule="plateau"), [1.0] * steps)
    assert flat[0] == 0.01 and flat[30] == 1
    falls = [b / a for a, b in zip(flat[30:], flat[31:]) if b != a]
    assert len(falls) >= 3 and falls[:3] == pytest.approx([1 / 3] * 3) and min(flat) == 0.01
    better = rates(begin(tmp_path / "b", steps=steps, schedule="plateau"), np.linspace(1, 0, steps))
    assert set(better[30:]) == {1.0}


def test_the_cycle_rises_and_falls(tmp_path):
    got = rates(begin(tmp_path, steps=100), [1.0] * 100)
    assert got[0] == got[99] == 0.01 and max(got) == pytest.approx(1) and got.index(max(got)) == 6
    assert all(a > b for a, b in zip(got[6:95], got[7:96]))


def test_arguments_take_the_presets_settings():
    words = ["refine", "--data", "d", "--out", "o"]
    paper, small = (train.arguments([*words, "--preset", p]) for p in ("paper", "small"))
    assert (paper.schedule, small.schedule) == ("plateau", "cycle")
    assert paper.options["width"] == 1 and small.options["width"] == 0.25
    assert train.arguments([*words, "--width", "0.5"]).options["width"] == 0.5
    assert train.arguments([*words, "--option", "heads=encoder"]).options["heads"] == "encoder"


@pytest.mark.parametrize("words, says", [
    (["--option", "heads=nose"], "choose both, encoder or decoder"), (["--option", "depth=3"], "width"),
    (["--baseline", "3D/U-Net"], "choose FORM/BODY"), (["--preset", "large"], "invalid choice"), (["--width", "0.1"], "slice groups"),
])
def test_what_cannot_be_trained_is_said_before_anything_is_read(words, says, capsys):
    with pytest.raises(SystemExit):
        train.arguments(["refine", "--data", "d", "--out", "o", *words])
    assert says in capsys.readouterr().err


def test_without_a_background_nothing_is_trained(tmp_path):
    with pytest.raises(ValueError, match="--scans, or --phantoms"):
        train.backgrounds(argparse.Namespace(scans=None, phantoms=None))
    with pytest.raises(ValueError, match="unpack"):
        train.backgrounds(argparse.Namespace(scans=str(tmp_path), phantoms=None))
