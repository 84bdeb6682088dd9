"""One whole training step, rollouts included, against the same step in TRL 1.16's GRPOTrainer.

    python3.11 -m venv .venv-trl
    .venv-trl/bin/pip install torch==2.13.0            # first: the CPU build
    .venv-trl/bin/pip install 'trl==1.16.*' -e '.[train]'
    OMP_NUM_THREADS=1 .venv-trl/bin/python benchmarks/step_vs_trl.py --model DIRECTORY

Both train the same model on the same questions of the embedded world (a simulation), through the same environment and
operators, groups of 8, no KL, AdamW, with a learning rate so small that the policy stays what it was. TRL gets a
``rollout_func``, in two forms:

* ``generate``: what its documentation suggests, batched ``model.generate``, which reads the whole context again every turn;
* ``our sampler``: our ``LocalSampler`` inside TRL, so that only TRL's own work differs.

Figures are CPU seconds of a step, the median over ``--steps`` after one that warms up; on a machine that others use
too, wall time measures them. The policy's tokens stand beside them, since each samples its own.

A second table shows where the difference comes from. Both get the same rows, and only the update counts: as they were
sampled, and as many rows of the same mean length that are all equally long, where TRL has nothing to pad. In both, a group
shares its prompt, which this project computes once; the equal rows share nothing else, and all of them have an advantage.
"""

import argparse
import asyncio
import itertools
import logging
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from update import in_groups, make_update, sampled_by

from workflow_r1.config import load_run_config
from workflow_r1.config.run import RunConfig
from workflow_r1.engines.native.run import Trainer
from workflow_r1.environment import Environment
from workflow_r1.policy.local_sampler import LocalSampler
from workflow_r1.policy.model import model_source
from workflow_r1.policy.packing import pack
from workflow_r1.recording.events import Event, StepFinished, StepStarted
from workflow_r1.rewards import score_trajectory
from workflow_r1.rollout import rollout_groups
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.running.parts import open_environments, train_questions
from workflow_r1.trajectory import (
    AnswerReward,
    FinishReason,
    Question,
    ScoredTrajectory,
    StopReason,
    Trajectory,
    Turn,
)

GROUP_SIZE = 8
MakeEnvironment = Callable[[Question], Environment]
Sample = Callable[[Any, list[Question]], list[Trajectory]]
Groups = list[list[Trajectory]]


def main() -> None:
    """Time the three and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="'embedded' or the directory of a causal LM")
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    config = configure(arguments.model, arguments.questions, arguments.steps, arguments.threads)
    questions = train_questions(config)
    make_environment = open_environments(config)

    ours = time_ours(config, questions, make_environment)
    report("workflow-r1", ours, ours)
    for name, sample in (
        ("TRL, our sampler", with_our_sampler(config, make_environment)),
        ("TRL, generate", with_generate(config, make_environment)),
    ):
        step, _, tokens = time_trl(config, questions, sample)
        report(name, (step, tokens), ours)

    print("\nthe update alone, on the same rows:")
    sampled = sample_rows(config, questions[: arguments.questions], make_environment)
    for name, groups in (("as sampled", sampled), ("of equal length", equal_rows(sampled))):
        lengths = [pack([trajectory]).input_ids.shape[1] for group in groups for trajectory in group]
        mean, longest = statistics.mean(lengths), max(lengths)
        update = time_our_update(config, groups)
        _, theirs, _ = time_trl(config, [group[0].question for group in groups], replay(groups))
        print(
            f"{name:16s} {len(lengths)} rows, {mean:4.0f} tokens on the mean, {longest} at most; workflow-r1 {update:6.2f} CPU s, "
            f"TRL {theirs:6.2f}; {theirs / update:5.2f} of ours"
        )


def configure(model: str, num_questions: int, steps: int, threads: int) -> RunConfig:
    """Return the configuration of both sides."""
    overrides = [
        f"policy.model={model}",
        f"policy.threads={threads}",
        "objective.kl_coefficient=0.0",
        "optimiser.learning_rate=1e-9",
        f"training.steps={steps + 1}",
        f"training.questions_per_step={num_questions}",
        f"training.mini_batch_questions={num_questions}",
        f"training.group_size={GROUP_SIZE}",
        "training.evaluation_questions=0",
        "training.checkpoint_every=1000",
    ]
    return load_run_config("embedded", overrides=overrides)


def load(config: RunConfig) -> tuple[Any, Any]:
    """Return the model and its tokenizer."""
    source = model_source(config.policy)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="sdpa")
    return model, AutoTokenizer.from_pretrained(source)


def report(name: str, timed: tuple[float, float], ours: tuple[float, float]) -> None:
    """Print one line."""
    seconds, tokens = timed
    ratio = seconds / ours[0]
    per_token = (seconds / tokens) / (ours[0] / ours[1])
    print(
        f"{name:18s} {seconds:7.2f} CPU s a step, {tokens:6.0f} policy tokens; {ratio:5.2f} of ours, {per_token:5.2f} per token"
    )


def time_ours(config: RunConfig, questions: list[Question], make_environment: MakeEnvironment) -> tuple[float, float]:
    """Return the median CPU seconds of a step and the mean policy tokens."""
    started, seconds, tokens = 0.0, [], []

    def watch(event: Event) -> None:
        nonlocal started
        if isinstance(event, StepStarted):
            started = time.process_time()
        elif isinstance(event, StepFinished):
            seconds.append(time.process_time() - started)
            tokens.append(event.metrics["rollout/policy_tokens"] * event.metrics["rollout/num_trajectories"])

    with tempfile.TemporaryDirectory() as directory:
        Trainer(
            config=config,
            run_directory=Path(directory),
            train_questions=questions,
            evaluation_questions=[],
            make_environment=make_environment,
            on_event=watch,
        ).run()
    return statistics.median(seconds[1:]), statistics.mean(tokens[1:])


def time_trl(config: RunConfig, questions: list[Question], sample: Sample) -> tuple[float, float, float]:
    """Return the median CPU seconds of a step, those of its rollouts left out, and the mean policy tokens."""
    model, tokenizer = load(config)
    by_text = {question.text: question for question in questions}
    seconds, sampling, tokens = [], [], []

    def rollout(prompts: list[str], trainer: GRPOTrainer) -> dict[str, list[Any]]:
        began = time.process_time()
        model.eval()
        trajectories = sample((model, tokenizer), [by_text[prompt] for prompt in prompts])
        model.train()
        tokens.append(sum(trajectory.num_policy_tokens for trajectory in trajectories))
        fields: dict[str, list[Any]] = {
            name: [] for name in ("prompt_ids", "completion_ids", "logprobs", "env_mask", "total_reward")
        }
        for trajectory in trajectories:
            batch, start = pack([trajectory]), len(trajectory.prompt_token_ids)
            fields["prompt_ids"].append(list(trajectory.prompt_token_ids))
            fields["completion_ids"].append(batch.input_ids[0, start:].tolist())
            fields["logprobs"].append(batch.sampler_logprobs[0, start:].tolist())
            fields["env_mask"].append((batch.turn_ids[0, start:] > 0).int().tolist())
            fields["total_reward"].append(scored(trajectory).reward.total)
        sampling.append(time.process_time() - began)
        return fields

    def reward(completions: list[str], total_reward: list[float], **fields: Any) -> list[float]:
        return total_reward

    class Clock(TrainerCallback):
        def on_step_begin(self, *arguments: Any, **fields: Any) -> None:
            self.started = time.process_time()

        def on_step_end(self, *arguments: Any, **fields: Any) -> None:
            seconds.append(time.process_time() - self.started)

    num = config.training.questions_per_step * GROUP_SIZE
    with tempfile.TemporaryDirectory() as directory:
        GRPOTrainer(
            model=model,
            processing_class=tokenizer,
            reward_funcs=reward,
            train_dataset=Dataset.from_list([{"prompt": question.text} for question in questions]),
            rollout_func=rollout,
            callbacks=[Clock()],
            args=GRPOConfig(
                output_dir=directory,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                per_device_train_batch_size=16,
                gradient_accumulation_steps=num // 16,
                num_generations=GROUP_SIZE,
                max_completion_length=config.environment.max_response_tokens,
                max_steps=config.training.steps,
                learning_rate=1e-9,
                beta=0.0,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            ),
        ).train()
    updates = [step - rollouts for step, rollouts in zip(seconds, sampling, strict=True)]
    return statistics.median(seconds[1:]), statistics.median(updates[1:]), statistics.mean(tokens[1:])


def scored(trajectory: Trajectory) -> ScoredTrajectory:
    """Return a trajectory with its reward."""
    return trajectory if isinstance(trajectory, ScoredTrajectory) else score_trajectory(trajectory)


def sample_rows(config: RunConfig, questions: list[Question], make_environment: MakeEnvironment) -> Groups:
    """Return the scored groups of one step."""
    model, tokenizer = load(config)
    sample = with_our_sampler(config, make_environment)
    rows = sample((model.eval(), tokenizer), [question for question in questions for _ in range(GROUP_SIZE)])
    size = GROUP_SIZE
    return [
        [scored(row).model_copy(update={"group_id": str(start)}) for row in rows[start : start + size]]
        for start in range(0, len(rows), size)
    ]


def equal_rows(groups: Groups) -> Groups:
    """Return as many rows of random tokens, all with the mean numbers of turns and tokens of the given ones."""
    rows = [trajectory for group in groups for trajectory in group]
    turns = [turn for row in rows for turn in row.turns]
    vocabulary = max(token for turn in turns for token in turn.token_ids)
    generator = random.Random(0)

    def mean_tokens(tokens: list[tuple[int, ...]]) -> int:
        return round(statistics.mean(map(len, tokens)))

    def draw(length: int) -> tuple[int, ...]:
        return tuple(generator.randrange(5, vocabulary) for _ in range(length))

    prompt_length = mean_tokens([row.prompt_token_ids for row in rows])
    written = mean_tokens([turn.token_ids for turn in turns])
    context = mean_tokens([turn.context_token_ids for turn in turns])
    num_turns = round(len(turns) / len(rows))
    made = []
    for number, row in enumerate(rows):
        prompt = draw(prompt_length) if number % GROUP_SIZE == 0 else made[-1].prompt_token_ids
        own = [
            Turn(
                index=index,
                text="",
                token_ids=draw(written),
                logprobs=(-1.0,) * written,
                context_token_ids=draw(context) if index < num_turns else (),
                well_formed=True,
            )
            for index in range(1, num_turns + 1)
        ]
        right = float(number % 2)
        made.append(
            ScoredTrajectory(
                id=row.id,
                group_id=row.group_id,
                question=row.question,
                prompt_token_ids=prompt,
                turns=tuple(own),
                stop_reason=StopReason.ANSWERED,
                reward=AnswerReward(total=right, answer=right, format=0.0, exact_match=right, f1=right),
            )
        )
    return in_groups(iter(made))


def replay(groups: Groups) -> Sample:
    """Return rollouts that are there already, the next of its group for each question."""
    waiting = {group[0].question.id: itertools.cycle(group) for group in groups}
    return lambda policy, questions: [next(waiting[question.id]) for question in questions]


def time_our_update(config: RunConfig, groups: Groups) -> float:
    """Return the median CPU seconds of an update."""
    model, _ = load(config)
    update = make_update(model, "float32", mini_batches=1, num_groups=len(groups))
    groups = sampled_by(update, groups)
    seconds = []
    for _ in range(config.training.steps):
        started = time.process_time()
        update.step(groups, policy_version=0)
        seconds.append(time.process_time() - started)
    return statistics.median(seconds[1:])


def with_our_sampler(config: RunConfig, make_environment: MakeEnvironment) -> Sample:
    """Return rollouts by this project's sampler."""
    calls = 0

    def sample(policy: Any, questions: list[Question]) -> list[Trajectory]:
        nonlocal calls
        calls += 1
        model, tokenizer = policy
        groups = asyncio.run(
            rollout_groups(
                questions,
                policy=LocalSampler(model, tokenizer, sampling=config.sampling),
                make_environment=make_environment,
                group_size=1,
                seed=calls,
                max_concurrency=config.sampling.max_sessions,
            )
        )
        return [trajectory for group in groups for trajectory in group]

    return sample


def with_generate(config: RunConfig, make_environment: MakeEnvironment) -> Sample:
    """Return rollouts by ``model.generate``: all live trajectories take their next turn together."""

    def sample(policy: Any, questions: list[Question]) -> list[Trajectory]:
        model, tokenizer = policy
        return asyncio.run(lockstep(model, tokenizer, questions))

    async def lockstep(model: Any, tokenizer: Any, questions: list[Question]) -> list[Trajectory]:
        renderer = Renderer(tokenizer)
        environments = [make_environment(question) for question in questions]
        prompts = [renderer.prompt(environment.initial_messages()) for environment in environments]
        contexts = [list(prompt) for prompt in prompts]
        turns: list[list[Turn]] = [[] for _ in questions]
        stops: list[StopReason | None] = [None] * len(questions)
        answers: list[str | None] = [None] * len(questions)
        while live := [index for index, stop in enumerate(stops) if stop is None]:
            sampled = generate(model, tokenizer, renderer, [contexts[index] for index in live])
            steps = await asyncio.gather(
                *(environments[index].step(renderer.decode(ids)) for index, (ids, _) in zip(live, sampled, strict=True))
            )
            for index, (ids, logprobs), step in zip(live, sampled, steps, strict=True):
                ended = ids[-1] == renderer.end_of_turn_id
                context = renderer.increment(step.messages, ended=ended) if step.stop_reason is None else ()
                turns[index].append(
                    Turn(
                        index=len(turns[index]) + 1,
                        text=renderer.decode(ids),
                        token_ids=ids,
                        logprobs=logprobs,
                        finish_reason=FinishReason.STOP,
                        well_formed=step.well_formed,
                        calls=step.calls,
                        observation=step.observation,
                        context_token_ids=context,
                    )
                )
                contexts[index] += [*ids, *context]
                stops[index], answers[index] = step.stop_reason, step.answer
                used = len(contexts[index]) - len(prompts[index])
                if stops[index] is None and used >= config.environment.max_response_tokens:
                    stops[index] = StopReason.MAX_RESPONSE_TOKENS
        return [
            Trajectory(
                id=str(index),
                group_id=question.id,
                question=question,
                prompt_token_ids=prompts[index],
                turns=tuple(turns[index]),
                answer=answers[index],
                stop_reason=stops[index] or StopReason.MAX_TURNS,
            )
            for index, question in enumerate(questions)
        ]

    def generate(
        model: Any, tokenizer: Any, renderer: Renderer, contexts: list[list[int]]
    ) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
        inputs = tokenizer.pad({"input_ids": contexts}, padding_side="left", return_tensors="pt")
        width = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            output = model.generate(
                **inputs,
                do_sample=True,
                top_k=0,
                top_p=1.0,
                max_new_tokens=config.sampling.max_turn_tokens,
                eos_token_id=ends(tokenizer, renderer),
                pad_token_id=tokenizer.pad_token_id,
                output_logits=True,
                return_dict_in_generate=True,
            )
            logits = torch.stack(output.logits, dim=1).float()
            written = output.sequences[:, width:]
            logprobs = torch.log_softmax(logits, dim=-1).gather(-1, written[..., None])[..., 0]
        end = torch.isin(written, torch.tensor(ends(tokenizer, renderer)))
        lengths = torch.where(end.any(1), end.int().argmax(1) + 1, written.shape[1]).tolist()
        return [
            (tuple(ids[:length]), tuple(values[:length]))
            for ids, values, length in zip(written.tolist(), logprobs.tolist(), lengths, strict=True)
        ]

    def ends(tokenizer: Any, renderer: Renderer) -> list[int]:
        """Return the end of a turn; where actions end it, the closing tags, if they are tokens of their own."""
        closing = [tokenizer.convert_tokens_to_ids(tag) for tag in ("</tool>", "</answer>")]
        known = [index for index in closing if index is not None and index != tokenizer.unk_token_id]
        return [renderer.end_of_turn_id, *(known if config.sampling.turn_end == "action" else [])]

    return sample


if __name__ == "__main__":
    main()
