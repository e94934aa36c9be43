"""What exists, as visible data: variants, alternatives, peers.

Torch-free, so that configuration, the command line, records and reports can name things without
loading a framework. Sizes are (W, H); a model's numbers are those of the reconstruction described
in ``docs/reconstruction.md``.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from hevitpose.errors import UsageError, unknown_name

#: Attention of a block, and which numbers of a spec each uses: the product of ``groups`` and
#: ``num_heads`` must divide a stage's channels, ``reductions`` its map's sides. ``cgsr`` is the
#: paper's; the others are the ablation's alternatives. A user's own has no rule here.
ATTENTIONS: dict[str, tuple[str, ...]] = {
    "cgsr": ("groups", "num_heads", "reductions"),
    "mhsa": ("num_heads",),
    "sra": ("num_heads", "reductions"),
    "linear-sra": ("num_heads",),
    "cga": ("groups",),
    "window": ("num_heads",),
    "none": (),
}
#: What stands between two stages. ``subsample-ope`` is the paper's.
DOWNSAMPLINGS = (
    "subsample-ope",  # [DWConv + FFN] -> inverted-residual subsampling with SE -> [DWConv + FFN]
    "subsample-only",  # the same without the two DWConv + FFN pairs
    "ope",  # convolution k3 s2 + LN: an overlapping embedding of PEOW 1
    "non-overlapping",  # convolution k2 s2 + LN: PEOW 0
    "patch-merging",  # Swin: 2x2 neighbours concatenated, LN, linear
    "max-pool",  # 2x2 max-pool + 1x1 convolution
)
#: The feed-forward network of a block.
FFNS = ("standard", "mix-ffn", "gated")
#: How the last stage's map (stride 16) becomes heatmaps (stride 4).
UPSAMPLERS = ("deconv", "pixel-shuffle", "bilinear")
#: Names of the exchangeable parts that are built in, by kind, which is the key of ``model`` too.
PARTS = {
    "attention": tuple(ATTENTIONS),
    "downsampling": DOWNSAMPLINGS,
    "ffn": FFNS,
    "upsampler": UPSAMPLERS,
}
#: Patch-embedding overlap widths of stage 1 (kernel K = PEOW + 4 at stride 4).
PEOWS = (0, 1, 3, 5)
#: Every side of an input must be a multiple of this.
STRIDE_MULTIPLE = 32
#: ImageNet's, of RGB in 0..1: every network is fed ``(x / 255 - MEAN) / STD``.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
#: Heatmaps are this much smaller than the input.
HEATMAP_STRIDE = 4
#: Name of the weights' file in the folder of a run, or of a network that ships.
WEIGHTS = "model.safetensors"


#: Options added after the first release, with the value that means the behaviour of before: there
#: they are left out of ids and of files of weights, so that old ids and files stay what they were.
NEUTRAL_OPTIONS: dict[str, Any] = {"norm": "layer"}


#: What a field's kind asks for, in words. Numbers in tuples are positive.
_EXPECTED = {
    "tuple[int, int, int]": "three positive integers",
    "tuple[int, int]": "two positive integers",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "a name",
}


def is_integer(value: object) -> bool:
    """Whether it is an integer of any library; true and false are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _has_kind(value: object, kind: str) -> bool:
    if kind.startswith("tuple"):
        return (
            isinstance(value, tuple)
            and len(value) == kind.count("int")
            and all(type(v) is int and v > 0 for v in value)
        )
    if isinstance(value, bool):
        return kind == "bool"
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}
    return isinstance(value, kinds.get(kind, ()))


@dataclass(frozen=True)
class HEViTPoseSpec:
    """One network, completely: three stages and a head.

    Tuples have one entry per stage. Every field is a config key (``model.attention=mhsa``).
    """

    widths: tuple[int, int, int]  # channels C
    depths: tuple[int, int, int]  # blocks L
    groups: tuple[int, int, int] = (2, 4, 8)  # channel groups G of CGSR-MHA
    reductions: tuple[int, int, int] = (8, 2, 1)  # spatial reduction R of keys and values
    num_heads: int = 4  # per group in CGSR-MHA; of mhsa, sra, linear-sra, window; cga has groups
    upsampler_channels: tuple[int, int] = (192, 96)
    peow: int = 3  # patch-embedding overlap width of stage 1
    attention: str = "cgsr"
    cascade: bool = True  # cgsr: group i also receives group i-1's output
    reduction_mode: str = "conv"  # cgsr: "conv" (kernel R, stride R) or "avg-pool"
    per_head_conv: bool = True  # cgsr: each head's own 1x1 convolution on q, k, v
    group_linear: bool = True  # cgsr: the Linear after each group's heads
    norm: str = "layer"  # cgsr: of a group's q, k, v and output; "batch" folds away for inference
    window: int = 8  # cga, window: side of a window in tokens
    downsampling: str = "subsample-ope"
    ffn: str = "standard"
    ffn_ratio: int = 2  # hidden channels / channels
    ffns_per_block: int = 2  # 1 drops the block's second FFN
    dwconv: bool = True  # the block's depthwise convolutions
    upsampler: str = "deconv"
    drop_path_rate: float = 0.0  # of the last block; rises linearly from 0
    zero_init_residual: bool = False  # last BN of residual branches starts at zero

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), str(field.type)
            if not _has_kind(value, kind):
                raise UsageError(f"model.{field.name}: {value!r:.80}, expected {_EXPECTED[kind]}")
        modes = ("conv", "avg-pool")
        if self.reduction_mode not in modes:
            raise unknown_name("model.reduction_mode", self.reduction_mode, modes)
        if self.norm not in ("layer", "batch"):
            raise unknown_name("model.norm", self.norm, ("layer", "batch"))
        if self.peow not in PEOWS:
            raise UsageError(f"model.peow: {self.peow!r}, expected one of {PEOWS}")
        if self.num_heads < 1 or self.window < 1 or self.ffn_ratio < 1:
            raise UsageError("model.num_heads, model.window, model.ffn_ratio: expected at least 1")
        if self.ffns_per_block not in (1, 2):
            raise UsageError(f"model.ffns_per_block: {self.ffns_per_block!r}, expected 1 or 2")
        if not 0 <= self.drop_path_rate < 1:
            raise UsageError(f"model.drop_path_rate: {self.drop_path_rate!r}, expected [0, 1)")
        self._check_divisions()

    def _check_divisions(self) -> None:
        used = ATTENTIONS.get(self.attention, ())
        for stage, (width, groups) in enumerate(zip(self.widths, self.groups, strict=True), 1):
            parts = {"groups": groups, "num_heads": self.num_heads}
            shares = {key: count for key, count in parts.items() if key in used}
            if width % math.prod(shares.values()):
                product = " x ".join(f"{key} {count}" for key, count in shares.items())
                raise UsageError(
                    f"model: stage {stage} has {width} channels, which {product} does not divide"
                )

    @property
    def side_multiple(self) -> int:
        """Sides of an input are multiples of this: every reduction then divides its map."""
        if "reductions" not in ATTENTIONS.get(self.attention, ()):
            return STRIDE_MULTIPLE
        steps = (stride * r for stride, r in zip((4, 8, 16), self.reductions, strict=True))
        return math.lcm(STRIDE_MULTIPLE, *steps)

    def attention_numbers(self, stage: int, block: int) -> dict[str, Any]:
        """The numbers that an attention can ask for by name, besides its channels ``dim``.

        Args:
            stage: 0, 1 or 2.
            block: the block's number over the whole network, from 0.
        """
        return {
            "num_heads": self.num_heads,
            "groups": self.groups[stage],
            "reduction": self.reductions[stage],
            "cascade": self.cascade,
            "reduction_mode": self.reduction_mode,
            "per_head_conv": self.per_head_conv,
            "group_linear": self.group_linear,
            "norm": self.norm,
            "window": self.window,
            "stage": stage,
            "block": block,
        }


def options_of(spec: HEViTPoseSpec) -> dict[str, Any]:
    """Every field of a spec, but for later ones that change nothing (:data:`NEUTRAL_OPTIONS`)."""
    return {
        key: value
        for key, value in asdict(spec).items()
        if key not in NEUTRAL_OPTIONS or value != NEUTRAL_OPTIONS[key]
    }


#: T, S and B of the paper (reconstructed), and a small one of ours for CPU-sized work.
VARIANTS = {
    "hevitpose_nano": HEViTPoseSpec(  # not in the paper
        widths=(32, 64, 96),
        depths=(1, 1, 1),
        groups=(2, 2, 2),
        reductions=(4, 2, 1),
        num_heads=2,
        upsampler_channels=(96, 48),
    ),
    "hevitpose_t": HEViTPoseSpec(widths=(64, 128, 192), depths=(1, 2, 3)),
    "hevitpose_s": HEViTPoseSpec(widths=(128, 160, 256), depths=(1, 3, 3)),
    "hevitpose_b": HEViTPoseSpec(widths=(128, 256, 384), depths=(1, 2, 3)),
}
#: The shapes of four peers at HEViTPose-nano's cost; built by ``hevitpose.models.peers.small``.
SMALL_PEERS = ("pose_resnet50_nano", "pose_hrnet_nano", "rtmpose_nano", "vitpose_nano")
#: Other networks with MMPose's heads, for comparison; built by ``hevitpose.models.peers``.
PEERS = (
    "pose_resnet50",
    "pose_resnext50",
    "pose_resnest50",
    "pose_hrnet_w32",
    "pose_mobilenetv2",
    "pose_shufflenetv2",
    "pose_swin_t",
    "pose_swin_s",
    "pose_swin_b",
    "pose_pvtv2_b2",
    "pose_efficientvit_m4",
    "vitpose_s",
    "vitpose_b",
    "hrformer_s",
    "rtmpose_s",
    "rtmpose_m",
    *SMALL_PEERS,
)
#: Those that predict SimCC's bins instead of heatmaps: ``codec.decoder`` is nothing to them.
SIMCC = ("rtmpose_s", "rtmpose_m", "rtmpose_nano")
#: What ``training.start_from`` may be instead of a file: a peer's backbone from timm's weights.
IMAGENET = "imagenet"


def model_names() -> tuple[str, ...]:
    """Every name that :func:`hevitpose.create_model` takes."""
    return (*VARIANTS, *PEERS)


def full_name(name: str) -> str:
    """``b`` or ``hevitpose_b`` to ``hevitpose_b``; a peer's name stays as it is.

    Raises:
        UsageError: no model has this name.
    """
    if not isinstance(name, str):
        raise UsageError(f"model: {name!r:.80}, expected a name")
    if f"hevitpose_{name}" in VARIANTS:
        return f"hevitpose_{name}"
    if name in VARIANTS or name in PEERS:
        return name
    raise unknown_name("model", name, (*model_names(), "nano", "t", "s", "b"))


def resolve(name: str, **overrides: object) -> HEViTPoseSpec:
    """A variant with some of its fields replaced.

    Args:
        name: a variant, ``hevitpose_b`` or short ``b``.
        overrides: fields of :class:`HEViTPoseSpec`; lists become tuples, numpy's integers Python's.

    Raises:
        UsageError: unknown variant, unknown option, or a value the network cannot have.
    """
    full = full_name(name)
    if full not in VARIANTS:
        raise UsageError(f"model {name!r} is a peer: HEViTPose's options do not apply to it")
    known = {field.name for field in fields(HEViTPoseSpec)}
    for key in overrides:
        if key not in known:
            raise unknown_name("model option", key, known)
    values = {key: _plain(value) for key, value in overrides.items()}
    return replace(VARIANTS[full], **values)  # type: ignore[arg-type]


def _plain(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    return int(value) if is_integer(value) else value  # type: ignore[call-overload]
