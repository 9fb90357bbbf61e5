"""Options of a network by their names on the command line: --option heads=encoder --option scales=0."""
from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

from torch import nn

from .baselines import BODIES, FORMS, Baseline
from .networks import MSUNet, MUNet

Constructor = Callable[..., nn.Module]
TRUTH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def constructor(network: str, baseline: str | None = None) -> Constructor:
    """MU-Net for "localize"; for "refine" MSU-Net or the baseline of that name, such as "2.5D S-/U-Net"."""
    if network == "localize":
        if baseline:
            raise ValueError("--baseline is for refine; the 3D U-Net is localize with --option scales=0 --option decoder_gates=")
        return MUNet
    if not baseline:
        return MSUNet
    form, _, body = baseline.partition("/")
    if form not in FORMS or body not in BODIES:
        raise ValueError(f"--baseline {baseline!r}: choose FORM/BODY of the forms {', '.join(FORMS)} and the bodies {', '.join(BODIES)}")
    return partial(Baseline, form, body)


def defaults(of: Constructor) -> dict[str, object]:
    return {p.name: p.default for p in inspect.signature(of).parameters.values() if p.default is not p.empty}


def parse(of: Constructor, words: list[str]) -> dict[str, object]:
    """NAME=VALUE, each read as what the constructor's default is. A tuple's items stand between
    commas; nothing after the = makes it empty."""
    known, out = defaults(of), {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name not in known:
            raise ValueError(f"--option {word}: write NAME=VALUE with a name of {', '.join(known)}")
        try:
            out[name] = _value(known[name], text)
        except (KeyError, ValueError):
            raise ValueError(f"--option {word}: {name} is {_kind(known[name])}; its default is {known[name]}") from None
    return out


def _value(default, text: str):
    if isinstance(default, bool):
        return TRUTH[text.lower()]
    if isinstance(default, tuple):
        return tuple(type(default[0])(item) for item in text.split(",") if item)
    return type(default)(text)


def _kind(default) -> str:
    return {bool: "yes or no", tuple: "a list with commas", int: "a whole number", float: "a number"}.get(type(default), "a word")
