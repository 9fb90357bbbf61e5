import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch  # noqa: E402

from pulmonode_training.composites import Background  # noqa: E402
from pulmonode_training.data import Nodule, Scan, read_nodules, write_nodules  # noqa: E402
from pulmonode_training.quick import phantom_nodules  # noqa: E402

torch.set_num_threads(1)


def sphere(diameter: float, patient: str = "p", spacing=(2.0, 0.7, 0.7), labels=(1, 1, 1, 1)) -> Nodule:
    half = diameter / 2
    axes = [np.arange(-half - m, half + m, d) for m, d in zip((2, 12, 12), spacing)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    inside = z ** 2 + y ** 2 + x ** 2 <= half ** 2
    return Nodule("n", patient, np.where(inside, 50, -850).astype(np.int16), inside.astype(np.float32), spacing, labels, diameter)


@pytest.fixture(scope="session")
def chest() -> Scan:
    """Two lungs of air in a block of soft tissue."""
    hu = np.full((120, 200, 260), 40, np.int16)
    hu[:, :6] = hu[:, -6:] = hu[:, :, :6] = hu[:, :, -6:] = -1000
    hu[10:110, 40:160, 20:110] = hu[10:110, 40:160, 150:240] = -850
    return Scan("chest", hu, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


@pytest.fixture(scope="session")
def right(chest) -> Background:
    return Background.right_lung(chest)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """The phantom's nodules, real ones of LIDC-IDRI, in the form that training reads."""
    out = tmp_path_factory.mktemp("nodules")
    write_nodules(out, phantom_nodules())
    return out


@pytest.fixture(scope="session")
def nodules(folder) -> list[Nodule]:
    return read_nodules(folder)


@pytest.fixture(scope="session")
def given() -> Path:
    """The nodules and scans that models are trained on, where they are at hand."""
    at = Path(os.environ.get("PULMONODE_DATA") or Path(__file__).parents[4] / "shared" / "data")
    if not (at / "lidc-nodules" / "nodules.npz").exists():
        pytest.skip("set PULMONODE_DATA to a folder with lidc-nodules/ and scans/ of LIDC-IDRI to check the reader of its XML against them")
    return at
