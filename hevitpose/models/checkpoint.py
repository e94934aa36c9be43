"""Weights on disk: safetensors with the network's description inside, loaded strictly.

A ``.safetensors`` file is complete: name, number of keypoints and every architecture number are in
its header, so that :func:`from_pretrained` needs nothing else. A Lightning ``.ckpt`` (for resuming
a run) is read for its weights too, with ``weights_only=True``: nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from hevitpose import files, json_file
from hevitpose.config.renamed import with_first_names, with_todays_names
from hevitpose.errors import DataError, UsageError, first_line
from hevitpose.files import write_if_other
from hevitpose.models import gate
from hevitpose.models.build import create_model
from hevitpose.models.keypoints import KeypointLayout
from hevitpose.models.onnx_file import EXPORTED, read_description, require_weights
from hevitpose.models.shipped import locate
from hevitpose.models.spec import MEAN, STD, options_of
from hevitpose.models.trained import Trained, earlier_trainings, own_training, require_source

FORMAT = "hevitpose-1"
METADATA = "hevitpose"
#: Prefix of the network's weights inside a Lightning checkpoint.
LIGHTNING_PREFIX = "model."
#: What every network here is fed.
INPUT = {"channels": "RGB", "mean": list(MEAN), "std": list(STD)}
#: The network of ``hevitpose predict`` and :class:`~hevitpose.PosePredictor` unless one is named.
DEFAULT_WEIGHTS = "hevitpose_nano"
#: The head's last layer, as all networks call it: what another number of keypoints starts anew.
LAST_LAYER = ("head.final.weight", "head.final.bias")


def describe(model: nn.Module) -> dict[str, Any]:
    """What rebuilds a network: name, number of keypoints, architecture numbers.

    Under the options' first names (:mod:`hevitpose.config.renamed`), as files of weights have them.
    """
    spec = getattr(model, "spec", None)
    return {
        "name": model.name,
        "num_keypoints": model.num_keypoints,
        "options": (
            with_first_names({"model": options_of(spec)})["model"]
            if spec is not None
            else dict(getattr(model, "options", {}))
        ),
    }


@dataclass(frozen=True)
class Stored:
    """What a checkpoint file holds."""

    state: dict[str, Tensor]
    model: dict[str, Any]  # see describe
    config: dict[str, Any]  # of the run that made it; may be empty
    layout: KeypointLayout | None  # what the keypoints mean
    source: dict[str, Any] = field(default_factory=dict)  # whose foreign weights; see trained.py
    exported: dict[str, Any] = field(default_factory=dict)  # of an ONNX file, which has no state

    @property
    def trained(self) -> Trained | None:
        """The training that left the weights, where the file says it."""
        return own_training(self.config, self.source)

    @property
    def earlier(self) -> list[Trained]:
        """The trainings on photographs that it started from."""
        return earlier_trainings(self.source)


@dataclass(frozen=True)
class PretrainedFrom:
    """What came with a network's weights, for whoever saves it again."""

    config: dict[str, Any]
    layout: KeypointLayout | None
    source: dict[str, Any]


def todays_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """A stored network's options, under today's names."""
    return with_todays_names({"model": dict(options)}).get("model", {})


def save_checkpoint(
    model: nn.Module,
    path: Path | str,
    config: Mapping[str, Any] | None = None,
    layout: KeypointLayout | None = None,
    source: Mapping[str, Any] | None = None,
    *,
    half: bool = False,
) -> Path:
    """Write a network's weights and description as one safetensors file, in one step.

    A file that holds just these already is left as it is.

    Args:
        model: a network of :func:`hevitpose.create_model`, or its training form.
        path: the file to write.
        config: the run's resolved config, kept beside the weights.
        layout: what the keypoints mean, so that a reader can name and draw them.
        source: of foreign weights, where they came from.
        half: floats as float16, half the size; they are float32 again once loaded.

    Raises:
        UsageError: a weight is too large for float16, or the network is another than
            :func:`from_pretrained` could build: a fused form, or none of this package.
        HEViTPoseError: the file cannot be written; nothing half-written is left.
    """
    path = Path(path)
    if not hasattr(model, "name") or getattr(model, "for_inference", False):
        kind = "a fused form" if hasattr(model, "name") else f"a {type(model).__name__}"
        raise UsageError(f"{path}: of {kind}, expected a network of create_model")
    description = {
        "format": FORMAT,
        "model": describe(model),
        "config": dict(config or {}),
        "layout": asdict(layout) if layout else None,
        "input": INPUT,
    }
    if source:
        description["source"] = dict(source)
    # One entry: safetensors writes several in an order of its own, and equal runs must be equal.
    metadata = {METADATA: json.dumps(description, sort_keys=True)}
    state = _untied(model.state_dict())
    if half:
        state = {key: _as_half(key, value) for key, value in state.items()}
    return write_if_other(path, to_safetensors(state, metadata))


def _untied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU, each with memory of its own, without which safetensors refuses them."""
    untied: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, value in state.items():
        tensor = value.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        untied[key] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return untied


def _as_half(key: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    halved = value.half()
    if not halved.isfinite().all():
        largest = float(value.abs().max())
        raise UsageError(f"{key}: a weight of {largest:.3g} does not fit float16 (largest 65504)")
    return halved


def read_checkpoint(path: Path | str) -> Stored:
    """Weights and descriptions of a ``.safetensors`` or Lightning ``.ckpt`` file.

    Args:
        path: the file, a folder that holds ``model.safetensors``, or a name that ships. Of an
            exported ``.onnx``, the descriptions alone.

    Raises:
        DataError: absent, truncated, malicious, or not one of ours.
    """
    path = locate(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".onnx":
        return _stored(path, None, read_description(path))
    return _read_lightning(path)


def _read_safetensors(path: Path) -> Stored:
    files.require_regular(path, gate.WHAT)
    gate.require_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}
    except Exception as error:  # a damaged header can fail anywhere inside the library
        why = first_line(str(error), type(error).__name__)
        raise DataError(f"{path}: not a readable safetensors file ({why})") from error
    if METADATA not in metadata:
        raise DataError(f"{path}: not a checkpoint of this project (no {METADATA!r} entry)")
    try:
        parts = json_file.parse(metadata[METADATA])
    except ValueError as error:
        raise DataError(f"{path}: its description is damaged ({error})") from error
    if not isinstance(parts, dict) or parts.get("format") != FORMAT:
        raise DataError(f"{path}: its description is not {FORMAT!r}")
    return _stored(path, state, parts)


def _stored(path: Path, state: dict[str, Tensor] | None, parts: Mapping[str, Any]) -> Stored:
    """Descriptions checked as far as reading them needs; a file may say anything."""
    state = {} if state is None else gate.tensors(path, state)
    model, config, layout = (parts.get(key) for key in ("model", "config", "layout"))
    source = parts.get("source", {})
    if not all(isinstance(part, dict) for part in (model, config, source)):
        raise DataError(f"{path}: its model and config are not descriptions")
    if parts.get("input", INPUT) != INPUT:
        raise DataError(f"{path}: is for inputs of {parts['input']!r}, expected {INPUT}")
    assert isinstance(config, dict) and isinstance(source, dict)
    require_source(path, source)
    data = config.get("data", {})
    if not isinstance(data, dict):
        raise DataError(f"{path}: its config's data are {data!r:.80}, expected a section")
    gate.require_size(path, data.get("input_size"))
    try:
        known = None if layout is None else KeypointLayout(**_tuples(layout))
    except (TypeError, ValueError, UsageError) as error:
        raise DataError(f"{path}: its keypoint layout cannot be read ({error})") from error
    exported = parts.get(EXPORTED, {}) if not state else {}
    return Stored(state, model, config, known, source, exported)  # type: ignore[arg-type]


def _tuples(value: Any) -> Any:
    """Lists, at any depth, as the tuples that were written."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return {k: _tuples(v) for k, v in value.items()} if isinstance(value, dict) else value


def _read_lightning(path: Path) -> Stored:
    data = gate.unpickle(path)
    if not isinstance(data, dict) or "hevitpose" not in data or "state_dict" not in data:
        raise DataError(f"{path}: not a checkpoint of this project (no 'hevitpose' entry)")
    state = {
        key.removeprefix(LIGHTNING_PREFIX): value
        for key, value in gate.tensors(path, data["state_dict"]).items()
        if key.startswith(LIGHTNING_PREFIX)
    }
    return _stored(path, state, gate.plain(path, data["hevitpose"]))


def load_weights(
    model: nn.Module, path: Path | str, *, reset_keypoints: bool = False
) -> tuple[str, ...]:
    """Load a checkpoint's weights into a network, strictly.

    Args:
        model: the network to fill.
        path: ``.safetensors`` or Lightning ``.ckpt``.
        reset_keypoints: allow another number of keypoints: the head's last layer is then
            initialised anew instead of loaded.

    Returns:
        Names of the entries that were reinitialised (empty without ``reset_keypoints``).

    Raises:
        DataError: the file is damaged, or its entries do not fit; missing, unexpected and
            differently shaped entries are listed.
    """
    stored = read_checkpoint(path)
    require_weights(path, stored.exported)
    state, description = stored.state, stored.model
    own = model.state_dict()
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    shapes = sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    reset: tuple[str, ...] = ()
    if description.get("num_keypoints") != model.num_keypoints and shapes:
        if not reset_keypoints:
            raise DataError(
                f"{path}: has {description.get('num_keypoints')} keypoints, the model "
                f"{model.num_keypoints}; ask for a reset of {', '.join(shapes)} to load the rest"
            )
        reset, shapes = tuple(shapes), []
    problems = [
        f"{what}: {', '.join(names[:8])}{f' and {len(names) - 8} more' * (len(names) > 8)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("shape", shapes))
        if names
    ]
    if problems:
        raise DataError(
            f"{path}: is a {description.get('name')}, does not fit {model.name}; "
            + "; ".join(problems)
        )
    model.load_state_dict({**own, **{k: v for k, v in state.items() if k not in reset}})
    return reset


def from_pretrained(
    path: Path | str, *, num_keypoints: int | None = None, reset_keypoints: bool = False
) -> nn.Module:
    """The network of a checkpoint, in evaluation mode.

    Args:
        path: a file, a folder that holds ``model.safetensors``, or a name that ships.
        num_keypoints: another number of keypoints than the checkpoint's.
        reset_keypoints: initialise the head's last layer anew, from the global generator; needed
            for another number of keypoints. ``source["reset"]`` names what was.

    Returns:
        The network; its ``pretrained_from`` has the file's config, layout and source.

    Raises:
        DataError: the file is damaged or not ours.
        UsageError: it names a model that does not exist here, or an argument is of another kind.
    """
    if not isinstance(reset_keypoints, bool):
        raise UsageError(f"reset_keypoints: {reset_keypoints!r:.80}, expected true or false")
    stored = read_checkpoint(path)
    require_weights(path, stored.exported)
    description = stored.model
    try:
        name, trained = description["name"], int(description["num_keypoints"])
        options: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v
            for k, v in todays_options(description["options"]).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: its model description is incomplete ({error!r})") from error
    if not isinstance(name, str):
        raise DataError(f"{path}: its model's name is {name!r:.80}, expected a text")
    gate.require_described(
        Path(path), stored.state, options, lambda: create_model(name, trained, **options)
    )
    count = trained if num_keypoints is None else num_keypoints
    # Whatever is drawn is overwritten, unless the head is to start anew.
    model = create_model(name, count, seed=None if reset_keypoints else 0, **options)
    reset = LAST_LAYER if reset_keypoints else ()
    anew = {key: model.state_dict()[key].clone() for key in reset}
    load_weights(model, path, reset_keypoints=reset_keypoints)
    model.load_state_dict(anew, strict=False)
    layout, source = stored.layout, stored.source
    if anew:  # it predicts others
        layout, source = None, {**source, "reset": list(anew)}
    model.pretrained_from = PretrainedFrom(stored.config, layout, source)  # type: ignore[assignment]
    return model.eval()
