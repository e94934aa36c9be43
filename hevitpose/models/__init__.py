"""HEViTPose and its alternatives. Knows nothing of data, codecs or metrics."""

from hevitpose.models.attention import create_attention, register_attention
from hevitpose.models.backbone import HEViTPose
from hevitpose.models.build import create_for_input, create_model
from hevitpose.models.layers import init_head_, init_weights

__all__ = [
    "HEViTPose",
    "create_attention",
    "create_for_input",
    "create_model",
    "init_head_",
    "init_weights",
    "register_attention",
]
