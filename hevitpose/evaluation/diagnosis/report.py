"""A diagnosis as text."""

from __future__ import annotations

from collections.abc import Iterable

from hevitpose.data.registry import labels_of
from hevitpose.errors import on_one_line
from hevitpose.evaluation.diagnosis.labels import TYPES
from hevitpose.evaluation.diagnosis.result import Diagnosis
from hevitpose.text_table import counted, left_out

#: What has been corrected after each step.
STEP_NAMES = {
    "baseline": "as predicted",
    "miss": "miss",
    "swap": "swap",
    "inversion": "inversion",
    "jitter": "jitter",
    "score": "score",
    "bckgd_false_pos": "background false positives",
    "false_neg": "false negatives",
}


def render(found: Diagnosis) -> str:
    """The tables of a diagnosis: joints by type, what each type costs, scores."""
    lines = counted(found.people_counts, found.skipped)
    if found.rescored is not None:
        lines += left_out(found.rescored.skipped, of=found.rescored.fitted_on)
    parts = [
        f"{found.dataset} (rules: {found.rules}): {found.detections} detections, "
        f"{found.people} people who count, {found.matched} detections matched, "
        f"{found.keypoints} labelled joints of theirs",
        *labels_of(found.dataset),
        "\n".join(map(on_one_line, lines)),
        "\n".join(_joints(found)),
        "\n".join(_costs(found)),
    ]
    notes = _notes(found)
    if notes:
        parts.append("\n".join(notes))
    return "\n\n".join(parts)


def _joints(found: Diagnosis) -> Iterable[str]:
    yield "joint            " + "".join(f"{name:>11}" for name in (*TYPES, "labelled"))
    totals = found.joint_counts.sum(0)
    for name, column, total in zip(
        found.layout.names, found.joint_counts.T.tolist(), totals, strict=True
    ):
        yield f"{name:<17}" + "".join(f"{count:>11}" for count in (*column, total))
    sums = found.joint_counts.sum(1).tolist()
    yield f"{'all':<17}" + "".join(f"{count:>11}" for count in (*sums, sum(sums)))
    if found.keypoints:
        shares = (f"{100 * count / found.keypoints:>10.1f}%" for count in sums)
        yield f"{'share':<17}" + "".join(shares)
    else:
        yield f"{'share':<17}" + f"{'–':>11}" * len(sums) + "   no labelled joint was matched"


def _costs(found: Diagnosis) -> Iterable[str]:
    ap = found.metric == "AP"
    single = sorted({key for step in found.steps for key in step.at}, key=float)
    heads = [found.metric, *(f"AP{100 * float(key):.0f}" for key in single), "gain"]
    heads += ["alone"] if found.alone else []
    yield f"{'corrected, one after another':<30}" + "".join(f"{head:>10}" for head in heads)
    base = found.steps[0].value
    for step in found.steps:
        alone = found.alone.get(step.name, -1.0)
        cells = [
            _value(step.value, ap),
            *(_value(step.at[key], ap) for key in single),
            _gain(step.cost, ap),
        ]
        if found.alone:
            cells.append(_gain(None if min(alone, base) < 0 else alone - base, ap))
        yield f"{STEP_NAMES[step.name]:<30}" + "".join(f"{cell:>10}" for cell in cells)


def _notes(found: Diagnosis) -> list[str]:
    notes = []
    if found.background is not None:
        wrong, missed = found.background
        notes.append(
            "background, after all corrections, at OKS 0.5: "
            f"false positives {wrong}, false negatives {missed}"
        )
    if found.scores is not None:
        notes.append(
            f"scores: {found.scores.errors} of {found.scores.people} people with several "
            "detections have the highest score on another than the best one"
        )
    if found.calibration is not None and found.calibration.error is not None:
        notes.append(
            f"calibration: a score is {found.calibration.error:.3f} away from the OKS of its "
            f"detection, averaged over {found.calibration.detections} detections (ECE)"
        )
    elif found.metric == "AP":
        notes.append("calibration: none (no detections, or scores outside 0..1)")
    if found.rescored is not None:
        error = found.rescored.error
        notes.append(
            f"rescored by an isotonic function of {found.rescored.fitted_on} "
            f"({found.rescored.detections} detections): AP {_value(found.rescored.ap, True)}, "
            f"ECE {'–' if error is None else f'{error:.3f}'}"
        )
    return notes


def _value(value: float, ap: bool) -> str:
    if value < 0:
        return "–"
    return f"{value:.3f}" if ap else f"{value:.1f}"


def _gain(gain: float | None, ap: bool) -> str:
    if gain is None:
        return ""
    return f"{gain:+.3f}" if ap else f"{gain:+.1f}"
