"""The peers: published sizes, shapes, gradients, and the parts written here rather than by timm."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import nn

from hevitpose.cost.complexity import count, meta_copy
from hevitpose.errors import UsageError
from hevitpose.models import create_model
from hevitpose.models.hevitpose import HeatmapHead
from hevitpose.models.peers import create_peer
from hevitpose.models.peers.counts import COUNTS, agrees
from hevitpose.models.peers.hrformer import LocalAttention
from hevitpose.models.peers.rtmpose import GatedAttentionUnit, ScaleNorm
from hevitpose.models.peers.transformers import Swin
from hevitpose.models.spec import PEERS, SIMCC, SMALL_PEERS

SIDE = 64


@pytest.fixture(scope="module", params=PEERS)
def peer(request) -> nn.Module:
    """Each network once for all tests of this module, built for 64x64 where it matters."""
    torch.manual_seed(0)
    keypoints = COUNTS[request.param].num_keypoints
    return create_model(request.param, num_keypoints=keypoints, input_size=(SIDE, SIDE))


def outputs_of(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    output = model(images)
    return output if isinstance(output, tuple) else (output,)


def randomise_norms(model: nn.Module) -> None:
    """BN weights and statistics off their start, where branches would be invisible or too tame."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


# ------------------------------------------------------------------------------ numbers


def test_parameters_and_gflops(peer):
    name, row = peer.name, COUNTS[peer.name]
    if peer.weights_depend_on_input:
        peer = create_model(name, row.num_keypoints, input_size=row.input_size)
    model = meta_copy(peer)
    result = count(model, row.input_size, "mmcv")
    assert agrees(result.params / 1e6, row.params_m), result.params
    assert agrees(result.flops / 1e9, row.gflops), result.flops
    _check_the_note(name, model, result)


def _check_the_note(name, model, result):
    """Where a note blames a way of counting, counting that way gives the printed number."""
    if name == "pose_pvtv2_b2":
        # The authors' counter does not see the attention's projections.
        hidden = ("attn.q", "attn.kv", "attn.proj")
        seen = result.flops - sum(r.flops for r in result.by_module if r.name.endswith(hidden))
        assert agrees(seen / 1e9, "5.77")
    if name == "hrformer_s":
        # HRNet's paper: convolutions and linears without biases, in units of 1024^3.
        modules = dict(model.named_modules())
        macs = 0
        for row in result.by_module:
            module = modules[row.name]
            if isinstance(module, nn.Conv2d | nn.Linear):
                macs += row.flops
        assert f"{macs / 1024**3:.1f}" == "2.8"


def test_agreement_is_half_a_digit_or_half_a_percent():
    assert agrees(10.2718, "10.27") and agrees(10.3, "10.27") and not agrees(10.33, "10.27")
    assert agrees(0.6849, "0.68") and not agrees(0.6851, "0.68")
    assert agrees(7.752, "7.8") and not agrees(7.7468, "7.8")


@pytest.mark.parametrize("size", [(128, 192), (192, 256)])
@pytest.mark.parametrize("name", SMALL_PEERS)
def test_small_peers_cost_what_nano_does(name, size):
    nano = count(meta_copy(create_model("hevitpose_nano", 17)), size, "mmcv").flops
    flops = count(meta_copy(create_model(name, 17, input_size=size)), size, "mmcv").flops
    assert abs(flops / nano - 1) <= 0.05


def test_who_predicts_bins_is_known_without_torch():
    with torch.device("meta"):
        simcc = [name for name in PEERS if create_model(name, 17).codec == "simcc"]
    assert tuple(simcc) == SIMCC


def test_every_peer_has_its_counts():
    assert set(PEERS) <= set(COUNTS)


# ------------------------------------------------------------------------------ every network


def test_output_shape_and_small_start(peer):
    peer.train()  # at evaluation, BN has no statistics yet and deep sums grow
    with torch.no_grad():
        outputs = outputs_of(peer, torch.randn(2, 3, SIDE, SIDE))
    if peer.codec == "simcc":
        assert [o.shape for o in outputs] == [(2, peer.num_keypoints, 2 * SIDE)] * 2
    else:
        assert [o.shape for o in outputs] == [(2, peer.num_keypoints, SIDE // 4, SIDE // 4)]
        # The last convolution starts at N(0, 0.001): an untrained network says almost nothing.
        assert outputs[0].std() < 0.05
        assert peer.head.final.bias.abs().max() == 0
    assert all(o.isfinite().all() for o in outputs)
    assert peer.name in PEERS


def test_intermediates(peer):
    peer.eval()
    with torch.no_grad():
        images = torch.randn(1, 3, SIDE, SIDE)
        output, (features,) = peer(images, return_intermediates=True)
        again = peer.head(features)
    pairs = zip(output, again, strict=True) if peer.codec == "simcc" else [(output, again)]
    for expected, actual in pairs:
        torch.testing.assert_close(actual, expected)


def test_every_parameter_gets_a_gradient_and_a_step_moves_it(peer):
    torch.manual_seed(1)
    randomise_norms(peer)
    peer.train()
    for module in peer.modules():  # a bias before a BN in training mode has no gradient by design
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    outputs = outputs_of(peer, torch.randn(2, 3, SIDE, SIDE))
    loss = sum(nn.functional.mse_loss(o, torch.randn_like(o)) for o in outputs)
    loss.backward()
    for name, parameter in peer.named_parameters():
        assert parameter.grad is not None, f"{name} is not reached"
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, f"{name} has a zero gradient"
    last = list(peer.parameters())[-1]  # gradients are tiny at this start: a large step shows
    before = last.detach().clone()
    torch.optim.SGD(peer.parameters(), lr=10.0).step()
    assert not torch.equal(before, last)
    peer.train()
    assert all(o.isfinite().all() for o in outputs_of(peer, torch.randn(2, 3, SIDE, SIDE)))
    peer.zero_grad(set_to_none=True)


def test_a_size_that_does_not_fit_is_refused(peer):
    with pytest.raises(UsageError, match=f"{peer.name}.*72x64"):
        peer(torch.zeros(1, 3, SIDE + 8, SIDE))


def test_other_sizes(peer):
    peer.eval()
    images = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        if peer.codec == "simcc":  # its last layers belong to one size
            with pytest.raises(UsageError, match="built for 64x64"):
                peer(images)
        else:
            assert peer(images).shape == (1, peer.num_keypoints, 24, 16)
            images = torch.randn(1, 3, SIDE, SIDE)
            assert peer(images).shape == (1, peer.num_keypoints, 16, 16)


# ------------------------------------------------------------------------------ names, options


def test_names_never_clash_with_timm():
    known = set(timm.list_models())
    assert not known & set(PEERS)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pose_resnet50", {"attention": "mhsa"}, "option of pose_resnet50 'attention'"),
        ("pose_swin_s", {"drop_path": 0.1}, "did you mean 'drop_path_rate'"),
        ("vitpose_s", {"input_size": (100, 64)}, "multiples of 16"),
        ("rtmpose_s", {"input_size": (192, 250)}, "multiples of 32"),
        ("vitpose_s", {"input_size": (192,)}, "two positive integers"),
        ("pose_mobilenetv2", {"input_size": (200, 256)}, "multiples of 32"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(UsageError, match=message):
        create_peer(name, 17, **options)


def test_unknown_peer():
    with pytest.raises(UsageError, match="did you mean 'pose_resnet50'"):
        create_peer("pose_resnet5", 17)


def test_drop_path_rises_to_its_rate():
    model = create_peer("hrformer_s", 17, drop_path_rate=0.1)
    rates = [m.drop_prob for m in model.modules() if type(m).__name__ == "DropPath"]
    assert min(rates) > 0 and math.isclose(max(rates), 0.1)


# ------------------------------------------------------------------------------ parts of our own


def test_swin_after_a_change_of_size_equals_one_built_for_it():
    torch.manual_seed(0)
    name = "swin_tiny_patch4_window7_224"
    moved = Swin(name, input_size=(64, 64), drop_path_rate=0.0).eval()
    fresh = Swin(name, input_size=(128, 96), drop_path_rate=0.0).eval()
    fresh.load_state_dict(moved.state_dict())  # no weight depends on the size
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        moved(torch.randn(1, 3, 64, 64))
        torch.testing.assert_close(moved(images), fresh(images))


def test_hrnet_keeps_only_what_its_output_needs():
    model = create_peer("pose_hrnet_w32", 2)
    assert len(model.backbone.net.stage4[-1].fuse_layers) == 1
    assert isinstance(model.head, HeatmapHead) and list(model.head._modules) == ["final"]


def test_local_attention_stays_in_its_window_of_the_centred_padding():
    torch.manual_seed(0)
    layer = LocalAttention(4, heads=2).eval()
    # 10 rows are padded by 4, two above: windows hold rows 0-4 and 5-9. 8 columns are padded by 6,
    # three to the left: columns 0-3 and 4-7.
    x = torch.randn(1, 4, 10, 8)
    changed = x.clone()
    changed[0, 0, 4, 3] += 1  # one channel: a shift of all is what LayerNorm removes
    with torch.no_grad():
        moved = (layer(changed) - layer(x)).abs().amax(dim=1)[0] > 0
    assert moved[:5, :4].all()
    assert not moved[5:].any() and not moved[:, 4:].any()


def test_local_attention_equals_attention_written_out():
    torch.manual_seed(0)
    layer = LocalAttention(4, heads=2).double().eval()
    nn.init.normal_(layer.attn.relative_position_bias_table)
    x = torch.randn(1, 4, 7, 7, dtype=torch.float64)
    tokens = layer.norm(x[0].flatten(1).T)  # (49, 4)
    q, k, v = (part.reshape(49, 2, 2) for part in layer.attn.qkv(tokens).chunk(3, dim=1))
    out = torch.zeros(49, 2, 2, dtype=torch.float64)
    for head in range(2):
        for i in range(49):
            # Bias of the offset between two places: rows -6..6 times 13, columns -6..6.
            offsets = [(i // 7 - j // 7 + 6) * 13 + (i % 7 - j % 7 + 6) for j in range(49)]
            bias = layer.attn.relative_position_bias_table[offsets, head]
            weights = (k[:, head] @ q[i, head] / math.sqrt(2) + bias).softmax(dim=0)
            out[i, head] = weights @ v[:, head]
    expected = layer.attn.proj(out.flatten(1)).T.reshape(1, 4, 7, 7)
    torch.testing.assert_close(layer(x), expected)


def test_gated_attention_unit_equals_its_equations():
    torch.manual_seed(0)
    unit = GatedAttentionUnit(8).double()
    nn.init.normal_(unit.shortcut_scale)
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    for n in range(3):
        z = x[n] / x[n].square().mean(dim=1, keepdim=True).sqrt()
        mixed = nn.functional.silu(z @ unit.uv.weight.T)
        gate, value, shared = mixed[:, :16], mixed[:, 16:32], mixed[:, 32:]
        query = shared * unit.gamma[0] + unit.beta[0]
        key = shared * unit.gamma[1] + unit.beta[1]
        kernel = (query @ key.T / math.sqrt(128)).clamp(min=0) ** 2
        expected = unit.shortcut_scale * x[n] + (gate * (kernel @ value)) @ unit.out.weight.T
        torch.testing.assert_close(unit(x)[n], expected)


def test_scale_norm():
    # (3, 4): root mean square sqrt(12.5); times the gain 2.
    norm = ScaleNorm(2)
    nn.init.constant_(norm.gain, 2.0)
    expected = torch.tensor([[3.0, 4.0]]) / math.sqrt(12.5) * 2
    torch.testing.assert_close(norm(torch.tensor([[3.0, 4.0]])), expected)
    assert norm(torch.zeros(1, 2)).isfinite().all()
