"""The least that is a training: what the tests of trainings change one key at a time."""

TINY = {
    "data.input_size": [64, 64],
    "training.steps": 2,
    "training.batch_size": 4,
    "training.warmup_steps": 1,
    "training.threads": 1,
    "evaluation.flip_test": False,
}
