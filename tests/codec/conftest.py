"""MMPose's own targets and answers."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def reference(samples):
    file = samples.parent / "reference" / "mmpose" / "codec.npz"
    if not file.is_file():
        pytest.skip(f"no reference codecs at {file} (set HEVITPOSE_SAMPLES to the data beside it)")
    return np.load(file)
