"""Trains one network and writes its averaged weights.

    python -m pulmonode_training.train localize --data DIR --scans DIR --minutes 12 --out DIR
    python -m pulmonode_training.train refine   --data DIR --scans DIR --minutes 12 --out DIR --hard DIR/hard.json

With --fold K, fold K of five is kept out; without, every nodule trains. A run that was cut off
goes on from its checkpoint in --out; --start begins with another run's weights instead.

The loss is the paper's, log DL + 0.2 FL + CL (equations 8 to 10), with its traps disarmed:
- log DL has no lower end as the Dice tends to 1: 0.05 is added. A nodule that is missed wholly
  still pulls, so DL itself is added too.
- Dice is that of each sample, not of the batch, where large nodules would rule; a slab without
  nodule has none and is taught by the focal term.
- the focal loss is a mean over valid pixels, not a sum, and its factor is set for that; alpha
  weighs the foreground with 0.75: the paper's 0.25 falls on the rare class.
- the classification loss as printed has no negative term; with a softmax over two classes, as
  here, it is the cross-entropy and needs none.
- what a crop does not hold was padded and is masked out of every term.
- stage 1 has one term more, the share of each nodule that is missed: in a cube with several
  nodules the Dice and focal terms are the largest one's, and small ones were found by half.
"""
from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from .composites import Background, Cubes, SlabBatch, Slabs
from .data import find_series, read_nodules, read_scan, split
from .networks import PRESETS, MSUNet, MUNet, difference
from .options import constructor, defaults, parse
from .search import candidates, probability

REAL_SCANS = ("LIDC-IDRI-0001", "LIDC-IDRI-0002")
CHECKPOINT_SECONDS = 60
# Of the slabs of stage 2; the others teach it what is no nodule.
POSITIVE_SHARE = 0.7
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
    p, inside = torch.sigmoid(z), (truth > 0).float()
    dice = dice_loss(p, inside)
    weight = truth.flatten(1).sum(1)  # the number of nodules
    some = weight > 0
    focal = focal_loss(z, inside).mean()
    # Dice and focal term are those of the largest nodule of a cube: here each counts the same.
    missed = 1 - (p * truth).flatten(1).sum(1)[some] / weight[some]
    # A cube without a nodule has a Dice term too: any alarm in it makes that term 1.
    loss = (dice * torch.where(some, 1.0, 0.2)).mean() + 20 * focal
    if not some.any():
        return loss, {"focal": focal.item()}
    return loss + missed.mean(), {"dice": 1 - dice[some].mean().item(), "missed": missed.mean().item(), "focal": focal.item()}


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
    loss = (torch.log(dice + 0.05) + dice).mean() + 4 * focal + 0.5 * described + 0.5 * nodule
    return loss, {"dice": 1 - dice.mean().item(), "described": described.item(), "nodule": nodule.item()}


def recalibrate(net: nn.Module, batches) -> None:
    """Batch norm statistics of the averaged weights, on training pictures."""
    net.train()
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for x in batches:
            net(x)
    net.eval()


class Run:
    """A training run: the rate's schedule, averaged weights, checkpoints that it goes on from.

    Its length is a number of steps, or of minutes where --minutes is given. The rate rises over
    the first 6 % and falls along a cosine ("cycle"), or falls to a third whenever the loss of
    1/40 of the run is no better than the best of five such before ("plateau", as in the paper).
    """

    KEPT = ("step", "spent", "extra", "falls", "epochs", "epoch", "last")

    def __init__(self, net: nn.Module, args: argparse.Namespace, peak_rate: float, decay: float,
                 rng: np.random.Generator):
        self.net, self.out, self.rng = net, Path(args.out), rng
        self.length, self.timed = (args.minutes * 60, True) if args.minutes else (args.steps, False)
        self.peak_rate, self.decay, self.device, self.bf16 = peak_rate, decay, args.device, args.bf16
        self.plateau = args.schedule == "plateau"
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=peak_rate, weight_decay=1e-2)
        self.mean, self.step, self.spent, self.saved = copy.deepcopy(net), 0, 0.0, 0.0
        self.falls, self.epochs, self.epoch, self.last = 0, [], [], None
        self.extra: dict = {}
        self.out.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.out / f"{args.network}.checkpoint.pt"
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
            self.net.load_state_dict(state["net"])
            self.mean.load_state_dict(state["mean"])
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"].cpu())
            rng.bit_generator.state = json.loads(state["generator"])
            for name in self.KEPT:
                setattr(self, name, state.get(name, getattr(self, name)))
            tqdm.write(f"going on from step {self.step}, {self.spent:.0f} s")

    def save(self) -> None:
        part = self.checkpoint.with_suffix(".part")
        torch.save({"net": self.net.state_dict(), "mean": self.mean.state_dict(),
                    "optimizer": self.optimizer.state_dict(), "random": torch.get_rng_state(),
                    "generator": json.dumps(self.rng.bit_generator.state),
                    **{name: getattr(self, name) for name in self.KEPT}}, part)
        part.replace(self.checkpoint)
        self.saved = self.spent

    @property
    def done(self) -> float:
        return self.spent if self.timed else self.step

    @property
    def progress(self) -> float:
        return self.done / self.length

    def _rate(self, loss: float | None) -> float:
        f = self.progress
        warm = min(1.0, f / 0.06)
        if not self.plateau:
            return max(warm if f < 0.06 else 0.5 * (1 + math.cos(math.pi * (f - 0.06) / 0.94)), 0.01)
        if loss is not None:
            self.epoch.append(loss)
        if f * 40 >= len(self.epochs) + 1 and self.epoch:
            self.epochs.append(float(np.mean(self.epoch)))
            self.epoch = []
            if len(self.epochs) > 5 and min(self.epochs[-5:]) >= min(self.epochs[:-5]):
                self.falls += 1
                self.epochs = self.epochs[-1:] * len(self.epochs)
        return max(warm * 3.0 ** -self.falls, 0.01)

    def steps(self, loss_of):
        """Trains until the run is over; `loss_of(net)` returns the loss and its parts."""
        bar = tqdm(total=round(self.length), initial=round(self.done), unit="s" if self.timed else "step", mininterval=10)
        recent: dict[str, list[float]] = {}
        while self.progress < 1:
            begun = time.monotonic()
            rate = self._rate(self.last)
            for group in self.optimizer.param_groups:
                group["lr"] = self.peak_rate * rate
            self.net.train()
            with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
                loss, parts = loss_of(self.net)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimizer.step()
            self.step, self.last = self.step + 1, loss.item()
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
            bar.update(round(self.done) - bar.n)
            if self.spent - self.saved > CHECKPOINT_SECONDS:
                self.save()
            yield
        bar.close()
        self.save()


def backgrounds(args: argparse.Namespace) -> tuple[list[Background], list[float]]:
    """The right lungs of the real scans (their nodules lie in the left) and whole phantoms, which
    together count as one real lung."""
    real = [Background.right_lung(replace(read_scan(find_series(Path(args.scans) / name)), name=name))
            for name in REAL_SCANS] if args.scans else []
    folders = sorted(f for f in Path(args.phantoms).iterdir() if any(f.glob("*.dcm"))) if args.phantoms else []
    made = [Background(read_scan(f)) for f in folders]
    if not real and not made:
        raise ValueError("nothing to paste nodules into: give --scans, or --phantoms (`pulmonode phantom --nodules 0` makes one)")
    tqdm.write(f"backgrounds: {len(real)} right lungs, {len(made)} phantoms")
    return real + made, [1.0] * len(real) + [1.0 / len(made) for _ in made]


def hard_places(args: argparse.Namespace, known: list[Background]) -> list[list[tuple[float, float, float]]]:
    """Places (z,y,x at 1 mm) of each background that an earlier run took for nodules."""
    hard = json.loads(Path(args.hard).read_text()) if args.hard else {}
    return [[tuple(c) for c in hard.get(bg.scan.name, [])] for bg in known]


def mine(net: MUNet, cubes: Cubes, device: str, threshold: float = 0.15) -> None:
    """Adds the false alarms on every background to the places that training goes back to."""
    net.eval()

    @torch.no_grad()
    def run(x: np.ndarray) -> np.ndarray:
        return torch.sigmoid(difference(net(torch.from_numpy(x).to(device))))[:, None].cpu().numpy()

    for bg, hard in zip(cubes.backgrounds, cubes.hard):
        p = probability(run, bg.volume.astype(np.float32), bg.lung)
        found = candidates(p, threshold)[:60]
        tqdm.write(f"{bg.scan.name}: {len(found)} false alarms, best {[round(c.score, 2) for c in found[:5]]}")
        hard.extend(c.centre for c in found)


def network(args: argparse.Namespace) -> nn.Module:
    """MU-Net, MSU-Net or the baseline that --baseline names, with the options of preset and command line."""
    return constructor(args.network, args.baseline)(**args.options)


def train_localize(args: argparse.Namespace) -> None:
    rng = np.random.default_rng(args.seed)
    nodules = read_nodules(Path(args.data))
    cubes = Cubes([nodules[i] for i in split(nodules, args.fold).train], *backgrounds(args), rng)
    tqdm.write(f"{len(cubes.cutouts)} nodules")
    net = network(args)
    net.head.bias.data = torch.tensor([2.0, -2.0])
    if args.start:
        net.load_state_dict(torch.load(args.start, weights_only=True))
    net = net.to(args.device, memory_format=torch.channels_last_3d)
    run = Run(net, args, args.rate or 2e-3, 0.99, rng)
    cubes.hard = run.extra.get("hard") or hard_places(args, cubes.backgrounds)
    mined = run.extra.get("mined", 0)

    def batch() -> tuple[Tensor, Tensor]:
        x, truth = cubes.batch(args.batch)
        return x.to(args.device), truth.to(args.device)

    def finished() -> MUNet:
        mean = copy.deepcopy(run.mean)
        recalibrate(mean, (batch()[0] for _ in range(min(40, args.steps))))
        return mean

    for _ in run.steps(lambda n: localize_loss(n, *batch())):
        if args.mining and mined < len(MINE_AT) and run.progress >= MINE_AT[mined]:
            mine(finished(), cubes, args.device)
            mined += 1
            run.extra.update(hard=cubes.hard, mined=mined)
            run.save()
    final = finished()
    torch.save(final.state_dict(), run.out / "localize.pt")
    if args.mining:
        mine(final, cubes, args.device)
    with open(run.out / "hard.json", "w") as f:
        json.dump({bg.scan.name: hard for bg, hard in zip(cubes.backgrounds, cubes.hard)}, f)


def train_refine(args: argparse.Namespace) -> None:
    rng = np.random.default_rng(args.seed)
    nodules = read_nodules(Path(args.data))
    slabs = Slabs([nodules[i] for i in split(nodules, args.fold).train], *backgrounds(args), rng)
    slabs.hard = hard_places(args, slabs.backgrounds)
    net = network(args)
    if args.start:
        net.load_state_dict(torch.load(args.start, weights_only=True))
    net = net.to(args.device, memory_format=torch.channels_last)
    run = Run(net, args, args.rate or 3e-3, 0.998, rng)
    positives = round(args.batch * POSITIVE_SHARE)

    def batch() -> SlabBatch:
        b = slabs.batch(positives, args.batch - positives)
        return SlabBatch(*(t.to(args.device) for t in (b.slab, b.truth, b.valid, b.labels, b.nodule)))

    for _ in run.steps(lambda n: refine_loss(n, batch())):
        pass
    recalibrate(run.mean, (batch().slab for _ in range(min(100, args.steps))))
    torch.save(run.mean.cpu().state_dict(), run.out / "refine.pt")


# What is shipped: half an hour and twenty minutes at the small width on one CPU core.
LENGTH = {"localize": {"steps": 4000, "batch": 2}, "refine": {"steps": 3200, "batch": 20}}


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=("localize", "refine"))
    parser.add_argument("--data", required=True, help="folder with nodules.npz and index.csv")
    parser.add_argument("--scans", help=f"folder with the unpacked CT series of {', '.join(REAL_SCANS)}, to paste nodules into")
    parser.add_argument("--phantoms", help="folder of nodule-free CT series to paste into as well")
    parser.add_argument("--hard", help="hard.json of a localize run: places that look like nodules")
    parser.add_argument("--no-mining", dest="mining", action="store_false", help="localize: don't look for its own false alarms, as comparisons on crops of nodules need none")
    parser.add_argument("--fold", type=int, help="keep fold K of five out, 0 to 4 (default: train on all)")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small", help="paper: its widths, tasks and schedule; small: what is shipped; quick: to try the commands")
    parser.add_argument("--baseline", help='refine: another network, such as "2.5D S-/U-Net"')
    parser.add_argument("--width", type=float, help="share of the published channel counts, instead of the preset's")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the network (see networks.py), such as heads=encoder, measured=no, decoder_gates=1,2; may be repeated")
    parser.add_argument("--steps", type=int, help="length of the run (default 4000 for localize, 3200 for refine)")
    parser.add_argument("--minutes", type=float, help="length of the run by the clock instead")
    parser.add_argument("--schedule", choices=("cycle", "plateau"), help="of the learning rate (default: the preset's)")
    parser.add_argument("--out", required=True, help="folder for checkpoints and weights")
    parser.add_argument("--start", help="weights (.pt) to begin with")
    parser.add_argument("--batch", type=int, help="default 2 cubes, 20 slabs")
    parser.add_argument("--rate", type=float, help="peak learning rate")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--fp32", action="store_true", help="no half precision")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(words)
    try:
        of = constructor(args.network, args.baseline)
        args.options = {k: v for k, v in PRESETS[args.preset][args.network].items() if k in defaults(of)}
        if args.width:
            args.options["width"] = args.width
        args.options.update(parse(of, args.option))
        with torch.device("meta"):
            network(args)
    except ValueError as e:
        parser.error(str(e))
    args.steps = args.steps or LENGTH[args.network]["steps"]
    args.batch = args.batch or LENGTH[args.network]["batch"]
    args.schedule = args.schedule or ("plateau" if args.preset == "paper" else "cycle")
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    args.bf16 = not args.fp32
    return args


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    try:
        (train_localize if args.network == "localize" else train_refine)(args)
    except KeyboardInterrupt:
        sys.exit("stopped: the same command goes on from the last minute")


if __name__ == "__main__":
    main()
