"""People found by torchvision's detectors, with weights that torchvision publishes."""

from __future__ import annotations

import http.client
from pathlib import Path

import numpy as np
import torch
from torchvision.models import detection, get_model, get_model_weights, list_models

from hevitpose.data.readers.detections import SMALLEST
from hevitpose.errors import DataError, UnavailableError, first_line, unknown_name
from hevitpose.files import exists
from hevitpose.inference.detectors import Found
from hevitpose.models import gate

#: Of those with at most 80 MB, the one with the highest AP on COCO (32.8).
DEFAULT = "fasterrcnn_mobilenet_v3_large_fpn"
#: Trained with batch norms without eps; torchvision sets it to 0 after loading.
_WITHOUT_EPS = frozenset(
    f"{name}_resnet50_fpn" for name in ("fasterrcnn", "maskrcnn", "keypointrcnn", "retinanet")
)


class TorchvisionDetector:
    """One of torchvision's detection networks, of which the people are kept.

    Args:
        name: e.g. ``fasterrcnn_resnet50_fpn_v2``.
        weights: its weights as torchvision publishes them (``.pth``); None takes them from
            torch's cache and fetches them on first use.
        device: ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        UsageError: torchvision has no such detector.
        UnavailableError: the weights are not there and cannot be fetched.
        DataError: the file is damaged or of another network.
    """

    def __init__(self, name: str, weights: Path | None = None, device: str = "cpu") -> None:
        known = list_models(module=detection)
        if name not in known:
            raise unknown_name("torchvision detector", name, known)
        published = get_model_weights(name).DEFAULT
        categories = published.meta["categories"]
        self._person, self._device = categories.index("person"), torch.device(device)
        network = get_model(name, weights=None, weights_backbone=None, num_classes=len(categories))
        path = weights or _cached(name, published.url)
        state = gate.tensors(path, gate.unpickle(path))
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            why = " ".join(str(error).split())[:200]
            raise DataError(f"{path}: not weights of torchvision's {name} ({why})") from None
        if name in _WITHOUT_EPS:
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eps = 0.0
        self._network = network.eval().to(self._device)

    def __call__(self, image: np.ndarray, /) -> Found:
        """The people in an image, (H, W, 3) uint8 RGB, best first."""
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        with torch.inference_mode():
            found = self._network([pixels.to(self._device).float() / 255])[0]
        corners = found["boxes"].float().cpu().numpy()
        boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
        large = (boxes[:, 2:] >= SMALLEST).all(axis=1)
        people = (found["labels"].cpu().numpy() == self._person) & large
        return Found(boxes[people], found["scores"].float().cpu().numpy()[people])


def _cached(name: str, url: str) -> Path:
    """The published file in torch's cache, fetched on first use.

    Raises:
        UnavailableError: it cannot be fetched.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if exists(path):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = path.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = first_line(str(error), type(error).__name__)
        raise UnavailableError(
            f"--detector torchvision:{name}: its weights cannot be fetched ({reason}); "
            f"fetch {url} elsewhere and put it at {path}, or give the file with --detector-weights"
        ) from None
    return path
