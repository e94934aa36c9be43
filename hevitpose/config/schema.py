"""The schema: every section and key, its type, its range, and the ids that it decides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_type_hints

from pydantic import (
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from hevitpose.config.conditions import parse_condition
from hevitpose.config.overrides import parse_overrides, put
from hevitpose.config.renamed import todays_name, with_first_names, with_todays_names
from hevitpose.config.section import IdKind, Section, free, ids_of, inputs_of, scored, shared
from hevitpose.config.start import start_kind
from hevitpose.data.registry import ROWS, is_custom, is_rendered
from hevitpose.errors import UsageError, unknown_name
from hevitpose.models.spec import (
    PEERS,
    STRIDE_MULTIPLE,
    VARIANTS,
    HEViTPoseSpec,
    full_name,
    resolve,
)
from hevitpose.sizes import LARGEST_SIDE

#: What torch's generators take; NumPy's take more.
LARGEST_SEED = 2**64 - 1


class _ModelFields(Section):
    name: str = "hevitpose_b"
    num_keypoints: int | None = Field(None, ge=1)  # None: the dataset's
    checkpoint: Path | None = free(None)  # weights to evaluate; whose they are is in the id

    @model_validator(mode="after")
    def _resolve_now(self) -> _ModelFields:
        full_name(self.name)
        if full_name(self.name) not in PEERS:
            self.spec()
        elif self.options():
            key = next(iter(self.options()))
            raise UsageError(f"model.{key}: {self.name} is a peer and has no such option")
        return self

    def options(self) -> dict[str, Any]:
        """The fields of :class:`~hevitpose.models.spec.HEViTPoseSpec` that were given."""
        own = set(_ModelFields.model_fields)
        return {k: v for k, v in self if k not in own and v is not None}

    def changes(self) -> dict[str, Any]:
        """The options whose value is not the variant's own: what makes it another network."""
        own = VARIANTS.get(full_name(self.name))
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in self.options().items()}
        return {
            k: list(v) if isinstance(v, tuple) else v
            for k, v in given.items()
            if own is None or getattr(own, k) != v
        }

    def spec(self) -> HEViTPoseSpec:
        """The network, completely."""
        return resolve(self.name, **self.options())


#: Keys of ``model`` that are no options of the network.
NETWORK_FIELDS = frozenset(_ModelFields.model_fields)

_spec_types = get_type_hints(HEViTPoseSpec)
if TYPE_CHECKING:
    ModelConfig: TypeAlias = Any  # its fields are made below
else:
    #: ``model``: a name, and any field of :class:`~hevitpose.models.spec.HEViTPoseSpec`.
    ModelConfig = create_model(
        "ModelConfig",
        __base__=_ModelFields,
        **{f.name: (_spec_types[f.name] | None, None) for f in fields(HEViTPoseSpec)},
    )


class DataConfig(Section):
    """``data``: which people, cropped how."""

    # A name of the registry, or the yaml of a custom dataset; what it declares is in the ids.
    dataset: str = free("synthetic")
    root: Path | None = free(None)  # the folder that holds coco/, mpii/, ...; see folder
    train_split: str = "train"
    # Who is scored; minival: the training people whom training.selection=minival holds out.
    val_split: str = scored("val")
    input_size: tuple[int, int] = shared((256, 256))  # W, H
    # "gt", or a detector's json, whose sha256 is in the evaluation's id.
    box_source: str = free("gt")
    box_threshold: float = scored(0.0, ge=0)
    present_only: bool = shared(False)  # leave out people whose image is absent, and count them
    skip_bad: bool = shared(False)  # leave out what cannot be read, and list it in the record
    minival: float = Field(0.05, gt=0, lt=1)  # share of training images held out for selection
    people: int = free(5000, ge=20)  # synthetic: how many; in the ids by the fingerprint
    image_size: int = free(256, ge=64)  # synthetic: side of an image; likewise
    workers: int | None = free(None, ge=0)  # None: by the machine
    eval_batch_size: int = free(64, ge=1)

    @property
    def folder(self) -> Path:
        """The root, ``data`` (``data/synthetic`` for synthetic people) where none was given."""
        if self.root is not None:
            return self.root
        return Path("data/synthetic" if is_rendered(self.dataset) else "data")

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if self.dataset not in ROWS and not is_custom(self.dataset):
            raise unknown_name("dataset", self.dataset, ROWS)
        if self.box_threshold and self.box_source == "gt":  # one number under two ids
            raise UsageError(
                f"data.box_threshold: {self.box_threshold:g} has no effect, data.box_source=gt; "
                "expected 0, or a detector's json (--boxes FILE)"
            )
        for axis, side in zip("WH", self.input_size, strict=True):
            if side < STRIDE_MULTIPLE or side % STRIDE_MULTIPLE:
                raise UsageError(
                    f"data.input_size: {axis} = {side}, expected a multiple of {STRIDE_MULTIPLE}"
                )
            if side > LARGEST_SIDE:
                raise UsageError(
                    f"data.input_size: {axis} = {side}, expected at most {LARGEST_SIDE} pixels"
                )
        return self


class CodecConfig(Section):
    """``codec``: keypoints to heatmaps and back."""

    method: Literal["standard", "unbiased", "udp"] = shared("standard")
    sigma: float = Field(2.0, gt=0)  # heatmap pixels
    decoder: Literal["argmax", "default", "default-1x", "dark", "udp", "udp-1x"] = scored("default")
    simcc_split_ratio: float = shared(2.0, gt=0)  # bins per pixel
    simcc_sigma: tuple[float, float] = (4.9, 5.66)  # bins, x and y; RTMPose's at 192x256 (W x H)

    @property
    def udp(self) -> bool:
        """Whether crops follow the unbiased data processing geometry."""
        return self.method == "udp"

    @model_validator(mode="after")
    def _check(self) -> CodecConfig:
        if (self.method == "udp") != self.decoder.startswith("udp"):
            raise UsageError(
                f"codec: method {self.method!r} with decoder {self.decoder!r}; "
                "udp encodes and decodes together"
            )
        if min(self.simcc_sigma) <= 0:
            raise UsageError(f"codec.simcc_sigma: {list(self.simcc_sigma)}, expected > 0")
        return self


class AugmentationConfig(Section):
    """``training.augmentation``: constants of MMPose 0.29's top-down pipelines."""

    flip: float = Field(0.5, ge=0, le=1)  # probability
    scale: float = Field(0.5, ge=0, lt=1)  # factor clip(N(0,1) * scale + 1, 1 - scale, 1 + scale)
    rotation: float = Field(40.0, ge=0)  # degrees clip(N(0,1) * r, -2r, 2r)
    rotation_probability: float = Field(0.6, ge=0, le=1)
    shift: float = Field(0.16, ge=0)  # of the box; COCO and CrowdPose only
    shift_probability: float = Field(0.3, ge=0, le=1)
    half_body: float = Field(0.3, ge=0, le=1)  # probability; COCO and CrowdPose only


class TrainingConfig(Section):
    """``training``: the recipe. Defaults are the ``paper`` preset."""

    # PRESET:DATASET, a training's id, a file or "imagenet"; in the id by what it names.
    start_from: str | None = free(None)
    epochs: float = Field(210, gt=0, le=1e6)
    steps: int | None = Field(None, ge=1, le=10**9)  # a fixed number of steps, instead of epochs
    batch_size: int = Field(64, ge=1)  # per device
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    lr: float = Field(5e-4, gt=0)  # at base_batch; scales linearly with the total batch
    base_batch: int | None = Field(None, ge=1)  # None: batch_size, so one device is unscaled
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float | None = Field(None, gt=0)
    warmup_steps: int = Field(500, ge=0)
    warmup_ratio: float = Field(0.001, gt=0, le=1)
    schedule: Literal["step", "cosine", "constant"] = "step"
    milestones: tuple[float, ...] = (170, 200)  # epochs
    gamma: float = Field(0.1, gt=0, le=1)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    threads: int = Field(2, ge=1, le=4096)  # changes float results, so it is in the id
    deterministic: bool = True
    channels_last: bool = True
    fast_form: bool = True  # of the network, with the same parameters
    joint_weights: bool = False  # the layout's weights of the loss, MPII's
    sync_bn: bool = True  # with several devices
    eval_every: float = Field(10, gt=0)  # epochs between evaluations; the end is always evaluated
    selection: Literal["last", "minival", "val"] = "minival"
    checkpoint_steps: int | None = free(None, ge=1)  # None: one epoch or a tenth of the run
    # csv is curve.csv, which every run has; others are Lightning's (tensorboard, wandb, ...).
    loggers: tuple[str, ...] = free(("csv",))
    augmentation: AugmentationConfig = AugmentationConfig()

    @field_validator("milestones")
    @classmethod
    def _not_before_the_start(cls, epochs: tuple[float, ...]) -> tuple[float, ...]:
        if min(epochs, default=0) < 0:
            raise UsageError(f"training.milestones: {list(epochs)}, expected epochs from 0")
        return epochs

    @field_validator("start_from")
    @classmethod
    def _has_a_form(cls, text: str | None) -> str | None:
        if text is not None:
            start_kind(text)
        return text


class EvaluationConfig(Section):
    """``evaluation``: how trained weights are scored, under which NAME:LEVEL of conditions.py."""

    flip_test: bool = scored(True)
    nms_threshold: float = scored(0.9, gt=0, le=1)  # OKS above which the lower score is dropped
    # People a photograph that count for AP; COCO's evaluators have 20.
    max_detections: int = Field(20, ge=1, json_schema_extra={"ids": ["evaluation"], "neutral": 20})
    condition: str | None = Field(None, json_schema_extra={"ids": ["evaluation"], "neutral": None})

    @field_validator("condition")
    @classmethod
    def _plain_at_level_0(cls, text: str | None) -> str | None:
        condition = None if text is None else parse_condition(text)
        return None if condition is None else str(condition)


class Config(Section):
    """One run, completely."""

    preset: str | None = free(None)  # which preset it started from; its values are what counts
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    codec: CodecConfig = CodecConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    device: Literal["auto", "cpu", "cuda"] = free("auto")  # its type is in the ids
    devices: int = free(1, ge=1)  # per node; the total batch is in the id
    nodes: int = free(1, ge=1)  # likewise
    imports: tuple[Path, ...] = free(())  # users' own modules; their sha256 is in the ids

    @model_validator(mode="after")
    def _check(self) -> Config:
        if "occluders" in (self.evaluation.condition or "") and not is_rendered(self.data.dataset):
            why = f"occluders are for rendered people, {self.data.dataset} has photographs"
            raise UsageError(f"evaluation.condition: {why}, expected data.dataset=synthetic")
        return self

    @property
    def total_batch(self) -> int:
        """Images per optimiser step over all devices."""
        return self.training.batch_size * self.devices * self.nodes

    @property
    def learning_rate(self) -> float:
        """The rate after linear scaling with the total batch."""
        base = self.training.base_batch or self.training.batch_size
        return self.training.lr * self.total_batch / base

    def id_inputs(self, kind: IdKind) -> dict[str, Any]:
        """The fields that decide a training, or the condition of an evaluation, by section.

        The network is not among them (:func:`hevitpose.records.identity.model_inputs`).
        """
        inputs = with_first_names(inputs_of(self, kind, without="model"))
        if kind == "training":
            inputs["total_batch"] = self.total_batch
            every = self.training.checkpoint_steps
            if self.training.selection != "last" and every is not None:
                # Evaluations fall on its multiples, so other checkpoints compete.
                inputs["training"]["checkpoint_steps"] = every
        return inputs

    def for_selection(self) -> Config:
        """The config with the decoder that belongs to its encoder, by which checkpoints compete."""
        decode = "udp" if self.codec.method == "udp" else "default"
        return self.with_overrides({"codec.decoder": decode})

    def of_weights(self) -> dict[str, Any]:
        """What a file of trained weights says of its training, as plain json data.

        Only what decides the weights, so that equal trainings leave equal files: neither paths nor
        settings of the evaluation; the decoder is the one that belongs to the encoder. Under the
        keys' first names (:mod:`hevitpose.config.renamed`), so that it stays what it was.
        """
        data = self.for_selection().model_dump(mode="json")
        kept = {"model": {k: v for k, v in data["model"].items() if v is not None}}
        kept["model"].pop("checkpoint", None)
        for name in ("data", "codec", "training"):
            section = type(getattr(self, name)).model_fields
            kept[name] = {
                k: data[name][k] for k, field in section.items() if "training" in ids_of(field)
            }
        kept["data"]["dataset"] = Path(self.data.dataset).name
        kept["codec"]["decoder"] = data["codec"]["decoder"]
        return with_first_names(kept | {"seed": self.seed})

    def resume_inputs(self) -> dict[str, Any]:
        """What decides a training, but for the data, by section: a resume must have the same."""
        model = {"name": full_name(self.model.name), **self.model.changes()}
        return self.id_inputs("training") | with_first_names({"model": model})

    @property
    def digest(self) -> str:
        """sha256 of :meth:`resume_inputs`."""
        text = json.dumps(self.resume_inputs(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def dump(self) -> dict[str, Any]:
        """The resolved config as plain json data, unset model options left out."""
        data = self.model_dump(mode="json")
        data["model"] = {k: v for k, v in data["model"].items() if v is not None}
        return data

    def with_overrides(self, overrides: Sequence[str] | Mapping[str, Any]) -> Config:
        """A copy with some keys replaced (``["training.lr=1e-3"]`` or ``{"training.lr": 1e-3}``).

        Raises:
            UsageError: unknown key, or a value of another type or out of range.
        """
        data = self.dump()
        given = overrides if isinstance(overrides, Mapping) else parse_overrides(overrides)
        for key, value in given.items():
            put(data, todays_name(key), value)
        return parse_config(data, "override")


def parse_config(data: Mapping[str, Any], where: str) -> Config:
    """Plain data to a :class:`Config`.

    Args:
        data: sections of keys.
        where: what the data came from, for the error's first word.

    Raises:
        UsageError: one line with every offending key, its value, and what was expected.
    """
    try:
        return Config.model_validate(with_todays_names(data))
    except ValidationError as error:
        problems = [_problem(item) for item in error.errors(include_url=False)]
        raise UsageError(f"{where}: " + "; ".join(problems)) from error
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _problem(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        section: Any = Config
        for part in item["loc"][:-1]:
            section = section.model_fields[part].annotation
        return str(unknown_name(f"config key {key}", str(item["loc"][-1]), section.model_fields))
    return f"{key}: {item['input']!r}: {item['msg']}"
