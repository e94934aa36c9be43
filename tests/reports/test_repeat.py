"""The command under a run makes the same run again."""

from __future__ import annotations

from msgspec.structs import replace

from reports.output.repeat import repeat_command


def test_latency(make):
    record = make.latency(cell="default", batch=4, conditions={"flip_test": True, "tf32": False})
    assert repeat_command(replace(record, axes={})).endswith(
        "python bench/latency.py --models hevitpose_nano --modes fused --batch 4 "
        "--input 128x128 --dtype fp32 --layout nchw --scope model --threads 2 --flip"
    )


def test_cells_and_hostile_words(make):
    record = replace(make.complexity("mhsa"), cell="$(rm -rf ~)")
    assert "--cells '$(rm -rf ~)'" in repeat_command(record)


def test_training_names_what_differs_from_the_named_config(make):
    record = make.evaluation("mhsa", seed=3)
    config = record.config | {
        "seed": 3,
        "training": {"steps": 450, "milestones": [170.0, 200.0]},
    }
    command = repeat_command(replace(record, config=config))
    assert command.splitlines()[1] == (
        "hevitpose train --cfg synthetic preset=quick model.attention=mhsa seed=3 "
        "training.steps=450"
    )
