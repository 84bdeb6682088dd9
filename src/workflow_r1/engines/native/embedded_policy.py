"""Makes the policy that ships with the package: ``workflow-r1 world --build-policy``.

A small Llama with its own tokenizer learns from demonstrations, in worlds that never serve for training or evaluation
again: twice the skills, from demonstrators that mostly search, then the mediocre mixture of strategies that
reinforcement learning is to improve. The result is refused unless its skills, measured on held-out demonstrations over
evaluation names, reach the gate.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from workflow_r1.config.run import PolicyConfig, RunConfig
from workflow_r1.config.training import NewPolicyConfig, OptimiserConfig, WarmstartConfig
from workflow_r1.embedded import WARM_START, EmbeddedWorld
from workflow_r1.embedded.demonstrations import (
    ENVIRONMENT,
    FIRST_WORLD,
    QUESTIONS_PER_WORLD,
    SAMPLING,
    SKILLS_SHARES,
    SKILLS_STRATEGY,
    Demonstration,
    make_demonstrations,
)
from workflow_r1.embedded.demonstrators import Piece
from workflow_r1.embedded.tokenizer import build_tokenizer, year_tokens
from workflow_r1.engines.native.new_policy import new_model, texts_of
from workflow_r1.engines.native.warmstart import Warmstart, encode_demonstrations
from workflow_r1.errors import WorkflowR1Error
from workflow_r1.policy.forward import token_scores
from workflow_r1.policy.model import load_policy_model, save_policy
from workflow_r1.policy.packing import pack
from workflow_r1.recording.events import OnEvent, ignore
from workflow_r1.rollout.renderer import Renderer

SKILL_GATE = 0.98
"""Least share of spans of each skill that greedy decoding must get right, teacher-forced."""

SIZE = NewPolicyConfig(hidden_size=192, num_layers=4, num_heads=6, intermediate_size=512)
"""Size of the shipped policy."""


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """The recipe of the shipped policy."""

    size: NewPolicyConfig = SIZE
    """Size of the model."""
    num_skill_demonstrations: int = 18000
    """First stage, and as many again in the second: the order of near years takes as long as everything else."""
    num_mixture_demonstrations: int = 10000
    """Third stage."""
    learning_rate: float = 2e-3
    """Peak of the first stage; half of it in the second, a fifth in the third."""
    batch_tokens: int = 2048
    """Tokens per optimiser step."""
    num_skill_questions: int = 2000
    """Held-out demonstrations that the gate is measured on: at 0.98, the rarest skill's standard error is below 0.005."""
    threads: int = 1
    seed: int = 0


def build_policy(
    directory: Path,
    *,
    settings: BuildSettings | None = None,
    work_directory: Path | None = None,
    on_event: OnEvent = ignore,
    on_progress: Callable[[str], None] = lambda message: None,
) -> dict[str, float]:
    """Make the embedded policy and save it, with its measured skills in ``skills.json``.

    Args:
        directory: directory that the policy replaces, in Hugging Face format, weights in float16.
        settings: the recipe.
        work_directory: keeps the three supervised runs; None uses a temporary directory.
        on_event: called with the supervised runs' progress.
        on_progress: called with a line for each stage.

    Returns:
        The skills: share of spans that greedy decoding gets right, teacher-forced.

    Raises:
        WorkflowR1Error: a skill is below ``SKILL_GATE``; nothing is replaced.
    """
    settings = settings or BuildSettings()
    if work_directory is None:
        with tempfile.TemporaryDirectory() as temporary:
            return build_policy(
                directory, settings=settings, work_directory=Path(temporary), on_event=on_event, on_progress=on_progress
            )
    work_directory.mkdir(parents=True, exist_ok=True)
    num_skills, num_mixture = settings.num_skill_demonstrations, settings.num_mixture_demonstrations
    on_progress(f"making {2 * num_skills + num_mixture} demonstrations")
    skills = make_demonstrations(2 * num_skills, strategy=SKILLS_STRATEGY, kind_shares=SKILLS_SHARES)
    mixture_world = FIRST_WORLD + 1 + 2 * num_skills // QUESTIONS_PER_WORLD
    mixture = make_demonstrations(
        num_mixture, strategy=WARM_START, kind_shares=SKILLS_SHARES, first_world=mixture_world
    )
    held_out = make_demonstrations(
        settings.num_skill_questions,
        strategy=SKILLS_STRATEGY,
        kind_shares=SKILLS_SHARES,
        first_world=FIRST_WORLD - 2,
        split="evaluation",
    )

    start = work_directory / "start"
    model, tokenizer = new_policy(settings, skills[:4000])
    save_policy(model, tokenizer, start)
    stages = (
        ("skills", skills[:num_skills], settings.learning_rate, 0.05),
        ("skills-again", skills[num_skills:], settings.learning_rate * 0.5, 0.02),
        ("mixture", mixture, settings.learning_rate * 0.2, 0.02),
    )
    for name, demonstrations, learning_rate, final_fraction in stages:
        on_progress(f"supervised training on {len(demonstrations)} demonstrations: {name}")
        config = RunConfig(
            name=f"embedded-policy-{name}",
            seed=settings.seed,
            policy=PolicyConfig(model=str(start), device="cpu", threads=settings.threads),
            environment=ENVIRONMENT,
            sampling=SAMPLING,
            optimiser=OptimiserConfig(precision="bfloat16", betas=(0.9, 0.98), weight_decay=0.05),
            warmstart=WarmstartConfig(
                batch_tokens=settings.batch_tokens,
                learning_rate=learning_rate,
                final_learning_rate_fraction=final_fraction,
                held_out_fraction=0.005,
                checkpoint_every=500,
            ),
        )
        result = Warmstart(
            config=config,
            run_directory=work_directory / name,
            demonstrations=[demonstration.trajectory for demonstration in demonstrations],
            on_event=on_event,
        ).run()
        start = result.policy_directory

    model, tokenizer = load_policy_model(PolicyConfig(model=str(start), device="cpu", threads=settings.threads))
    measured = measure_skills(model, tokenizer, held_out)
    on_progress(", ".join(f"{skill} {share:.3f}" for skill, share in measured.items()))
    low = {skill: share for skill, share in measured.items() if share < SKILL_GATE}
    if low:
        raise WorkflowR1Error(
            f"expected every skill of the new policy to reach {SKILL_GATE}, measured {low}; kept {start}"
        )
    save_policy(model.half(), tokenizer, directory)
    (directory / "skills.json").write_text(json.dumps(measured, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return measured


def new_policy(
    settings: BuildSettings, samples: Sequence[Demonstration]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return an untrained model and a tokenizer that knows the words of ``samples``."""
    tokenizer = build_tokenizer(texts_of(sample.trajectory for sample in samples), _names(samples))
    vocabulary = tokenizer.get_vocab()
    model = new_model(
        tokenizer, settings.size, ordered=[vocabulary[token] for token in year_tokens()], seed=settings.seed
    )
    return model, tokenizer


def measure_skills(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, demonstrations: Sequence[Demonstration]
) -> dict[str, float]:
    """Return for each skill the share of its spans that greedy decoding would have written, given all before them.

    A span is one piece of a demonstration: a copied name, a value read, the word that says a fact is missing, the
    earlier year. It counts only where every token of it is the most likely one.
    """
    hits: dict[str, int] = defaultdict(int)
    totals: dict[str, int] = defaultdict(int)
    renderer = Renderer(tokenizer)
    for first in range(0, len(demonstrations), 32):
        chunk = demonstrations[first : first + 32]
        encoded = encode_demonstrations(
            [demonstration.trajectory for demonstration in chunk], renderer, turn_end=SAMPLING.turn_end
        )
        with torch.no_grad():
            scores = token_scores(model, pack(encoded, tokenizer.pad_token_id or 0), statistics=True)
        for row, (demonstration, trajectory) in enumerate(zip(chunk, encoded, strict=True)):
            column = len(trajectory.prompt_token_ids)
            for turn, pieces in zip(trajectory.turns, demonstration.pieces, strict=True):
                right = scores.is_argmax[row, column : column + len(turn.token_ids)].tolist()
                for skill, span in _skill_spans(turn.text, pieces, tokenizer):
                    totals[skill] += 1
                    hits[skill] += all(right[index] for index in span)
                column += len(turn.token_ids) + len(turn.context_token_ids)
    return {skill: hits[skill] / totals[skill] for skill in sorted(totals)}


def _skill_spans(text: str, pieces: Sequence[Piece], tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, list[int]]]:
    """The token indices of each piece of a turn that takes a skill."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    spans: list[tuple[str, list[int]]] = []
    start = 0
    for piece in pieces:
        end = start + len(piece.text)
        if piece.skill is not None:
            spans.append((piece.skill, [i for i, (_, last) in enumerate(offsets) if start < last <= end]))
        start = end
    return spans


def _names(samples: Sequence[Demonstration]) -> frozenset[str]:
    worlds = {int(sample.trajectory.question.id.split("-")[1]) for sample in samples}
    return frozenset(name for seed in worlds for name in EmbeddedWorld(seed).entities)
