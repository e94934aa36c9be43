"""Numbers from papers: typed, cited, and never without their cautions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from hevitpose import yaml_file
from hevitpose.data.registry import ROWS
from hevitpose.errors import DataError
from hevitpose.files import content
from hevitpose.models.spec import model_names
from reports.invalid import one_line
from reports.output.text import Reference, TableCell

_LIMIT = 16 * 2**20  # bytes
ROOT = Path(__file__).resolve().parent.parent / "results" / "published"

JOINTS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
NUMBERS = (
    "params_m", "gflops", *JOINTS, "mean", "ap", "ap50", "ap75", "ap_m", "ap_l", "ar",
    "fps_gpu", "fps_cpu", "latency_cpu_ms", "latency_gpu_ms",
)  # fmt: skip
#: Whose rows are of networks with so many keypoints.
_DATASETS = {16: "mpii", 17: "coco"}


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


def _words(value: Any) -> Any:
    return tuple(value.split()) if isinstance(value, str) else value


_Percent = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Percent = Annotated[_Percent | None, BeforeValidator(_empty_is_none)]
Positive = Annotated[_Positive | None, BeforeValidator(_empty_is_none)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """What can be cited."""

    short: str  # as tables show it
    title: str
    year: int | None = None
    url: Annotated[str, Field(pattern=r"^https://[A-Za-z0-9./_-]+$")] | None = None
    doi: Annotated[str, Field(pattern=r"^10\.[0-9]+/[A-Za-z0-9./_-]+$")] | None = None

    @model_validator(mode="after")
    def _has_link(self) -> Source:
        if not (self.url or self.doi):
            raise ValueError("neither url nor doi")
        return self

    @property
    def link(self) -> str:
        """Where it can be read."""
        return f"https://doi.org/{self.doi}" if self.doi else self.url or ""


class Caution(_Strict):
    """What must be said beside certain fields."""

    fields: tuple[str, ...] | Literal["all"]
    text: str

    @model_validator(mode="after")
    def _known_fields(self) -> Caution:
        for name in () if self.fields == "all" else self.fields:
            if name not in NUMBERS:
                raise ValueError(f"unknown key {name!r}")
        return self


class Number(_Strict):
    """One statement: a model on a dataset, with everything printed about it.

    Raises:
        pydantic.ValidationError: a number out of range, a status that contradicts how the number
            was obtained, or a network this project does not have.
    """

    model: Annotated[str, Field(min_length=1)]
    network: str = ""  # this project's name for it; empty where it has none
    dataset: str  # of the registry, or "none" of what is no score
    split: Literal["val", "test", "test-dev", "complexity"]
    input: Annotated[str, Field(pattern=r"^[1-9][0-9]*x[1-9][0-9]*$")]  # H x W
    params_m: Positive = None
    gflops: Positive = None
    head: Percent = None
    shoulder: Percent = None
    elbow: Percent = None
    wrist: Percent = None
    hip: Percent = None
    knee: Percent = None
    ankle: Percent = None
    mean: Percent = None
    ap: Percent = None
    ap50: Percent = None
    ap75: Percent = None
    ap_m: Percent = None
    ap_l: Percent = None
    ar: Percent = None
    fps_gpu: Positive = None
    fps_cpu: Positive = None
    latency_cpu_ms: Positive = None
    latency_gpu_ms: Positive = None
    status: Literal["current", "superseded", "misattributed", "measured from a figure"]
    how: Literal["printed", "computed", "figure"]
    from_figure: Words = ()  # fields read off a figure
    boxes: str = ""
    cautions: Words = ()
    source: str

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Number:
        if self.network and self.network not in model_names():
            raise ValueError(f"network {self.network!r} is not one of this project's networks")
        if self.dataset not in (*ROWS, "none"):
            raise ValueError(f"dataset {self.dataset!r} is not in the registry")
        if (self.how == "figure") != (self.status == "measured from a figure"):
            raise ValueError(f"how {self.how!r} contradicts status {self.status!r}")
        for name in self.from_figure:
            if name not in NUMBERS or getattr(self, name) is None:
                raise ValueError(f"from_figure names {name!r}, which has no value")
        if all(getattr(self, name) is None for name in NUMBERS):
            raise ValueError("no number given, expected one of " + ", ".join(NUMBERS))
        if self.ap is not None and self.ap50 is not None and self.ap > self.ap50:
            raise ValueError(f"ap {self.ap} above ap50 {self.ap50}")
        return self

    @property
    def withdrawn(self) -> bool:
        """Whether the number stands no longer, so that no comparison or plot may show it."""
        return self.status in ("superseded", "misattributed")

    @property
    def side(self) -> int:
        """The longer side of the input in pixels."""
        return max(int(part) for part in self.input.split("x"))


@dataclass(frozen=True)
class Published:
    """Every published number, with its sources and cautions."""

    numbers: tuple[Number, ...]
    sources: dict[str, Source]
    cautions: dict[str, Caution]

    def of(self, dataset: str, split: str | None = None) -> Iterator[Number]:
        """Rows of one dataset (and split), but for superseded and misattributed ones."""
        for row in self.numbers:
            if row.dataset == dataset and split in (None, row.split) and not row.withdrawn:
                yield row

    def counts(self, network: str, size: tuple[int, int], keypoints: int) -> Number | None:
        """Parameters and GFLOPs of a network: the first printed row, else one read off a figure.

        Args:
            network: this project's name for it.
            size: (W, H) of the input.
            keypoints: of the dataset whose rows count: a network's last layer has one map for each.
        """
        dataset, size_text = _DATASETS.get(keypoints), f"{size[1]}x{size[0]}"
        rows = [
            row
            for row in self.numbers
            if (row.network, row.dataset, row.input) == (network, dataset, size_text)
            and row.params_m is not None
            and not row.withdrawn
        ]
        return min(rows, key=lambda row: bool(row.from_figure), default=None)

    def cell(self, row: Number, name: str, digits: int) -> TableCell:
        """A number as a table shows it, with every footnote that belongs to it."""
        value = getattr(row, name)
        if value is None:
            return TableCell("–", kind="published")
        return TableCell(f"{value:.{digits}f}", value, "published", notes=self.notes(row, name))

    def notes(self, row: Number, name: str) -> tuple[str, ...]:
        """The cautions about one field of a row."""
        found = []
        for key in row.cautions:
            caution = self.cautions[key]
            if caution.fields == "all" or name in caution.fields:
                found.append(caution.text)
        return tuple(found)

    def cite(self, key: str) -> Reference:
        """A source as tables cite it."""
        source = self.sources[key]
        year = f", {source.year}" if source.year else ""
        return Reference(source.short, source.title + year, source.link)


def load(root: Path = ROOT) -> Published:
    """Reads and validates ``results/published``.

    Raises:
        DataError: a file is absent or not what its schema says; the message has file and line.
    """
    sources = _read_yaml(root / "sources.yaml", Source)
    cautions = _read_yaml(root / "cautions.yaml", Caution)
    path = root / "numbers.csv"
    numbers = []
    try:
        text = content(path, _LIMIT, "numbers of papers").decode("utf-8")
        reader = csv.DictReader(io.StringIO(text, newline=""), restkey="surplus")
        for line, row in enumerate(reader, start=2):
            numbers.append(_number(path, line, row, sources, cautions))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    seen: dict[tuple[str, ...], int] = {}
    for line, number in enumerate(numbers, start=2):
        about = (number.model, number.dataset, number.split, number.input)
        key = (*about, number.source, _filled(number))
        if key in seen:
            raise DataError(f"{path}:{line}: states the same as line {seen[key]}")
        seen[key] = line
    return Published(tuple(numbers), sources, cautions)


def _filled(row: Number) -> str:
    return " ".join(name for name in NUMBERS if getattr(row, name) is not None)


def _number(
    path: Path, line: int, row: Any, sources: dict[str, Source], cautions: dict[str, Caution]
) -> Number:
    try:
        number = Number.model_validate(row)
        if number.source not in sources:
            raise ValueError(f"source: {number.source!r} is not in sources.yaml")
        for key in number.cautions:
            if key not in cautions:
                raise ValueError(f"cautions: {key!r} is not in cautions.yaml")
    except (ValidationError, ValueError) as error:
        raise DataError(f"{path}:{line}: {one_line(error)}") from None
    return number


def _read_yaml(path: Path, kind: type[Any]) -> dict[str, Any]:
    try:
        return TypeAdapter(dict[str, kind]).validate_python(yaml_file.read(path))  # type: ignore[valid-type]
    except ValidationError as error:
        raise DataError(f"{path}: {one_line(error)}") from None


@cache
def published() -> Published:
    """The committed numbers, read once."""
    return load()
