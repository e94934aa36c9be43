"""How many steps, where chunks and evaluations fall, and the learning rate at each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from hevitpose.config import Config


@dataclass(frozen=True)
class Plan:
    """How many steps, and where chunks and evaluations fall."""

    steps: int  # optimiser steps of the whole run
    steps_per_epoch: float
    chunk: int  # steps between checkpoints; an evaluation falls on a multiple
    eval_chunks: int  # chunks between evaluations

    @classmethod
    def of(cls, config: Config, people: int) -> Plan:
        """The plan of a config on ``people`` training people."""
        recipe = config.training
        per_epoch = people / config.total_batch
        steps = recipe.steps or max(1, math.ceil(recipe.epochs * per_epoch))
        chunk = recipe.checkpoint_steps or max(1, min(math.ceil(per_epoch), math.ceil(steps / 10)))
        return cls(
            steps=steps,
            steps_per_epoch=per_epoch,
            chunk=min(chunk, steps),
            eval_chunks=max(1, round(recipe.eval_every * per_epoch / chunk)),
        )


def learning_rate_factor(config: Config, plan: Plan) -> Callable[[int], float]:
    """The factor on the learning rate at a step: linear warm-up, then steps, a cosine, or nothing.

    Source: MMPose 0.29's ``lr_config`` (policy step, warmup linear).
    """
    recipe = config.training
    milestones = [m * plan.steps_per_epoch for m in recipe.milestones]

    def factor(step: int) -> float:
        if recipe.schedule == "cosine":
            after = max(1, plan.steps - recipe.warmup_steps)
            done = min(1.0, max(0, step - recipe.warmup_steps) / after)
            value = 0.5 * (1 + math.cos(math.pi * done))
        elif recipe.schedule == "step":
            value = recipe.gamma ** sum(step >= m for m in milestones)
        else:
            value = 1.0
        if step < recipe.warmup_steps:
            warm = 1 - (1 - step / recipe.warmup_steps) * (1 - recipe.warmup_ratio)
            value *= warm
        return value

    return factor
