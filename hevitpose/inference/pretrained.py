"""Weights to take and weights to give: published files in, a folder with a model card out.

A network is only half of what is published; the other half is how its crops are made and its output
is read. Both travel in one safetensors file, and ``valid``, ``predict`` and ``export`` obey it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from hevitpose.config import parse_config
from hevitpose.config.renamed import with_first_names
from hevitpose.config.start import start_kind
from hevitpose.cost.complexity import count, meta_copy
from hevitpose.data.keypoints import LAYOUTS, assumed, require_same_order
from hevitpose.data.registry import ROWS, labels_of
from hevitpose.errors import UsageError, notice_once
from hevitpose.files import write_atomically
from hevitpose.markdown import code, escape_markdown
from hevitpose.models.checkpoint import PretrainedFrom, save_checkpoint
from hevitpose.models.keypoints import KeypointLayout
from hevitpose.models.published import PUBLISHED_SIZE, Foreign, read_published
from hevitpose.models.spec import WEIGHTS
from hevitpose.models.trained import earlier_trainings
from hevitpose.records.identity import file_digest

if TYPE_CHECKING:
    from hevitpose.records.schema import Record

#: Licence of published weights, by whose code wrote the file.
LICENCES = {"MMPose": "apache-2.0", "ViTPose": "apache-2.0"}


def from_published(
    name: str,
    path: Path | str,
    *,
    input_size: tuple[int, int] = PUBLISHED_SIZE,
    num_keypoints: int | None = None,
    layout: KeypointLayout | None = None,
) -> nn.Module:
    """A peer with the weights that its publisher's file holds, in evaluation mode.

    Args:
        name: a peer that others publish (``hevitpose.models.keytables.KEY_MAPS``).
        path: an MMPose 1.x or 0.x checkpoint, or ViTPose's own. Nothing in it is executed.
        input_size: (W, H) the network is built for. ViTPose's positions are resized to it; the
            head of RTMPose belongs to the size it was trained for.
        num_keypoints: the file's own by default. For another number the head's last convolution
            starts anew.
        layout: what the keypoints mean, where the file does not say it (MMPose 0.x, ViTPose) or
            names keypoints that are none of ``hevitpose.data.keypoints.LAYOUTS``. By default what
            the file declares; where it declares nothing, the layout with that many keypoints.

    Returns:
        The network: heatmaps (N, K, H / 4, W / 4), or RTMPose's logits (N, K, 2 W), (N, K, 2 H).
        Its ``pretrained_from`` says how the publisher crops and decodes.

    Raises:
        UsageError: nobody publishes this network, the size does not fit it, the layout has another
            number of keypoints, or the file's keypoints are of no known layout and none is given.
        DataError: the file is damaged, unsafe, of another network, or its keypoints are in another
            order than the layout's.

    Warns:
        Notice: neither the file nor the caller says what the keypoints mean.
    """
    path = Path(path)
    found = read_published(name, path, input_size=input_size, num_keypoints=num_keypoints)
    return with_settings(found, path, input_size, _layout_of(found, path, layout))


def _layout_of(found: Foreign, path: Path, given: KeypointLayout | None) -> KeypointLayout | None:
    """What a file's keypoints mean: as it declares, as the caller says, or by their number."""
    count = int(found.model.num_keypoints)  # type: ignore[arg-type]
    if given is not None and len(given) != count:
        raise UsageError(
            f"layout: {given.name} has {len(given)} keypoints, {path.name} predicts {count}"
        )
    names = () if found.reset else found.keypoints  # a head that starts anew predicts others
    if given is None and names:
        same = [layout for layout in LAYOUTS.values() if layout.names == names]
        given = LAYOUTS.get(found.dataset) or next(iter(same), None)
        if given is None and all(len(layout) != count for layout in LAYOUTS.values()):
            notice_once(
                f"{path}: predicts the {count} keypoints of {found.dataset or 'a dataset'}, which "
                "no known layout has; Python predicts with from_published(..., layout=...)"
            )
            return None  # nobody could take them for another's
        if given is None or len(given) != count:
            raise UsageError(
                f"{path}: predicts the {count} keypoints of {found.dataset or 'a dataset'} "
                f"({', '.join(names[:3])}, ...), expected those of {', '.join(LAYOUTS)}; "
                f"Python takes others: from_published(..., layout=...)"
            )
    if given is not None:
        require_same_order(str(path), names, given)
        return given
    return assumed(path.name + (" with a new head" if found.reset else ""), count)


def with_settings(
    found: Foreign, path: Path, input_size: tuple[int, int], layout: KeypointLayout | None
) -> nn.Module:
    """The network of a published file, with its publisher's settings as ``pretrained_from``."""
    model = found.model
    config = published_config(model, found.origin, input_size, layout)
    source: dict[str, Any] = {"origin": found.origin, "file": path.name}
    source["sha256"] = file_digest(path)
    if found.reset:
        source["reset"] = list(found.reset)
    model.pretrained_from = PretrainedFrom(config, layout, source)  # type: ignore[assignment]
    return model


def published_config(
    model: nn.Module, origin: str, input_size: tuple[int, int], layout: KeypointLayout | None
) -> dict[str, Any]:
    """The sections of a run's config that its publisher's own evaluation of a network amounts to.

    Crops by the UDP geometry for ViTPose; decoders of the version that wrote the file: MMPose 1.x,
    or 0.29 for files of 0.x and of ViTPose's code, which is built on 0.24. The flip test shifts
    maps by a pixel unless they are UDP's or SimCC's, which the codecs do by themselves.
    """
    name = str(model.name)
    codec: dict[str, Any] = {}
    newer = origin == "MMPose 1.x"
    if model.codec == "simcc":
        # RTMPose's configs: 4.9, 5.66, 6, 6.93 bins for sides of 192, 256, 288, 384 pixels.
        sigma = [round(math.sqrt(side / 8), 2) for side in input_size]
        codec |= {"simcc_split_ratio": float(model.simcc_split_ratio), "simcc_sigma": sigma}  # type: ignore[arg-type]
    elif name.startswith("vitpose"):
        codec |= {"method": "udp", "decoder": "udp-1x" if newer else "udp", "sigma": 2.0}
    else:
        decoder = "default-1x" if newer else "default"
        codec |= {"method": "standard", "decoder": decoder, "sigma": 2.0}
    config: dict[str, Any] = {
        "model": {"name": name},
        "data": {"input_size": list(input_size)},
        "codec": codec,
        "evaluation": {"flip_test": True},
    }
    if layout is not None and layout == LAYOUTS.get(layout.name):
        config["data"]["dataset"] = layout.name
    parse_config(config, f"{origin} {name}")
    return with_first_names(config)


def save_pretrained(
    model: nn.Module,
    folder: Path | str,
    *,
    config: Mapping[str, Any] | None = None,
    records: Iterable[Record] = (),
    half: bool = False,
    notes: str = "",
) -> Path:
    """Write a network to a folder as the Hugging Face hub has it, and as ``from_pretrained`` reads.

    ``model.safetensors`` is complete in itself; ``README.md`` is the model card.

    Args:
        model: a network, from ``from_pretrained``, ``from_published`` or ``create_model``.
        folder: made where it is absent.
        config: of the run that trained it; by default what came with its weights.
        records: evaluations of these weights, and the training that left them, for the card.
            Nothing is measured here but counts of parameters and multiply-accumulates.
        half: weights as float16.
        notes: what the card says first: what the network is for, and what it is not.

    Returns:
        The folder.

    Raises:
        UsageError: a record is of another network.
        HEViTPoseError: it cannot be written.
    """
    folder = Path(folder)
    about = getattr(model, "pretrained_from", None) or PretrainedFrom({}, None, {})
    config, records = dict(about.config if config is None else config), list(records)
    for record in records:
        if record.model != model.name:
            raise UsageError(
                f"record {record.id} is of {record.model}, expected records of {model.name}"
            )
    source = {**_trained_by(records), **about.source}
    save_checkpoint(model, folder / WEIGHTS, config, about.layout, source, half=half)
    card = model_card(model, folder.name, config, source, records, notes)
    write_atomically(folder / "README.md", card)
    return folder


def model_card(
    model: nn.Module,
    name: str,
    config: Mapping[str, Any],
    source: Mapping[str, Any],
    records: list[Record],
    notes: str = "",
) -> str:
    """A model card: counts by convention, settings, where the weights come from, results."""
    settings = parse_config(config, "config") if config else None
    size = settings.data.input_size if settings else PUBLISHED_SIZE
    licence = LICENCES.get(_publisher(source))
    call = f"hevitpose.from_pretrained({json.dumps(name)})"
    lines = [
        "---",
        "library_name: hevitpose",
        "pipeline_tag: keypoint-detection",
        *([f"license: {licence}"] if licence else []),
        "---",
        "",
        f"# {escape_markdown(name)}",
        "",
        f"{code(model.name)}, {model.num_keypoints} keypoints. "
        f"{code(call, in_table=False)} gives the network.",
        "",
        *([notes, ""] if notes else []),
        "| | |",
        "| --- | --- |",
        f"| input (H x W) | {size[1]}x{size[0]}{'' if settings else ' (not said; counted at)'} |",
        *(f"| {key} | {value} |" for key, value in _counts(model, size)),
        *(f"| {key} | {value} |" for key, value in _settings(model, settings)),
        *(f"| recipe | {_recipe(r)} |" for r in records if r.kind == "training"),
        f"| weights from | {_origin(source, records)} |",
        f"| training data | {_training_data(config, source, records)} |",
        "",
        "## Results",
        "",
        *_results(records),
        "",
    ]
    return "\n".join(lines)


def _counts(model: nn.Module, size: tuple[int, int]) -> list[tuple[str, str]]:
    network = meta_copy(model)
    rows = []
    for convention in ("mmcv", "fvcore", "torch"):
        counted = count(network if convention == "mmcv" else model, size, convention)
        if convention == "mmcv":
            rows.append(("parameters", f"{counted.params / 1e6:.2f}M"))
        rows.append((f"GFLOPs ({convention})", f"{counted.flops / 1e9:.2f}"))
    return rows


def _settings(model: nn.Module, settings: Any) -> list[tuple[str, str]]:
    if settings is None:
        return []
    codec = settings.codec
    simcc = f"SimCC, {codec.simcc_split_ratio:g} bins a pixel, sigma {codec.simcc_sigma}"
    maps = f"heatmaps ({codec.method}, sigma {codec.sigma:g}), decoder {codec.decoder}"
    return [
        ("crop", f"{'UDP' if codec.udp else 'plain'} geometry, RGB, ImageNet mean and deviation"),
        ("output", simcc if getattr(model, "codec", "") == "simcc" else maps),
        ("flip test", "yes" if settings.evaluation.flip_test else "no"),
    ]


def _trained_by(records: Iterable[Record]) -> dict[str, Any]:
    """Where weights come from that a recorded training left; nothing where none is given."""
    training = next((r for r in records if r.kind == "training"), None)
    if training is None:
        return {}
    file = training.artifacts["model"].path
    return {"origin": f"training {training.id}", "file": file, "sha256": training.weights}


def _recipe(record: Record) -> str:
    """How a training went, by its record."""
    training, cost = record.config["training"], record.train
    assert cost is not None  # a training that succeeded says it
    start = training.get("start_from")
    parts = [
        f"training {code(record.id)}",
        f"from {escape_markdown(start)}" if start else "from random weights",
        f"{cost.steps} steps of {cost.total_batch} people, {cost.epochs:.1f} passes over "
        f"{cost.people}",
        f"{training['optimizer']}, learning rate {cost.lr:g}, {training['schedule']}",
        f"{cost.seconds / 60:.0f} minutes on "
        f"{escape_markdown(record.machine.cpu or 'a machine not named')}"
        if cost.seconds
        else "",
    ]
    return "; ".join(part for part in parts if part)


def _origin(source: Mapping[str, Any], records: list[Record]) -> str:
    anew = ", ".join(map(code, source.get("reset", ())))
    but = f"; {anew} started anew when they were loaded" if anew else ""
    if "file" in source:
        origin, sha256 = (source.get(key, "not said") for key in ("origin", "sha256"))
        where = f"{code(source['file'])} of {escape_markdown(origin)}"
        return f"{where}, sha256 {code(sha256)}{but}"
    ids = sorted({record.id for record in records if record.kind == "evaluation"})
    return (f"records {', '.join(map(code, ids))}" if ids else "not said") + but


def _publisher(source: Mapping[str, Any]) -> str:
    """Whose code wrote a published file (``MMPose``); empty where nobody's did."""
    first = str(source.get("origin", "")).partition(" ")[0]
    return first if first in LICENCES else ""


def _training_data(
    config: Mapping[str, Any], source: Mapping[str, Any], records: Iterable[Record]
) -> str:
    """What a training's own config says, and what the weights it started from had seen.

    A published file's has the keypoints' set, which may be another one.
    """
    if _publisher(source):
        return "as its publisher says"
    own = _dataset(config.get("data", {}).get("dataset"))
    trainings = [r for r in records if r.kind == "training"]
    starts = [(r.config.get("training") or {}).get("start_from") for r in trainings]
    said = next((r.config for r in trainings if r.id not in starts), config)
    before = [*_starts(said, records), *(_dataset(t.dataset) for t in earlier_trainings(source))]
    return f"{own}; before it {', '.join(dict.fromkeys(before))}" if before else own


def _starts(config: Mapping[str, Any], records: Iterable[Record]) -> Iterator[str]:
    """What the weights had seen that a training started from, the last first, as far as known."""
    known = {r.id: r.config for r in records if r.kind == "training"}
    start = (config.get("training") or {}).get("start_from")
    while start:
        yield _start_data(start, records)
        start = (known.pop(start, {}).get("training") or {}).get("start_from")


def _start_data(start: str, records: Iterable[Record]) -> str:
    kind = start_kind(start)
    if kind == "preset":
        return _dataset(start.partition(":")[2])
    if kind == "imagenet":
        return "ImageNet"
    first = next((r for r in records if r.id == start and r.dataset), None)
    if first is not None and first.dataset is not None:
        return _dataset(first.dataset.name)
    return f"what {code(Path(start).name)} was trained on"


def _dataset(dataset: str | None) -> str:
    if dataset not in ROWS:
        return escape_markdown(Path(dataset).name) if dataset else "not said"
    files, terms = ROWS[dataset].files, ROWS[dataset].terms
    return f"{dataset} ([page]({files.page}); {terms})" if files else f"{dataset} ({terms})"


def _results(records: list[Record]) -> list[str]:
    scored = [r for r in records if r.kind == "evaluation" and r.status == "ok"]
    if not scored:
        return ["None recorded."]
    lines = [
        "| data | boxes | people | flip test | decoder | metric | value | record |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for record in scored:
        data = record.dataset
        if data is None:
            continue
        for metric, value in record.metrics.items():
            if value is None:
                continue
            cells = (
                escape_markdown(f"{data.name} {data.split}"),
                "ground truth" if data.boxes == "gt" else escape_markdown(data.boxes),
                data.counts.get("people", "not said"),
                "yes" if record.flip_test else "no",
                escape_markdown(record.decoder or "not said"),
                escape_markdown(metric),
                f"{value:.3f}{_interval(record, metric)}",
                f"`{record.id}`",
            )
            lines.append(f"| {' | '.join(map(str, cells))} |")
    labels = labels_of(*(r.dataset.name for r in scored if r.dataset))
    return [*lines, *(line for label in labels for line in ("", f"{escape_markdown(label)}."))]


def _interval(record: Record, metric: str) -> str:
    found = record.intervals.get(metric)
    return f" [{found.low:.3f}, {found.high:.3f}], n = {found.n}" if found else ""


__all__ = ["from_published", "model_card", "save_pretrained"]
