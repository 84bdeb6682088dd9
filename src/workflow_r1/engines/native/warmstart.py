"""Supervised training on demonstrations: the policy learns the grammar and the skills before it is rewarded."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from workflow_r1.config.run import PolicyConfig, RunConfig
from workflow_r1.engines.native.batching import micro_batch_tokens, micro_batches, permutation, token_batches
from workflow_r1.engines.native.checkpoint import CheckpointStore, Progress
from workflow_r1.engines.native.interrupt import stop_on_interrupt
from workflow_r1.engines.native.memory import FreedMemory
from workflow_r1.engines.native.new_policy import make_new_policy
from workflow_r1.engines.native.optimiser import build_optimiser, set_learning_rate, warmup_cosine
from workflow_r1.errors import DataError
from workflow_r1.policy.forward import out_of_memory_explained, token_scores
from workflow_r1.policy.model import describe, load_policy_model, save_policy
from workflow_r1.policy.packing import PackedBatch, num_tokens, pack
from workflow_r1.policy.threads import explain_threads
from workflow_r1.recording.events import OnEvent, PolicySaved, RunStarted, ignore
from workflow_r1.recording.recorder import RunRecorder
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.trajectory import FinishReason, Message, Trajectory


@dataclass(frozen=True, slots=True)
class WarmstartResult:
    """Outcome of a warm start."""

    policy_directory: Path
    """Directory of the policy, in Hugging Face format, once ``finished``."""
    finished: bool
    """False where a stop was requested: a resume continues."""
    step: int
    """Optimiser steps done."""
    metrics: dict[str, float]
    """The last held-out figures; empty where there were no held-out demonstrations."""


class Warmstart:
    """One supervised run.

    Args:
        config: ``policy`` names the model to start from, unless ``warmstart.new_policy`` has one made; ``warmstart`` and
            ``optimiser`` set its training.
        run_directory: gets ``metrics.jsonl``, ``evaluations.jsonl`` (held-out figures), ``checkpoints/``, ``policy/``.
        demonstrations: trajectories with token ids, or with text alone, which is then tokenised as the sampler would
            render it.
        held_out: demonstrations that are scored, never trained on; None sets ``warmstart.held_out_fraction`` of the
            demonstrations aside.
        on_event: called with progress.

    Raises:
        DataError: there is nothing to train on.
    """

    def __init__(
        self,
        *,
        config: RunConfig,
        run_directory: Path,
        demonstrations: Sequence[Trajectory],
        held_out: Sequence[Trajectory] | None = None,
        on_event: OnEvent = ignore,
    ) -> None:
        if not demonstrations:
            raise DataError("expected at least one demonstration, received none")
        self._config = config
        self._directory = run_directory
        self._demonstrations = demonstrations
        self._held_out = held_out
        self._recorder = RunRecorder(run_directory, on_event=on_event)
        self._freed = FreedMemory()
        self._stop = False

    def request_stop(self) -> None:
        """Ask for a clean stop: the current optimiser step ends, a checkpoint is saved, :meth:`run` returns."""
        self._stop = True

    def run(self, *, resume: bool = False) -> WarmstartResult:
        """Train, or continue from the newest checkpoint.

        Raises:
            UserError: model, demonstrations, run directory or checkpoint cannot be used, or the disk is full.
        """
        with stop_on_interrupt(self.request_stop), self._recorder.holding(resume=resume):
            return self._run(resume)

    def _run(self, resume: bool) -> WarmstartResult:
        config, settings, recorder = self._config, self._config.warmstart, self._recorder
        model, tokenizer = load_policy_model(
            self._policy_to_teach(),
            lora=config.optimiser.lora,
            gradient_checkpointing=config.optimiser.gradient_checkpointing,
            seed=config.seed,
        )
        train, held_out = self._split(tokenizer)
        lengths = [num_tokens(trajectory) for trajectory in train]
        plan = [
            batch
            for epoch in range(settings.epochs)
            for batch in token_batches(lengths, settings.batch_tokens, seed=config.seed, epoch=epoch)
        ]
        optimiser = build_optimiser(model, config.optimiser, learning_rate=settings.learning_rate)
        store = CheckpointStore(
            self._directory / "checkpoints",
            {**config.model_dump(mode="json"), "num_demonstrations_given": len(self._demonstrations)},
            keep=config.training.keep_checkpoints,
            on_event=recorder.tell,
        )
        progress = (store.load_latest(model, optimiser) if resume else None) or Progress()
        recorder.continue_from(progress.file_lengths, watched=progress.watched)
        if (fewer := explain_threads(config.policy.threads)) is not None:
            recorder.warn(fewer)
        recorder.tell(RunStarted(progress.step, len(plan), **describe(model)))

        started, seconds_before, figures = time.perf_counter(), progress.training_seconds, {}
        step, stopped = progress.step, self._stop
        while step < len(plan) and not stopped:
            rows = [train[index] for index in plan[step]]
            step += 1
            set_learning_rate(
                optimiser,
                warmup_cosine(
                    step,
                    num_steps=len(plan),
                    peak=settings.learning_rate,
                    warmup_steps=round(settings.warmup_fraction * len(plan)),
                    final_fraction=settings.final_learning_rate_fraction,
                ),
            )
            before, cpu_before = time.perf_counter(), time.process_time()
            with out_of_memory_explained():
                metrics = self._train_on(model, optimiser, pack(rows, tokenizer.pad_token_id))
            if not math.isfinite(metrics["warmstart/grad_norm"]):
                norm = metrics["warmstart/grad_norm"]
                recorder.warn(f"step {step}: the gradient's norm is {norm}: the optimiser step was left out")
            now = time.perf_counter()
            if next(model.parameters()).device.type == "cpu":
                recorder.watch_processors(wall_seconds=now - before, cpu_seconds=time.process_time() - cpu_before)
            row: dict[str, Any] = {
                "step": step,
                **metrics,
                "time/step_seconds": now - before,
                "time/total_seconds": seconds_before + now - started,
            }
            recorder.record_warmstart_step(row, num_steps=len(plan))
            if held_out and (step == len(plan) or (settings.score_every and step % settings.score_every == 0)):
                figures = self._score(model, held_out, tokenizer.pad_token_id)
                recorder.record_held_out(figures, step)
            # One look decides about the checkpoint and the end: a request that comes later ends the next step.
            stopped = self._stop
            if step == len(plan) or stopped or step % settings.checkpoint_every == 0:
                seconds = seconds_before + time.perf_counter() - started
                store.save(
                    Progress(step, policy_version=step, training_seconds=seconds, file_lengths=recorder.file_lengths),
                    model,
                    optimiser,
                )
        policy_directory = self._directory / "policy"
        if step == len(plan):
            save_policy(model, tokenizer, policy_directory)
            recorder.tell(PolicySaved(policy_directory))
        return WarmstartResult(policy_directory, finished=step == len(plan), step=step, metrics=figures)

    def _policy_to_teach(self) -> PolicyConfig:
        """Return the configured policy; where a new one is asked for, make it once, and return that."""
        size = self._config.warmstart.new_policy
        if size is None:
            return self._config.policy
        directory = self._directory / "new-policy"
        if not directory.is_dir():
            save_policy(*make_new_policy(self._demonstrations, size, seed=self._config.seed), directory)
        return self._config.policy.model_copy(update={"model": str(directory)})

    def _split(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[Trajectory], list[Trajectory]]:
        """Return the demonstrations to train on and those to score, with token ids."""
        renderer = Renderer(tokenizer, self._config.policy.template)
        encode = partial(encode_demonstrations, renderer=renderer, turn_end=self._config.sampling.turn_end)
        encoded = encode(self._demonstrations)
        if self._held_out is not None:
            return encoded, encode(self._held_out)
        order = permutation(len(encoded), seed=self._config.seed, epoch=-1)
        num_held_out = int(self._config.warmstart.held_out_fraction * len(encoded))
        kept_out = set(order[:num_held_out])
        return (
            [trajectory for index, trajectory in enumerate(encoded) if index not in kept_out],
            [encoded[index] for index in sorted(kept_out)],
        )

    def _train_on(self, model: nn.Module, optimiser: torch.optim.Optimizer, batch: PackedBatch) -> dict[str, float]:
        """Take one optimiser step; the loss is the weighted mean over the whole batch, however it is cut up."""
        settings = self._config.optimiser
        weights = self._weights(batch)
        total_weight = float(weights.sum())
        device = next(model.parameters()).device
        model.train()
        optimiser.zero_grad(set_to_none=True)
        loss = 0.0
        for indices in micro_batches(batch.lengths.tolist(), micro_batch_tokens(settings.micro_batch_tokens, device)):
            rows = batch.rows(indices).to(device)
            weight = self._weights(rows)
            scores = token_scores(model, rows, positions=weight > 0, precision=settings.precision)
            part = -(scores.logprobs * weight).sum() / total_weight
            part.backward()
            loss += part.item()
        norm = torch.nn.utils.clip_grad_norm_(
            [parameter for parameter in model.parameters() if parameter.requires_grad], settings.max_grad_norm
        )
        if torch.isfinite(norm):
            optimiser.step()
        self._freed.give_back_if_due()
        model.eval()
        return {
            "warmstart/loss": loss,
            "warmstart/grad_norm": norm.item(),
            "warmstart/learning_rate": optimiser.param_groups[0]["lr"],
            "warmstart/tokens": int(batch.attention_mask.sum()),
        }

    def _weights(self, batch: PackedBatch) -> torch.Tensor:
        """Return the weight of each token's loss, (batch, time): 1 on the policy's, ``observation_loss`` on the rest."""
        weights = (batch.turn_ids > 0).float()
        if self._config.warmstart.observation_loss > 0:
            rest = batch.attention_mask & (batch.turn_ids == 0)
            rest[:, 0] = False
            weights = weights + rest * self._config.warmstart.observation_loss
        return weights

    def _score(self, model: nn.Module, trajectories: list[Trajectory], pad_token_id: int) -> dict[str, float]:
        """Return loss and accuracy on the policy's tokens of demonstrations that were never trained on.

        ``turn_accuracy`` counts a turn only where every token of it is the most likely one: greedy decoding would have
        written it.
        """
        settings = self._config.optimiser
        device = next(model.parameters()).device
        loss = hits = tokens = exact_turns = turns = 0.0
        with torch.no_grad():
            for indices in micro_batches(
                [num_tokens(t) for t in trajectories], micro_batch_tokens(settings.micro_batch_tokens, device)
            ):
                batch = pack([trajectories[index] for index in indices], pad_token_id).to(device)
                scores = token_scores(model, batch, precision=settings.precision, statistics=True)
                loss -= scores.logprobs.sum().item()
                hits += scores.is_argmax.sum().item()
                tokens += (batch.turn_ids > 0).sum().item()
                for turn in range(1, int(batch.turn_ids.max()) + 1):
                    inside = batch.turn_ids == turn
                    present = inside.any(dim=1)
                    exact_turns += (present & (scores.is_argmax | ~inside).all(dim=1)).sum().item()
                    turns += present.sum().item()
        return {
            "held_out/loss": loss / tokens,
            "held_out/accuracy": hits / tokens,
            "held_out/turn_accuracy": exact_turns / turns,
        }


def encode_demonstrations(
    trajectories: Sequence[Trajectory], renderer: Renderer, *, turn_end: Literal["end_token", "action"] = "end_token"
) -> list[Trajectory]:
    """Return the trajectories with token ids, tokenising those with text alone; those without a turn are left out.

    Raises:
        DataError: no trajectory has a turn.
    """
    encoded = [
        trajectory if trajectory.prompt_token_ids else encode_demonstration(trajectory, renderer, turn_end=turn_end)
        for trajectory in trajectories
        if trajectory.turns
    ]
    if not encoded:
        raise DataError(f"expected demonstrations with at least one turn, but none of the {len(trajectories)} has one")
    return encoded


def encode_demonstration(
    trajectory: Trajectory, renderer: Renderer, *, turn_end: Literal["end_token", "action"] = "end_token"
) -> Trajectory:
    """Return a trajectory of plain text with the token ids that the sampler would have read and written.

    A turn is given its end-of-turn token, since the policy must learn to write it, unless it was cut off for its length
    or ends by its action (``turn_end``): there the token is context, as it is in sampling.

    Args:
        trajectory: one with the messages of its prompt and the text and observation of each turn.
        renderer: renderer of the policy.
        turn_end: end of turns in sampling.

    Raises:
        DataError: the prompt is missing, or a turn before the last has no observation, and the context is unknown; or a
            turn has no thought, and the chat template opens one.
    """
    if not trajectory.prompt:
        raise DataError(f"trajectory {trajectory.id!r}: expected the messages of its prompt, found none")
    turns = []
    for position, turn in enumerate(trajectory.turns):
        ids = renderer.encode_turn(turn.text)
        by_action = turn_end == "action" and turn.text.rstrip().endswith(("</tool>", "</answer>"))
        ended = turn.finish_reason is FinishReason.STOP and not by_action
        context: tuple[int, ...] = ()
        if position < len(trajectory.turns) - 1:
            if not turn.observation:
                raise DataError(
                    f"trajectory {trajectory.id!r}, turn {turn.index}: expected the observation that the next turn "
                    f"answers, found none"
                )
            context = renderer.increment([Message(role="user", content=turn.observation)], ended=ended)
        ids = (*ids, renderer.end_of_turn_id) if ended else ids
        turns.append(turn.model_copy(update={"token_ids": ids, "context_token_ids": context}))
    return trajectory.model_copy(update={"prompt_token_ids": renderer.prompt(trajectory.prompt), "turns": tuple(turns)})
