"""The config: layers, unknown keys, aliases, what identifies a run."""

from __future__ import annotations

import pytest

from hevitpose.config import Config, load_config, shipped
from hevitpose.config.author_keys import ALIASES
from hevitpose.config.load import PRESETS
from hevitpose.errors import DataError, HEViTPoseError, UsageError


def test_layers_win_in_order(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("preset: quick\ntraining: {lr: 0.25, batch_size: 8}\n")
    config = load_config(file, ["training.lr=0.5"])
    assert config.training.steps == 300  # the preset
    assert config.training.batch_size == 8  # the file, over the preset's 16
    assert config.training.lr == 0.5  # the override, over the file
    assert load_config(file, ["preset=paper"]).training.steps is None


def test_authors_keys_and_pairs():
    config = load_config(
        "coco",
        [
            "TRAIN.IMAGES_PER_GPU",
            "32",
            "DATASET.TEST",
            "val",
            "TEST.MODEL_FILE",
            "x.ckpt",
            "seed=3",
        ],
    )
    assert config.training.batch_size == 32
    assert config.data.val_split == "val"
    assert str(config.model.checkpoint) == "x.ckpt"
    assert config.seed == 3


def test_every_alias_is_a_key_of_the_schema():
    for key in filter(None, ALIASES.values()):
        section = Config
        for part in key.split("."):
            assert part in section.model_fields, key
            section = section.model_fields[part].annotation


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.lrr=1", ("training.lrr", "did you mean 'lr'")),
        ("model.attentoin=mhsa", ("model.attentoin", "attention")),
        ("model.attention=mhsa model.num_heads=3", ("32 channels", "num_heads 3")),
        ("model.num_heads=3", ("32 channels", "num_heads 3")),
        ("training.lr=fast", ("training.lr", "'fast'", "number")),
        ("seed=-1", ("seed", "-1", "greater")),
        (f"seed={2**64}", ("seed", str(2**64), str(2**64 - 1))),
        ("data.input_size=8192,64", ("W = 8192", "at most 4096")),
        ("data.input_size=100,128", ("W = 100", "multiple of 32")),
        ("codec.decoder=udp", ("udp encodes and decodes together",)),
        ("data.dataset=cocoo", ("unknown dataset", "did you mean 'coco'")),
        ("TRAIN.LRR=1", ("TRAIN.LRR", "TRAIN.LR")),
        ("nonsense", ("nonsense", "key=value")),
        ("preset=quik", ("unknown preset", "quick")),
    ],
)
def test_refusals_name_key_value_and_expectation(override, words):
    with pytest.raises(UsageError) as caught:
        load_config("synthetic", override.split())
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("training.milestones=[true,5]", r"training.milestones: \[True, 5\]: expected a number"),
        ("training.lr=[true]", r"training.lr: \[True\]: expected a number"),
        ("training.milestones=[5,-1]", "training.milestones: .*, expected epochs from 0"),
        ("codec.simcc_sigma=[-1,0]", "codec.simcc_sigma: .*, expected > 0"),
        ("data.input_size=[true,256]", r"data.input_size: \[True, 256\]: expected a number"),
        ("data.box_threshold=-3", "data.box_threshold: -3"),
        ("training.threads=100000000000", "training.threads: 100000000000"),
        ("training.epochs=1e308", r"training.epochs: 1e\+308"),
        (f"training.steps={10**30}", f"training.steps: {10**30}"),
    ],
)
def test_numbers_that_no_run_can_have(words, says):
    with pytest.raises(UsageError, match=says):
        load_config("coco", [words])


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("data.root", "/tmp/a #1"),
        ("data.root", "/data/a,b"),
        ("data.root", "2024"),
        ("model.checkpoint", "1e3"),
        ("data.box_source", "no"),
        ("TEST.MODEL_FILE", "[a].pth"),
        ("training.start_from", "12345678901234567890"),
    ],
)
def test_paths_and_names_keep_their_letters(key, text):
    config = load_config("coco", [f"{key}={text}"])
    section, _, name = ALIASES.get(key, key).partition(".")
    assert str(getattr(getattr(config, section), name)) == text
    assert load_config("coco", ["data.root=x", "data.root=null"]).data.root is None
    for quoted in (f"'{text}'", f' "{text}" '):  # of a shell within another's quotes
        again = load_config("coco", [f"{key}={quoted}"])
        assert getattr(getattr(again, section), name) == getattr(getattr(config, section), name)
    assert load_config("coco", ["training.start_from=NULL"]).training.start_from is None


@pytest.mark.parametrize("attention", ["cga", "none", "one-of-a-user"])
def test_heads_are_no_rule_for_an_attention_without(attention):
    spec = load_config(None, {"model.attention": attention, "model.num_heads": 3}).model.spec()
    assert (spec.attention, spec.num_heads) == (attention, 3)


def test_a_peer_has_no_options_of_ours():
    with pytest.raises(UsageError, match="pose_resnet50 is a peer"):
        load_config(None, ["model.name=pose_resnet50", "model.attention=mhsa"])


@pytest.mark.parametrize("text", ["a: b: c", "- 1", "model: {name: b, name: t}", "\x00"])
def test_broken_yaml_is_one_line(tmp_path, text):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(HEViTPoseError) as caught:
        load_config(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_yaml_never_builds_objects(tmp_path):
    file = tmp_path / "evil.yaml"
    file.write_text("model: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(DataError):
        load_config(file)


def test_identity_ignores_paths_and_display_but_not_the_recipe(tmp_path):
    base = load_config("synthetic")
    for free in ("data.workers=3", f"data.root={tmp_path}", "training.checkpoint_steps=7"):
        assert load_config("synthetic", [free]).digest == base.digest
    for decisive in ("training.lr=1", "seed=1", "codec.sigma=3", "model.num_heads=4"):
        assert load_config("synthetic", [decisive]).digest != base.digest


def test_a_resumed_training_may_be_evaluated_otherwise():
    base = load_config("synthetic")
    boxes = "data.box_source=b.json data.box_threshold=0.5"
    for later in ("evaluation.flip_test=false", "codec.decoder=dark", boxes):
        assert load_config("synthetic", later.split()).digest == base.digest


def test_identity_joins_spellings_of_one_model():
    full = load_config("synthetic", ["model.name=hevitpose_t"])
    assert load_config("synthetic", ["model.name=t"]).digest == full.digest
    same = load_config("synthetic", ["model.name=t", "model.num_heads=4", "model.groups=2,4,8"])
    assert same.digest == full.digest  # the variant's own values, said aloud


def test_dump_is_complete():
    config = load_config("synthetic", ["model.attention=mhsa", "data.input_size=192,256"])
    assert Config.model_validate(config.dump()) == config


def test_learning_rate_scales_with_the_total_batch():
    config = load_config("coco", ["devices=4", "training.base_batch=64", "training.lr=1e-3"])
    assert config.total_batch == 256
    assert config.learning_rate == pytest.approx(4e-3)


def test_shipped_configs_load():
    assert {"mpii", "coco", "crowdpose", "ochuman_val", "ochuman_coco"} <= set(shipped())
    for name in shipped():
        load_config(name)


@pytest.mark.parametrize("preset", PRESETS)
def test_flip_true_is_the_rate_and_not_every_picture(preset):
    words = ["DATASET.FLIP", "True", f"preset={preset}"]
    assert load_config("synthetic", words).training.augmentation.flip == 0.5
    assert load_config("synthetic", ["DATASET.FLIP=False"]).training.augmentation.flip == 0
    assert load_config("mpii", ["DATASET.FLIP", "false"]).training.augmentation.flip == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["DATASET.FLIP", "1"], "DATASET.FLIP: '1', expected True or False.*takes a rate"),
        (["DATASET.FLIP", "0.3"], "DATASET.FLIP: '0.3', expected True or False"),
        (["TEST.USE_GT_BBOX", "maybe"], "TEST.USE_GT_BBOX: 'maybe', expected True or False"),
        (["TEST.USE_GT_BBOX", "False"], "TEST.USE_GT_BBOX False: names no boxes"),
        (
            ["training.augmentation.flip=true"],
            "training.augmentation.flip: True: expected a number",
        ),
        (["training.augmentation.scale=1"], "scale: 1"),  # would leave crops of no size
        (["TRAIN.LR", "yes"], "training.lr: True: expected a number"),
        (["DATASET.ROT_FACTOR", "True"], "training.augmentation.rotation: True: expected a number"),
        (["WORKERS", "false"], "data.workers: False: expected a number"),
        (["TEST.FLIP_TEST", "0.5"], "evaluation.flip_test: 0.5"),
    ],
)
def test_a_switch_is_no_number_and_a_number_no_switch(words, says):
    with pytest.raises(UsageError, match=says):
        load_config("coco", words)


def test_ground_truth_boxes_win_over_a_file_in_either_order():
    file, switch = ["TEST.COCO_BBOX_FILE", "d.json"], ["TEST.USE_GT_BBOX", "True"]
    assert load_config("coco", [*file, *switch]).data.box_source == "gt"
    assert load_config("coco", [*switch, *file]).data.box_source == "gt"
    assert load_config("coco", [*file, "TEST.USE_GT_BBOX", "False"]).data.box_source == "d.json"
    threshold = ["TEST.IMAGE_THRE", "0.2"]
    assert load_config("coco", [*threshold, *file, *switch]).data.box_threshold == 0
    assert load_config("coco", [*threshold, *file]).data.box_threshold == 0.2


def test_a_threshold_is_of_detections():
    with pytest.raises(UsageError, match=r"data.box_threshold: 0.3 has no effect, .*box_source=gt"):
        load_config("coco", ["data.box_threshold=0.3"])
    config = load_config("coco", ["data.box_source=b.json", "data.box_threshold=3"])
    assert config.data.box_threshold == 3  # scores of any range


def test_epochs_that_are_given_win_over_a_presets_steps(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("preset: quick\ntraining: {epochs: 3}\n")
    assert load_config(file).training.steps is None
    config = load_config("synthetic", ["TRAIN.END_EPOCH", "3"])
    assert (config.training.epochs, config.training.steps) == (3, None)
    both = load_config("synthetic", ["training.epochs=3", "training.steps=7"])
    assert both.training.steps == 7
