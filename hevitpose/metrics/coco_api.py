"""Content in COCO's format in the hands of pycocotools and xtcocotools.

What is given here was checked by a reader: truth is that of
:func:`hevitpose.data.truth.coco_truth`, results are those of
:func:`hevitpose.data.readers.results.check_results`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

#: People a photograph that COCO's evaluators look at, by descending score.
MAX_DETECTIONS = 20


def limited(
    truth: dict[str, Any], results: Sequence[dict[str, Any]], image_ids: Collection[int] | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Copies of truth and results, of some images or of all; people are numbered from 1.

    pycocotools takes an annotation of id 0 for "not matched".
    """
    wanted = None if image_ids is None else frozenset(image_ids)

    def kept(entries: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
        return [dict(entry) for entry in entries if wanted is None or entry[key] in wanted]

    people = kept(truth["annotations"], "image_id")
    for number, person in enumerate(people, 1):
        person["id"] = number
    content = {"info": {}} | truth | {"images": kept(truth["images"], "id"), "annotations": people}
    return content, kept(results, "image_id")


def indexed(coco: type, content: dict[str, Any]) -> Any:
    """A COCO object of either library over content in memory."""
    api = coco()
    api.dataset = content
    api.createIndex()
    return api


def with_results(coco: type, truth: Any, results: list[dict[str, Any]]) -> Any:
    """A COCO object over results; unlike ``loadRes`` it takes an empty list."""
    if results:
        return truth.loadRes(results)
    return indexed(coco, truth.dataset | {"annotations": []})


def stats(evaluator: Any, max_detections: int) -> list[float]:
    """What either library's evaluator says, with so many people a photograph."""
    evaluator.params.maxDets = [max_detections]
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.params.maxDets = [MAX_DETECTIONS]  # by which its summary finds its only column
    evaluator.summarize()
    return [float(value) for value in evaluator.stats]
