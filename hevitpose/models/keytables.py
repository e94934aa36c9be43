"""The names of published weights, as data: one table per family, pairs of (ours, theirs).

How a row is read: ``keymaps``. ``backbone.`` and ``head.`` are MMPose 1.x's; 0.x and ViTPose's
``keypoint_head.`` is read as ``head.``.
"""

from __future__ import annotations

from collections.abc import Iterable

from hevitpose.models.keymaps import (
    FIRST_ADDED,
    MERGED,
    POINTWISE,
    Q_AND_KV,
    SAME,
    KeyMap,
    Layout,
    Row,
)


def _rows(
    prefixes: tuple[str, str],
    table: Iterable[tuple[str | tuple[str, ...], str]],
    layout: Layout = SAME,
) -> tuple[Row, ...]:
    """Rows of pairs (ours, theirs), each after its prefix."""
    rows = []
    for ours, theirs in table:
        names = (ours,) if isinstance(ours, str) else ours
        rows.append(Row(tuple(prefixes[0] + name for name in names), prefixes[1] + theirs, layout))
    return tuple(rows)


def _deconv(layers: int) -> tuple[Row, ...]:
    """The heatmap head: `layers` transposed convolutions with their norms, and the last 1x1."""
    table: list[tuple[str | tuple[str, ...], str]] = [("final", "final_layer")]
    for i in range(layers):
        table += [(f"up{i + 1}.deconv", f"deconv_layers.{3 * i}")]
        table += [(f"up{i + 1}.norm", f"deconv_layers.{3 * i + 1}")]
    return _rows(("head.", "head."), table)


_BACKBONE = ("backbone.", "backbone.")
_NET = ("backbone.net.", "backbone.")  # ours is timm's network inside a module of our own

#: ResNet and ResNeXt: timm and MMPose both kept torchvision's names.
RESNET = KeyMap("MMPose", _rows(_BACKBONE, [("*", "*")]) + _deconv(3))

RESNEST = KeyMap(
    "MMPose",
    _rows(
        _BACKBONE,
        [
            ("conv1.0", "stem.0.conv"),
            ("conv1.1", "stem.0.bn"),
            ("conv1.3", "stem.1.conv"),
            ("conv1.4", "stem.1.bn"),
            ("conv1.6", "stem.2.conv"),
            ("bn1", "stem.2.bn"),
            # Elsewhere an average pooling comes first; at stride 1 MMPose leaves it out.
            ("layer1.0.downsample.1", "layer1.0.downsample.0"),
            ("layer1.0.downsample.2", "layer1.0.downsample.1"),
            ("*", "*"),
        ],
    )
    + _deconv(3),
)

HRNET = KeyMap("MMPose", _rows(_NET, [("*", "*")]) + _deconv(0))

MOBILENETV2 = KeyMap(
    "MMPose",
    _rows(
        _BACKBONE,
        [
            ("conv_stem", "conv1.conv"),
            ("bn1", "conv1.bn"),
            # The first block does not expand: depthwise, then projection.
            ("blocks.0.{b}.conv_dw", "layer1.{b}.conv.0.conv"),
            ("blocks.0.{b}.bn1", "layer1.{b}.conv.0.bn"),
            ("blocks.0.{b}.conv_pw", "layer1.{b}.conv.1.conv"),
            ("blocks.0.{b}.bn2", "layer1.{b}.conv.1.bn"),
            ("blocks.{s}.{b}.conv_pw", "layer{s+1}.{b}.conv.0.conv"),
            ("blocks.{s}.{b}.bn1", "layer{s+1}.{b}.conv.0.bn"),
            ("blocks.{s}.{b}.conv_dw", "layer{s+1}.{b}.conv.1.conv"),
            ("blocks.{s}.{b}.bn2", "layer{s+1}.{b}.conv.1.bn"),
            ("blocks.{s}.{b}.conv_pwl", "layer{s+1}.{b}.conv.2.conv"),
            ("blocks.{s}.{b}.bn3", "layer{s+1}.{b}.conv.2.bn"),
            ("conv_head", "conv2.conv"),
            ("bn2", "conv2.bn"),
        ],
    )
    + _deconv(3),
)

SHUFFLENETV2 = KeyMap(
    "MMPose",
    _rows(
        _BACKBONE,
        [
            ("stem.0.0", "conv1.conv"),
            ("stem.0.1", "conv1.bn"),
            ("stages.{s}.{b}.branch1.0", "layers.{s}.{b}.branch1.0.conv"),
            ("stages.{s}.{b}.branch1.1", "layers.{s}.{b}.branch1.0.bn"),
            ("stages.{s}.{b}.branch1.2", "layers.{s}.{b}.branch1.1.conv"),
            ("stages.{s}.{b}.branch1.3", "layers.{s}.{b}.branch1.1.bn"),
            ("stages.{s}.{b}.branch2.0", "layers.{s}.{b}.branch2.0.conv"),
            ("stages.{s}.{b}.branch2.1", "layers.{s}.{b}.branch2.0.bn"),
            ("stages.{s}.{b}.branch2.3", "layers.{s}.{b}.branch2.1.conv"),
            ("stages.{s}.{b}.branch2.4", "layers.{s}.{b}.branch2.1.bn"),
            ("stages.{s}.{b}.branch2.5", "layers.{s}.{b}.branch2.2.conv"),
            ("stages.{s}.{b}.branch2.6", "layers.{s}.{b}.branch2.2.bn"),
            ("last.0", "layers.3.conv"),
            ("last.1", "layers.3.bn"),
        ],
    )
    + _deconv(3),
)

SWIN = KeyMap(
    "MMPose",
    _rows(
        _NET,
        [
            ("patch_embed.proj", "patch_embed.projection"),
            ("patch_embed.norm", "patch_embed.norm"),
            ("layers.{s}.blocks.{b}.norm1", "stages.{s}.blocks.{b}.norm1"),
            ("layers.{s}.blocks.{b}.attn.*", "stages.{s}.blocks.{b}.attn.w_msa.*"),
            ("layers.{s}.blocks.{b}.norm2", "stages.{s}.blocks.{b}.norm2"),
            ("layers.{s}.blocks.{b}.mlp.fc1", "stages.{s}.blocks.{b}.ffn.layers.0.0"),
            ("layers.{s}.blocks.{b}.mlp.fc2", "stages.{s}.blocks.{b}.ffn.layers.1"),
            ("norm", "norm3"),
        ],
    )
    + _rows(  # timm counts a stage's downsampling to the stage it leads to
        ("backbone.net.layers.{s+1}.downsample.", "backbone.stages.{s}.downsample."),
        [("norm", "norm"), ("reduction", "reduction")],
        MERGED,
    )
    + _deconv(3),
    unused=(
        r"backbone\.norm[012]\.(weight|bias)",  # of outputs that the head does not read
        r".*\.relative_position_index",
    ),
)

_PVT_BLOCK = "backbone.stages.{s}.blocks.{b}.", "backbone.layers.{s}.1.{b}."
PVTV2 = KeyMap(
    "MMPose",
    _rows(
        _BACKBONE,
        [
            ("patch_embed.proj", "layers.0.0.projection"),
            ("patch_embed.norm", "layers.0.0.norm"),
            ("stages.{s}.downsample.proj", "layers.{s}.0.projection"),
            ("stages.{s}.downsample.norm", "layers.{s}.0.norm"),
            ("stages.{s}.norm", "layers.{s}.2"),
        ],
    )
    + _rows(
        _PVT_BLOCK,
        [
            ("norm1", "norm1"),
            ("attn.sr", "attn.sr"),
            ("attn.norm", "attn.norm"),
            ("attn.proj", "attn.attn.out_proj"),
            ("norm2", "norm2"),
            ("mlp.dwconv", "ffn.layers.1"),
        ],
    )
    + _rows(
        _PVT_BLOCK,
        [
            (("attn.q.weight", "attn.kv.weight"), "attn.attn.in_proj_weight"),
            (("attn.q.bias", "attn.kv.bias"), "attn.attn.in_proj_bias"),
        ],
        Q_AND_KV,
    )
    + _rows(_PVT_BLOCK, [("mlp.fc1", "ffn.layers.0"), ("mlp.fc2", "ffn.layers.4")], POINTWISE)
    + _deconv(3),
)

VIT = KeyMap(
    "MMPose",
    _rows(
        _NET,
        [
            ("pos_embed", "pos_embed"),
            ("patch_embed.proj", "patch_embed.projection"),
            ("blocks.{b}.norm1", "layers.{b}.ln1"),
            ("blocks.{b}.attn.qkv", "layers.{b}.attn.qkv"),
            ("blocks.{b}.attn.proj", "layers.{b}.attn.proj"),
            ("blocks.{b}.norm2", "layers.{b}.ln2"),
            ("blocks.{b}.mlp.fc1", "layers.{b}.ffn.layers.0.0"),
            ("blocks.{b}.mlp.fc2", "layers.{b}.ffn.layers.1"),
            ("norm", "ln1"),
        ],
    )
    + _deconv(2),
)
VIT_ORIGINAL = KeyMap(
    "ViTPose",
    _rows(_NET, [("pos_embed", "pos_embed")], FIRST_ADDED)
    + _rows(
        _NET,
        [
            ("patch_embed.proj", "patch_embed.proj"),
            ("blocks.{b}.norm1", "blocks.{b}.norm1"),
            ("blocks.{b}.attn.qkv", "blocks.{b}.attn.qkv"),
            ("blocks.{b}.attn.proj", "blocks.{b}.attn.proj"),
            ("blocks.{b}.norm2", "blocks.{b}.norm2"),
            ("blocks.{b}.mlp.fc1", "blocks.{b}.mlp.fc1"),
            ("blocks.{b}.mlp.fc2", "blocks.{b}.mlp.fc2"),
            ("norm", "last_norm"),
        ],
    )
    + _deconv(2),
    unused=(r"backbone\.cls_token",),  # left over from pretraining
)

_HRFORMER_BLOCK = (
    "backbone.stages.{s}.{m}.branches.{b}.{k}.",
    "backbone.stage{s+2}.{m}.branches.{b}.{k}.",
)
HRFORMER = KeyMap(
    "MMPose",
    _rows(
        _BACKBONE,
        [
            ("stem.0.conv", "conv1"),
            ("stem.0.norm", "bn1"),
            ("stem.1.conv", "conv2"),
            ("stem.1.norm", "bn2"),
            ("stage1.0.downsample.conv", "layer1.0.downsample.0"),
            ("stage1.0.downsample.norm", "layer1.0.downsample.1"),
            ("stage1.*", "layer1.*"),
            ("transitions.0.0.conv", "transition1.0.0"),
            ("transitions.0.0.norm", "transition1.0.1"),
            ("transitions.{s}.1.conv", "transition{s+1}.{s+1}.0.0"),
            ("transitions.{s}.1.norm", "transition{s+1}.{s+1}.0.1"),
            # To branch t from branch f: up by one 1x1 convolution, down by k steps.
            ("stages.{s}.{m}.exchange.{t}.{f}.0.conv", "stage{s+2}.{m}.fuse_layers.{t}.{f}.0"),
            ("stages.{s}.{m}.exchange.{t}.{f}.0.norm", "stage{s+2}.{m}.fuse_layers.{t}.{f}.1"),
        ],
    )
    + _rows(
        (
            "backbone.stages.{s}.{m}.exchange.{t}.{f}.{k}.",
            "backbone.stage{s+2}.{m}.fuse_layers.{t}.{f}.{k}.",
        ),
        [("0.conv", "0"), ("0.norm", "1"), ("1.conv", "2"), ("1.norm", "3")],
    )
    + _rows(
        _HRFORMER_BLOCK,
        [
            ("attention.branch.norm", "norm1"),
            ("attention.branch.attn.*", "attn.attn.*"),
            ("ffn.branch.norm", "norm2"),
            ("ffn.branch.expand.conv", "ffn.fc1"),
            ("ffn.branch.expand.norm", "ffn.norm1"),
            ("ffn.branch.mix.conv", "ffn.dw3x3"),
            ("ffn.branch.mix.norm", "ffn.norm2"),
            ("ffn.branch.project.conv", "ffn.fc2"),
            ("ffn.branch.project.norm", "ffn.norm3"),
        ],
    )
    + _deconv(0),
    unused=(r".*\.relative_position_index",),
)

RTMPOSE = KeyMap(
    "MMPose",
    _rows(_BACKBONE, [("stem.*", "stem.*"), ("stages.{s}.*", "stage{s+1}.*")])
    + _rows(
        ("head.", "head."),
        [
            ("final", "final_layer"),
            ("mlp.0.gain", "mlp.0.g"),
            ("mlp.1", "mlp.1"),
            ("gau.norm.gain", "gau.ln.g"),
            ("gau.uv", "gau.uv"),
            ("gau.gamma", "gau.gamma"),
            ("gau.beta", "gau.beta"),
            ("gau.out", "gau.o"),
            ("gau.shortcut_scale", "gau.res_scale.scale"),
            ("cls_x", "cls_x"),
            ("cls_y", "cls_y"),
        ],
    ),
)

#: The tables of each peer that is published, the first that fits a file best is taken.
KEY_MAPS: dict[str, tuple[KeyMap, ...]] = {
    "pose_resnet50": (RESNET,),
    "pose_resnext50": (RESNET,),
    "pose_resnest50": (RESNEST,),
    "pose_hrnet_w32": (HRNET,),
    "pose_mobilenetv2": (MOBILENETV2,),
    "pose_shufflenetv2": (SHUFFLENETV2,),
    "pose_swin_t": (SWIN,),
    "pose_swin_s": (SWIN,),
    "pose_swin_b": (SWIN,),
    "pose_pvtv2_b2": (PVTV2,),
    "vitpose_s": (VIT, VIT_ORIGINAL),
    "vitpose_b": (VIT, VIT_ORIGINAL),
    "hrformer_s": (HRFORMER,),
    "rtmpose_s": (RTMPOSE,),
    "rtmpose_m": (RTMPOSE,),
}
