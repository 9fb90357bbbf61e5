"""Trains one network for a given time and writes its averaged weights.

    python -m pulmonode_training.train localize --data DIR --scans DIR --minutes 12 --out DIR
    python -m pulmonode_training.train refine   --data DIR --scans DIR --minutes 12 --out DIR --hard DIR/hard.json

A run that was cut off goes on from its checkpoint in --out; --start begins with another run's
weights instead.
"""
from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from .composites import Background, Cubes, SlabBatch, Slabs
from .data import read_nodules, read_scan, split
from .networks import TASKS, MSUNet, MUNet, difference
from .search import candidates, probability

REAL_SCANS = ("LIDC-IDRI-0001", "LIDC-IDRI-0002")
CHECKPOINT_SECONDS = 60
# When, in shares of the time, stage 1 looks for its own false alarms.
MINE_AT = (0.45, 0.7)


def dice_loss(p: Tensor, truth: Tensor) -> Tensor:
    """1 - Dice of each sample, not of the batch, where large nodules would rule."""
    axes = tuple(range(1, p.dim()))
    return 1 - (2 * (p * truth).sum(axes) + 1) / ((p * p).sum(axes) + truth.sum(axes) + 1)


def focal_loss(logit: Tensor, truth: Tensor) -> Tensor:
    """Equation 9, a map; alpha 0.75 on the rare class, gamma 2."""
    ce = F.binary_cross_entropy_with_logits(logit, truth, reduction="none")
    return (0.75 * truth + 0.25 * (1 - truth)) * (1 - torch.exp(-ce)) ** 2 * ce


def localize_loss(net: MUNet, x: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, float]]:
    z = difference(net(x).float())[:, None]
    dice = dice_loss(torch.sigmoid(z), truth)
    some = truth.flatten(1).any(1)
    focal = focal_loss(z, truth).mean()
    # A cube without a nodule has a Dice term too: any alarm in it makes that term 1.
    loss = (dice * torch.where(some, 1.0, 0.2)).mean() + 20 * focal
    return loss, {"dice": 1 - dice[some].mean().item() if some.any() else math.nan, "focal": focal.item()}


def refine_loss(net: MSUNet, b: SlabBatch) -> tuple[Tensor, dict[str, float]]:
    mask, heads = net(b.slab)
    z = difference(mask.float())
    shown = b.truth.flatten(1).any(1)
    dice = dice_loss((torch.sigmoid(z) * b.valid)[shown], b.truth[shown])
    focal = (focal_loss(z, b.truth) * b.valid).mean()
    logit = torch.stack([difference(h.float()) for h in heads], 1)
    known, told = b.nodule == 1, b.nodule >= 0
    described = F.binary_cross_entropy_with_logits(logit[known, :4], b.labels[known])
    nodule = F.binary_cross_entropy_with_logits(logit[told, 4], b.nodule[told])
    # The constant bounds the paper's log DL, which has no lower end.
    loss = torch.log(dice + 0.05).mean() + 4 * focal + 0.5 * described + 0.5 * nodule
    return loss, {"dice": 1 - dice.mean().item(), "described": described.item(), "nodule": nodule.item()}


def recalibrate(net: nn.Module, batches) -> None:
    """Batch norm statistics of the averaged weights, on training pictures."""
    net.train()
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for x in batches:
            net(x)
    net.eval()


class Run:
    """A training run of fixed length in time: one-cycle rate, averaged weights, checkpoints."""

    def __init__(self, net: nn.Module, args: argparse.Namespace, peak_rate: float, decay: float):
        self.net, self.out, self.budget = net, Path(args.out), args.minutes * 60
        self.peak_rate, self.decay, self.bf16 = peak_rate, decay, args.bf16
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=peak_rate, weight_decay=1e-2)
        self.mean, self.step, self.spent, self.saved = copy.deepcopy(net), 0, 0.0, 0.0
        self.extra: dict = {}
        self.out.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.out / f"{args.network}.checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            self.net.load_state_dict(state["net"])
            self.mean.load_state_dict(state["mean"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.spent, self.extra = state["step"], state["spent"], state["extra"]
            tqdm.write(f"going on from step {self.step}, {self.spent:.0f} s")

    def save(self) -> None:
        part = self.checkpoint.with_suffix(".part")
        torch.save({"net": self.net.state_dict(), "mean": self.mean.state_dict(), "extra": self.extra,
                    "optimizer": self.optimizer.state_dict(), "step": self.step, "spent": self.spent}, part)
        part.replace(self.checkpoint)
        self.saved = self.spent

    @property
    def progress(self) -> float:
        return self.spent / self.budget

    def steps(self, loss_of):
        """Trains until the time is spent; `loss_of(net)` returns the loss and its parts."""
        bar = tqdm(total=round(self.budget), initial=round(self.spent), unit="s", mininterval=10)
        recent: dict[str, list[float]] = {}
        while self.progress < 1:
            begun, f = time.monotonic(), self.progress
            rate = f / 0.06 if f < 0.06 else 0.5 * (1 + math.cos(math.pi * (f - 0.06) / 0.94))
            for group in self.optimizer.param_groups:
                group["lr"] = self.peak_rate * max(rate, 0.01)
            self.net.train()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                loss, parts = loss_of(self.net)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimizer.step()
            self.step += 1
            decay = min(self.decay, self.step / (self.step + 10))
            with torch.no_grad():
                for a, b in zip(self.mean.parameters(), self.net.parameters()):
                    a.lerp_(b, 1 - decay)
            self.spent += time.monotonic() - begun
            for k, v in parts.items():
                recent[k] = [*recent.get(k, []), v][-100:]
            if self.step % 100 == 0:
                tqdm.write(f"{self.step} {self.spent:.0f}s " +
                           " ".join(f"{k} {np.nanmean(v):.4f}" for k, v in recent.items()))
            bar.update(round(self.spent) - bar.n)
            if self.spent - self.saved > CHECKPOINT_SECONDS:
                self.save()
            yield
        bar.close()
        self.save()


def backgrounds(args: argparse.Namespace) -> tuple[list[Background], list[float]]:
    """The right lungs of the real scans (their nodules lie in the left) and whole phantoms, which
    together count as one real lung."""
    real = [Background.right_lung(read_scan(Path(args.scans) / name)) for name in REAL_SCANS]
    folders = sorted(f for f in Path(args.phantoms).iterdir() if any(f.glob("*.dcm"))) if args.phantoms else []
    made = [Background(read_scan(f)) for f in folders]
    tqdm.write(f"backgrounds: {len(real)} right lungs, {len(made)} phantoms")
    return real + made, [1.0] * len(real) + [1.0 / len(made) for _ in made]


def hard_places(args: argparse.Namespace, known: list[Background]) -> list[list[tuple[float, float, float]]]:
    """Places (z,y,x at 1 mm) of each background that an earlier run took for nodules."""
    hard = json.loads(Path(args.hard).read_text()) if args.hard else {}
    return [[tuple(c) for c in hard.get(bg.scan.name, [])] for bg in known]


def mine(net: MUNet, cubes: Cubes, threshold: float = 0.15) -> None:
    """Adds the false alarms on every background to the places that training goes back to."""
    net.eval()

    @torch.no_grad()
    def run(x: np.ndarray) -> np.ndarray:
        return torch.sigmoid(difference(net(torch.from_numpy(x))))[:, None].numpy()

    for bg, hard in zip(cubes.backgrounds, cubes.hard):
        p = probability(run, bg.volume.astype(np.float32), bg.lung)
        found = candidates(p, threshold)[:60]
        tqdm.write(f"{bg.scan.name}: {len(found)} false alarms, best {[round(c.score, 2) for c in found[:5]]}")
        hard.extend(c.centre for c in found)


def train_localize(args: argparse.Namespace) -> None:
    rng = np.random.default_rng(args.seed)
    nodules = read_nodules(Path(args.data))
    cubes = Cubes([nodules[i] for i in split(nodules).train], *backgrounds(args), rng)
    tqdm.write(f"{len(cubes.cutouts)} nodules")
    net = MUNet(args.width)
    net.head.bias.data = torch.tensor([2.0, -2.0])
    if args.start:
        net.load_state_dict(torch.load(args.start, weights_only=True))
    net = net.to(memory_format=torch.channels_last_3d)
    run = Run(net, args, args.rate or 2e-3, 0.99)
    cubes.hard = run.extra.get("hard") or hard_places(args, cubes.backgrounds)
    mined = run.extra.get("mined", 0)

    def finished() -> MUNet:
        mean = copy.deepcopy(run.mean)
        recalibrate(mean, (cubes.batch(args.batch)[0] for _ in range(40)))
        return mean

    for _ in run.steps(lambda n: localize_loss(n, *cubes.batch(args.batch))):
        if mined < len(MINE_AT) and run.progress >= MINE_AT[mined]:
            mine(finished(), cubes)
            mined += 1
            run.extra.update(hard=cubes.hard, mined=mined)
            run.save()
    final = finished()
    mine(final, cubes)
    torch.save(final.state_dict(), run.out / "localize.pt")
    with open(run.out / "hard.json", "w") as f:
        json.dump({bg.scan.name: hard for bg, hard in zip(cubes.backgrounds, cubes.hard)}, f)


def train_refine(args: argparse.Namespace) -> None:
    rng = np.random.default_rng(args.seed)
    nodules = read_nodules(Path(args.data))
    slabs = Slabs([nodules[i] for i in split(nodules).train], *backgrounds(args), rng)
    slabs.hard = hard_places(args, slabs.backgrounds)
    net = MSUNet(args.width, tasks=TASKS, dropout=0.2)
    if args.start:
        net.load_state_dict(torch.load(args.start, weights_only=True))
    net = net.to(memory_format=torch.channels_last)
    run = Run(net, args, args.rate or 3e-3, 0.998)
    positives = round(args.batch * 0.6)
    for _ in run.steps(lambda n: refine_loss(n, slabs.batch(positives, args.batch - positives))):
        pass
    recalibrate(run.mean, (slabs.batch(positives, args.batch - positives).slab for _ in range(100)))
    torch.save(run.mean.state_dict(), run.out / "refine.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=("localize", "refine"))
    parser.add_argument("--data", required=True, help="folder with nodules.npz and index.csv")
    parser.add_argument("--scans", required=True, help=f"folder with the unpacked series {', '.join(REAL_SCANS)}")
    parser.add_argument("--phantoms", help="folder of nodule-free CT series to paste into as well")
    parser.add_argument("--hard", help="hard.json of a localize run: places that look like nodules")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--out", required=True, help="folder for checkpoints and weights")
    parser.add_argument("--start", help="weights (.pt) to begin with")
    parser.add_argument("--width", type=float, help="share of the published channel counts "
                        "(default 0.125 for localize, 0.25 for refine)")
    parser.add_argument("--batch", type=int, help="default 2 cubes, 20 slabs")
    parser.add_argument("--rate", type=float, help="peak learning rate")
    parser.add_argument("--bf16", action="store_true", help="half precision where it is safe")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    localize = args.network == "localize"
    args.width = args.width or (0.125 if localize else 0.25)
    args.batch = args.batch or (2 if localize else 20)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    (train_localize if localize else train_refine)(args)


if __name__ == "__main__":
    main()
