"""Accuracy tables: one per dataset and split, published and measured rows side by side."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from hevitpose.data.registry import ROWS, Declared
from hevitpose.markdown import plain
from hevitpose.records import Record
from reports import ablation
from reports.captions import about_data, shared, start_words
from reports.load import (
    PCKH_JOINTS,
    Measured,
    gflops,
    h_by_w,
    input_size,
    is_plain_network,
    metric,
    newest,
    params_m,
    seed_number,
)
from reports.output.text import MISSING, Column, Table, TableCell, number, show_estimate
from reports.published import Number, Published
from reports.recipe import departures
from reports.settings import origin_of, setting

#: What every accuracy table shows, measured or not.
OWN_NETWORKS = ("hevitpose_t", "hevitpose_s", "hevitpose_b")
DISPLAY = {
    "hevitpose_nano": "HEViTPose-nano",
    "hevitpose_t": "HEViTPose-T",
    "hevitpose_s": "HEViTPose-S",
    "hevitpose_b": "HEViTPose-B",
    "pose_resnet50": "ResNet-50",
    "pose_resnext50": "ResNeXt-50",
    "pose_resnest50": "ResNeSt-50",
    "pose_hrnet_w32": "HRNet-W32",
    "pose_mobilenetv2": "MobileNetV2",
    "pose_shufflenetv2": "ShuffleNetV2",
    "pose_swin_s": "Swin-S",
    "pose_pvtv2_b2": "PVTv2-B2",
    "pose_efficientvit_m4": "EfficientViT-M4",
    "vitpose_s": "ViTPose-S",
    "vitpose_b": "ViTPose-B",
    "hrformer_s": "HRFormer-S",
    "rtmpose_s": "RTMPose-s",
    "rtmpose_m": "RTMPose-m",
    "pose_resnet50_nano": "ResNet-50-nano",
    "pose_hrnet_nano": "HRNet-nano",
    "rtmpose_nano": "RTMPose-nano",
    "vitpose_nano": "ViTPose-nano",
}
_LEGEND = (
    "Italic: published, as cited. Upright: measured by this suite; ± is half the 95% interval over "
    'n seeds. "–": the source does not say. ↑ higher is better, ↓ lower is better.'
)


class AccuracyTable(NamedTuple):
    """Which metrics a dataset's table shows."""

    name: str
    title: str
    declared: Declared
    split: str
    metrics: tuple[tuple[str, str, str], ...]  # record's name, heading, published field

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return self.declared.name


_PCKH = (*((joint, joint, joint.lower()) for joint in PCKH_JOINTS), ("Mean", "Mean", "mean"))
_STRICT = ("Mean@0.1", "Mean@0.1", "")
_AP = (("AP", "AP", "ap"), ("AP50", "AP50", "ap50"), ("AP75", "AP75", "ap75"))
OKS = (*_AP, ("APM", "AP (M)", "ap_m"), ("APL", "AP (L)", "ap_l"), ("AR", "AR", "ar"))
#: What a table shows by the dataset's protocol, in the order of the tables.
_METRICS = {
    "pckh": (*_PCKH, _STRICT),
    "oks": OKS,
    "crowdpose": (*_AP, *((f"AP_{x}", f"AP {x}", "") for x in ("easy", "medium", "hard"))),
    "pckh+oks": (*_PCKH, _STRICT, ("AP", "AP", "")),
}


def tables() -> Iterator[AccuracyTable]:
    """The accuracy tables that the registry's rows ask for."""
    for row in sorted(ROWS.values(), key=lambda row: list(_METRICS).index(row.protocol)):
        for name, (split, title) in row.reported.items():
            withheld = row.files is not None and split in row.files.withheld
            shown = tuple(m for m in _METRICS[row.protocol] if not (withheld and m == _STRICT))
            yield AccuracyTable(name, title, row, split, shown)


def accuracy_table(spec: AccuracyTable, measured: Measured, published: Published) -> Table:
    """One dataset's table: the published rows, then below each what was measured here."""
    with_boxes = spec.declared.protocol != "pckh"  # which gives centre and scale
    columns = [
        Column("model", "Model", numeric=False),
        Column("origin", "Origin", numeric=False),
        Column("input", "Input (H x W)", numeric=False),
        *([Column("boxes", "Boxes", numeric=False)] if with_boxes else []),
        Column("params_m", "Params (M)", "down"),
        Column("gflops", "GFLOPs (mmcv)", "down"),
        *(Column(name, heading, "up") for name, heading, _ in spec.metrics),
        Column("seeds", "n"),
    ]
    groups = measured_groups(measured, spec.dataset, spec.split)
    rows: list[tuple[TableCell, ...]] = []
    shown: list[Record] = []
    sources: dict[str, None] = {}
    printed = list(published.of(spec.dataset, spec.split))
    for row in printed:
        sources[row.source] = None
        rows.append(_published_row(spec, published, row, with_boxes))
        is_last = not any(
            other.network == row.network for other in printed[printed.index(row) + 1 :]
        )
        if row.network and is_last:
            found = groups.pop(row.network, [])
            for group in found:
                rows.append(_measured_row(spec, measured, group, with_boxes))
                shown += group
            if not found and row.network in OWN_NETWORKS:
                rows.append(_missing_row(spec, row.model, with_boxes))
    for _, found in sorted(groups.items()):
        for group in found:
            rows.append(_measured_row(spec, measured, group, with_boxes))
            shown += group
    if not rows:
        rows += [_missing_row(spec, DISPLAY[network], with_boxes) for network in OWN_NETWORKS]
    return Table(
        spec.name,
        spec.title,
        tuple(columns),
        tuple(rows),
        caption=_caption(spec, shown),
        legend=(_LEGEND,),
        sources=tuple(published.cite(key) for key in sources),
        data=about_data(spec.dataset).strip() if shown else "",
    )


def _caption(spec: AccuracyTable, shown: Sequence[Record]) -> str:
    if not shown:
        return f"Nothing has been measured on {spec.dataset} {spec.split} yet."
    words = shared(shown)
    return (
        f"{about_data(spec.dataset)}Measured rows: boxes: {words['boxes']}; "
        f"flip test: {words['flip_test']}; decoder: {words['decoder']}; "
        f"checkpoint: {words['selection']}; data fingerprint "
        f"{words['fingerprint']}; commit {words['commit']}; {words['date']}."
    )


def measured_groups(measured: Measured, dataset: str, split: str) -> dict[str, list[list[Record]]]:
    """Per network, its accuracy records apart by setting: those of one row, one per seed.

    Only networks as they are named: alternatives belong to the ablation tables.
    """
    groups = measured.kept("groups", lambda: _group(measured))
    return {network: list(found) for network, found in groups.get((dataset, split), {}).items()}


def _group(measured: Measured) -> dict[tuple[str, str], dict[str, list[list[Record]]]]:
    by_setting: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for record in measured.of("evaluation"):
        data = record.dataset
        if data is not None and not record.axes and is_plain_network(record):
            key = (data.name, data.split, record.model, setting(record))
            by_setting[key].append(record)
    groups: dict[tuple[str, str], dict[str, list[list[Record]]]] = defaultdict(dict)
    for (dataset, split, network, _), runs in sorted(by_setting.items()):
        groups[dataset, split].setdefault(network, []).append(latest_per_seed(runs))
    return dict(groups)


def beside_published(groups: Iterable[Sequence[Record]]) -> Sequence[Record]:
    """Of a network's settings the one to stand beside published numbers; empty where none is.

    By the protocol first (ground-truth boxes, flip test), then the longest training, then the
    newest: a short trial or another protocol, run later, hides nothing.
    """

    def rank(runs: Sequence[Record]) -> tuple[bool, bool, float, datetime]:
        first, cost = runs[0], runs[0].train
        people = math.inf if _elsewhere(first) else 0.0
        if cost is not None and cost.steps:
            people = cost.steps * (cost.total_batch or 1)
        by_truth = first.dataset is not None and first.dataset.boxes == "gt"
        return by_truth, first.flip_test is True, people, max(r.started_at for r in runs)

    return max(groups, key=rank, default=())


def latest_per_seed(runs: Iterable[Record]) -> list[Record]:
    """One run per seed, the latest; ordered by seed."""
    by_seed: dict[int, list[Record]] = defaultdict(list)
    for record in runs:
        by_seed[seed_number(record)].append(record)
    return [r for _, same in sorted(by_seed.items()) if (r := newest(same)) is not None]


def _published_row(
    spec: AccuracyTable, published: Published, row: Number, with_boxes: bool
) -> tuple[TableCell, ...]:
    return (
        TableCell(row.model, kind="published"),
        TableCell(f"published [{published.sources[row.source].short}]", kind="published"),
        TableCell(row.input, kind="published"),
        *([TableCell(row.boxes or "not stated", kind="published")] if with_boxes else []),
        published.cell(row, "params_m", 2),
        published.cell(row, "gflops", 2),
        *(
            published.cell(row, field, 1) if field else TableCell("–", kind="published")
            for _, _, field in spec.metrics
        ),
        TableCell("–", kind="published"),
    )


def _missing_row(spec: AccuracyTable, model: str, with_boxes: bool) -> tuple[TableCell, ...]:
    return (
        TableCell(model),
        TableCell("measured here"),
        *([MISSING] * (3 + with_boxes)),
        *([MISSING] * len(spec.metrics)),
        TableCell("0", 0, "measured"),
    )


def _measured_row(
    spec: AccuracyTable, measured: Measured, group: Sequence[Record], with_boxes: bool
) -> tuple[TableCell, ...]:
    first = group[0]
    counts = measured.counts_of(first)
    by = (counts.id,) if counts else ()
    boxes = first.dataset.boxes if first.dataset else ""
    made_by = ", ".join(filter(None, _made_by(first, spec.dataset)))
    return (
        TableCell(DISPLAY.get(first.model, plain(first.model))),
        TableCell("measured here" + (f" ({plain(made_by)})" if made_by else "")),
        TableCell(h_by_w(input_size(first))),
        *([TableCell({"gt": "ground truth"}.get(boxes, plain(boxes)))] if with_boxes else []),
        number(params_m(counts), 2, records=by),
        number(gflops(counts), 2, records=by),
        *(score_cell(group, name) for name, _, _ in spec.metrics),
        TableCell(str(len(group)), len(group), "measured"),
    )


def _elsewhere(record: Record) -> str | None:
    """The sha256 of weights that no recorded training left: another config made them."""
    return record.weights if record.training is None else None


def _made_by(record: Record, dataset: str) -> Iterator[str]:
    """How long, from what and by which settings a row came about: rows of one table differ."""
    if weights := _elsewhere(record):
        yield f"weights {weights[:8]}"
    else:
        training = record.config.get("training")
        yield str(record.config.get("preset") or "")
        if (cost := record.train) is not None and cost.steps:
            yield f"{cost.steps:,} steps" + (
                f" of {cost.total_batch} people" if cost.total_batch else ""
            )
        yield start_words(str(training.get("start_from") or ""), dataset) if training else ""
        yield from departures(record, "training.batch_size")  # which the steps say
    origin = origin_of(record)
    yield origin.device if origin.device not in (None, "cpu") else ""
    yield "own modules" if origin.imports else ""
    yield "tuned" if record.tuned else ""
    yield "no flip test" if record.flip_test is False else ""


def score_cell(group: Sequence[Record], name: str) -> TableCell:
    """Mean over the seeds of one setting; not measured where a seed lacks the metric."""
    ids = tuple(r.id for r in group)
    values = [value for r in group if (value := metric(r, name)) is not None]
    if not values or len(values) < len(group):
        return MISSING
    single = group[0] if len(group) == 1 else None
    return show_estimate(ablation.estimate(values, single, name), 1, ids)


def published_table(published: Published) -> Table:
    """Every published number, withdrawn ones too, with status and footnotes."""
    fields = (
        ("params_m", "Params (M)", "down", 2), ("gflops", "GFLOPs", "down", 2),
        ("mean", "PCKh@0.5", "up", 1), ("ap", "AP", "up", 1), ("ap50", "AP50", "up", 1),
        ("ar", "AR", "up", 1),
    )  # fmt: skip
    rows = [
        (
            TableCell(row.model, kind="published"),
            TableCell(row.dataset if row.dataset != "none" else "–", kind="published"),
            TableCell(row.split, kind="published"),
            TableCell(row.input, kind="published"),
            *(published.cell(row, name, digits) for name, _, _, digits in fields),
            TableCell(row.status, kind="published"),
            TableCell(published.sources[row.source].short, kind="published"),
        )
        for row in published.numbers
    ]
    return Table(
        "published",
        "Published numbers, as cited",
        (
            Column("model", "Model", numeric=False),
            Column("dataset", "Dataset", numeric=False),
            Column("split", "Split", numeric=False),
            Column("input", "Input (H x W)", numeric=False),
            *(Column(name, title, way) for name, title, way, _ in fields),  # type: ignore[arg-type]
            Column("status", "Status", numeric=False),
            Column("source", "Source", numeric=False),
        ),
        tuple(rows),
        sources=tuple(published.cite(key) for key in {r.source: None for r in published.numbers}),
    )
