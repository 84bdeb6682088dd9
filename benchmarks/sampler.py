"""Speed of the sampler against plain batched decoding.

    python benchmarks/sampler.py                     # 1.7M-parameter Llama with random weights, one thread, two minutes
    python benchmarks/sampler.py --model DIR         # any Hugging Face causal LM

All figures are decoded (policy) tokens per CPU second; prompt and observation tokens cost time and count for nothing.

* ``bare loop``: the limit. Forward steps of the same model on a static cache and the sampler's own draw from the logits,
  every row as long as the next, no prompt, no observations, no text. Its context is as long, on average, as that of the
  multi-turn rows. In bfloat16 all weights of its model are bfloat16.
* ``generate``: the same by ``model.generate``, with its prompt and its own, dearer draw.
* ``bare + prompts``: the bare loop, and one plain batched forward pass over as many prompt and observation tokens as a
  multi-turn session reads. What is left between this and the sampler is the price of ragged sessions.
* ``bare, as ragged``: the bare loop with as few rows in each step as the sampler had in that step of its last run.
* ``sampler``: multi-turn sessions of ragged turns and observations through ``LocalSampler``, rendering included.
* ``rollout``: the same with environment, operators and records: ``rollout_groups`` on questions. Random weights call no
  operator, so each turn's tokens stand and its text is replaced by a call.

A second table takes its turns from the embedded world (a simulation): the policy that ships, its questions, operators and
limits, as ``workflow-r1 train`` samples them. Its turns are longer and its observations shorter than those above.

Every line is the median over ``--repeats`` interleaved runs, and the ratio is that to the bare loop beside it. ``batch`` is
the mean number of rows of a step, and ``idle`` the share of the slots that decoded nothing.
"""

import argparse
import asyncio
import copy
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from ratios import note
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    StaticCache,
)

from workflow_r1.config.loading import load_run_config
from workflow_r1.environment import EnvironmentConfig, QuestionEnvironment
from workflow_r1.operators import OperatorResult, OperatorServices, operator
from workflow_r1.policy.drawing import draw
from workflow_r1.policy.local_sampler import LocalSampler, LocalSession
from workflow_r1.policy.model import load_policy_model
from workflow_r1.rollout import SampledTurn, SamplingConfig, derive_seed, rollout_groups
from workflow_r1.running.parts import open_environments, train_questions
from workflow_r1.trajectory import Message, Question, Trajectory

NUM_TURNS = 4
TURN_TOKENS = (12, 28)
OBSERVATION = "[1] {a}: {a} is a town in the north of {b}, known for its {c} and founded in the year {n}."
WORDS = [
    "river",
    "valley",
    "museum",
    "harbour",
    "bridge",
    "castle",
    "market",
    "garden",
    "tower",
    "library",
    "forest",
    "station",
]

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Sizes of a session, in tokens."""

    num_tokens: int
    """Decoded."""
    start: int
    """Context of the bare loop before its first token: then its contexts are on average as long as the session's."""
    num_read: int
    """Tokens of prompt and observations, computed anew; the shared part of a group counts once."""


def make_tokenizer(vocab_size: int = 1000) -> PreTrainedTokenizerFast:
    """Train a small byte-level BPE tokenizer on the project's own text."""
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    source = Path(__file__).resolve().parent.parent / "src/workflow_r1/rollout"
    texts = [path.read_text(encoding="utf-8") for path in sorted(source.glob("*.py"))]
    texts += [make_observation(random.Random(seed)) for seed in range(500)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>", chat_template=CHAT_TEMPLATE
    )


def make_model(vocab_size: int, *, num_kv_heads: int = 6) -> LlamaForCausalLM:
    """Make a 1.7M-parameter Llama with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=num_kv_heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config).eval()


def make_observation(generator: random.Random) -> str:
    """Return two passages, about 50 tokens in all."""
    lines = []
    for _ in range(2):
        a, b, c = (generator.choice(WORDS) for _ in range(3))
        lines.append(OBSERVATION.format(a=a, b=b, c=c, n=generator.randint(1000, 1999)))
    return "\n".join(lines)


def run_sampler(sampler: LocalSampler, num: int, *, seed: int) -> tuple[int, int]:
    """Run multi-turn sessions without an environment; return decoded tokens and all tokens."""
    totals = [0, 0]

    async def one(index: int) -> None:
        # The members of a group of 8 answer the same question.
        message = Message(role="user", content=make_observation(random.Random(derive_seed(seed, index // 8))))
        generator = random.Random(derive_seed(seed, index))
        async with sampler.session(seed=derive_seed(seed, index)) as session:
            for _ in range(NUM_TURNS):
                totals[1] += len(session.extend([message]))
                message = Message(role="user", content=make_observation(generator))
                turn = await session.sample(max_tokens=generator.randint(*TURN_TOKENS))
                totals[0] += len(turn.token_ids)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for index in range(num):
                group.create_task(one(index))

    asyncio.run(main())
    return totals[0], totals[0] + totals[1]


@operator(purpose="Looks something up.")
async def lookup(key: str, *, services: OperatorServices) -> OperatorResult:
    """Return passages that depend on the key alone."""
    return OperatorResult(observation=make_observation(random.Random(key)))


class Caller:
    """A policy that samples from another one and always calls the operator."""

    def __init__(self, policy: LocalSampler) -> None:
        self._policy = policy
        self.name = policy.name

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator["CallerSession"]:
        """Open a session."""
        async with self._policy.session(seed=seed) as session:
            yield CallerSession(session, random.Random(seed))


class CallerSession:
    """One session of it."""

    def __init__(self, session: LocalSession, generator: random.Random) -> None:
        self._session = session
        self._generator = generator
        self.extend = session.extend

    async def sample(self, *, max_tokens: int) -> SampledTurn:
        """Sample a turn, keep its tokens, replace its text."""
        turn = await self._session.sample(max_tokens=min(max_tokens, self._generator.randint(*TURN_TOKENS)))
        key = self._generator.randrange(2**32)
        return replace(turn, text=f"<think>next</think><tool>Lookup: {key}</tool>")


def run_rollout(sampler: LocalSampler, num: int, *, seed: int) -> tuple[int, int]:
    """Run whole rollouts in the environment; return decoded tokens and all tokens."""
    config = EnvironmentConfig(prompt_style="brief", operators=("Lookup",), max_turns=NUM_TURNS)
    services = OperatorServices()
    questions = [
        Question(id=str(index), text=make_observation(random.Random(index)), golden_answers=("x",))
        for index in range(num // 8)
    ]
    groups = asyncio.run(
        rollout_groups(
            questions,
            policy=Caller(sampler),
            make_environment=lambda question: QuestionEnvironment(
                question, config=config, operators={"Lookup": lookup}, services=services
            ),
            group_size=8,
            seed=seed,
            max_concurrency=num,
        )
    )
    trajectories = [trajectory for group in groups for trajectory in group]
    decoded = sum(trajectory.num_policy_tokens for trajectory in trajectories)
    fed = sum(len(t.prompt_token_ids) + sum(len(turn.context_token_ids) for turn in t.turns) for t in trajectories)
    return decoded, decoded + fed


class EmbeddedWorkload:
    """The rollouts of a training step of the quickstart: 16 questions of 8 trajectories."""

    def __init__(self) -> None:
        self.config = load_run_config("embedded")
        self.model, tokenizer = load_policy_model(self.config.policy)
        self.sampler = LocalSampler(self.model, tokenizer, sampling=self.config.sampling)
        self.num = self.config.training.questions_per_step * self.config.training.group_size
        self._questions = train_questions(self.config)
        self._make_environment = open_environments(self.config)
        self._trajectories: list[Trajectory] = []

    def run(self, sampler: LocalSampler, num: int, *, seed: int) -> tuple[int, int]:
        """Sample the step of that number; return decoded tokens and all tokens."""
        size = self.config.training.group_size
        groups = asyncio.run(
            rollout_groups(
                self._questions[seed * num // size : (seed + 1) * num // size],
                policy=sampler,
                make_environment=self._make_environment,
                group_size=size,
                seed=seed,
                max_concurrency=num,
            )
        )
        self._trajectories = [trajectory for group in groups for trajectory in group]
        decoded = sum(trajectory.num_policy_tokens for trajectory in self._trajectories)
        return decoded, decoded + sum(map(tokens_read, self._trajectories))

    def shape(self) -> Shape:
        """The shape of the last run's sessions, on average."""
        decoded = sum(trajectory.num_policy_tokens for trajectory in self._trajectories) / self.num
        prompt = sum(len(trajectory.prompt_token_ids) for trajectory in self._trajectories) / self.num
        observed = sum(map(tokens_read, self._trajectories)) / self.num - prompt
        return Shape(
            num_tokens=round(decoded),
            start=round(prompt + observed / 2),
            num_read=round(observed + prompt / self.config.training.group_size),
        )


def tokens_read(trajectory: Trajectory) -> int:
    """Tokens of prompt and observations."""
    return len(trajectory.prompt_token_ids) + sum(len(turn.context_token_ids) for turn in trajectory.turns)


def run_bare_loop(model: torch.nn.Module, num: int, start: int, num_tokens: int) -> float:
    """Decode on a static cache; return the CPU seconds of the steps after the prompt."""
    with torch.inference_mode():
        cache = StaticCache(config=model.config, max_cache_len=start + num_tokens)
        ids = torch.randint(5, model.config.vocab_size, (num, start))
        position = torch.arange(start)[None].expand(num, -1)
        logits = model(input_ids=ids, position_ids=position, past_key_values=cache, logits_to_keep=1).logits
        begun = time.process_time()
        for step in range(num_tokens):
            ids = draw(logits[:, -1], torch.rand(num), temperature=1.0)[0][:, None]
            position = torch.full((num, 1), start + step)
            logits = model(input_ids=ids, position_ids=position, past_key_values=cache, logits_to_keep=1).logits
        return time.process_time() - begun


def run_ragged_loop(model: torch.nn.Module, batches: list[int], shape: Shape) -> float:
    """Return the CPU seconds of bare steps of so many rows each, from those of a few batch sizes."""
    sizes = sorted({2**power for power in range(max(batches).bit_length())} | {max(batches)})
    seconds = [run_bare_loop(model, size, shape.start, shape.num_tokens) / shape.num_tokens for size in sizes]
    return float(np.interp(batches, sizes, seconds).sum())


def run_prompts(model: torch.nn.Module, num: int, num_tokens: int) -> float:
    """Read prompts of one length in plain batches of 16; return the CPU seconds."""
    ids = torch.randint(5, model.config.vocab_size, (num, num_tokens))
    begun = time.process_time()
    with torch.inference_mode():
        for rows in ids.split(16):
            model(input_ids=rows, logits_to_keep=1, use_cache=True)
    return time.process_time() - begun


def run_generate(model: torch.nn.Module, num: int, start: int, num_tokens: int) -> float:
    """Decode with ``generate``; return its CPU seconds, prompt included."""
    ids = torch.randint(5, model.config.vocab_size, (num, start))
    begun = time.process_time()
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        top_k=0,
        min_new_tokens=num_tokens,
        max_new_tokens=num_tokens,
        pad_token_id=0,
    )
    return time.process_time() - begun


def timed(run: Callable[..., tuple[int, int]], sampler: LocalSampler, num: int, *, seed: int) -> tuple[float, float]:
    """Return decoded and all tokens per CPU second."""
    begun = time.process_time()
    decoded, total = run(sampler, num, seed=seed)
    seconds = time.process_time() - begun
    return decoded / seconds, total / seconds


def watch_batches(sampler: LocalSampler) -> list[int]:
    """Return a list to which the sampler will append the number of rows of every step."""
    batches: list[int] = []
    forward = sampler._forward

    def counting(ids: np.ndarray, positions: np.ndarray, outputs: np.ndarray, batch: object) -> torch.Tensor:
        batches.append(len(outputs))
        return forward(ids, positions, outputs, batch)

    sampler._forward = counting
    return batches


def compare(
    bare: torch.nn.Module,
    sampler: LocalSampler,
    runs: dict[str, Callable[..., tuple[int, int]]],
    *,
    num: int,
    shape: Shape,
    repeats: int,
    ratios: Path | None,
    title: str,
) -> None:
    """Print a line for the bare loop, for what is beside it, and for each of ``runs``."""
    batches = watch_batches(sampler)
    run_bare_loop(bare, num, shape.start, 4)
    lines: dict[str, list[tuple[float, float, float]]] = {}
    mean_batch: dict[str, float] = {}
    for repeat in range(repeats):
        seconds = run_bare_loop(bare, num, shape.start, shape.num_tokens)
        speed = num * shape.num_tokens / seconds
        lines.setdefault("bare loop", []).append((speed, speed, 1.0))
        limit = num * shape.num_tokens / (seconds + run_prompts(bare, num, shape.num_read))
        lines.setdefault("bare + prompts", []).append(
            (limit, limit * (1 + shape.num_read / shape.num_tokens), limit / speed)
        )
        plain = num * shape.num_tokens / run_generate(bare, num, shape.start, shape.num_tokens)
        lines.setdefault("generate", []).append((plain, plain * (1 + shape.start / shape.num_tokens), plain / speed))
        for name, run in runs.items():
            batches.clear()
            decoded, total = timed(run, sampler, num, seed=repeat + 1)
            lines.setdefault(name, []).append((decoded, total, decoded / speed))
            mean_batch[name] = sum(batches) / len(batches)
        ragged = sum(batches) / run_ragged_loop(bare, batches, shape)
        lines.setdefault("bare, as ragged", []).append((ragged, ragged, ragged / speed))
    for name, rows in lines.items():
        decoded, total, ratio = (statistics.median(column) for column in zip(*rows, strict=True))
        slots = f"{mean_batch[name]:6.0f} {1 - mean_batch[name] / num:6.2f}" if name in mean_batch else ""
        print(f"{num:8}  {name:15} {decoded:13.0f} {total:10.0f} {ratio:12.2f} {slots}", flush=True)
        if name in runs:
            note(ratios, f"{name}, {title}, {num} sessions", [row[2] for row in rows], to="bare decoding loop")


def heading(model: torch.nn.Module, threads: int, precision: str, workload: str) -> None:
    """Print the settings of the measurement."""
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{size:.1f}M parameters, {precision}, {threads} thread(s); {workload}")
    columns = f"{'decoded tok/s':>13} {'all tok/s':>10} {'of bare loop':>12} {'batch':>6} {'idle':>6}"
    print(f"{'sessions':>8}  {'':15} {columns}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", help="Hugging Face model; default: a small Llama with random weights")
    parser.add_argument("--sessions", type=int, nargs="+", default=[32, 128], help="batch sizes (multiples of 8)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--ratios", type=Path, help="file to which the ratios are appended")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.model:
        tokenizer = AutoTokenizer.from_pretrained(arguments.model)
        model = AutoModelForCausalLM.from_pretrained(
            arguments.model, attn_implementation="sdpa", dtype=torch.float32
        ).eval()
    else:
        tokenizer = make_tokenizer()
        model = make_model(len(tokenizer))
    observation = len(tokenizer(make_observation(random.Random(0)))["input_ids"])
    turns = f"{NUM_TURNS} turns of {TURN_TOKENS[0]}-{TURN_TOKENS[1]} tokens, prompt and observations of ~{observation}"
    # The multi-turn rows' context when they decode is, on average, as long as the start and half of num_tokens. The
    # prompt of a group of 8 is read once, the observations by every member.
    shape = Shape(
        num_tokens=NUM_TURNS * sum(TURN_TOKENS) // 2,
        start=observation + (NUM_TURNS - 1) * observation // 2,
        num_read=round(observation * (NUM_TURNS - 1 + 1 / 8)),
    )
    runs: dict[str, Callable[..., tuple[int, int]]] = {"sampler": run_sampler, "rollout": run_rollout}
    for precision in arguments.precisions:
        heading(model, arguments.threads, precision, turns)
        rounded = precision == "bfloat16"
        bare = copy.deepcopy(model).bfloat16() if rounded else model
        for num in arguments.sessions:
            # The first rollout makes its copies of the weights; its cache ends with its last session, as in training.
            sampling = SamplingConfig(max_sessions=num, max_turn_tokens=TURN_TOKENS[1], turn_end="action")
            autocast = torch.bfloat16 if rounded else None
            sampler = LocalSampler(model, tokenizer, sampling=sampling, autocast=autocast)
            run_rollout(sampler, num, seed=0)
            compare(
                bare, sampler, runs, num=num, shape=shape, repeats=arguments.repeats, ratios=arguments.ratios, title=precision
            )  # fmt: skip
    if arguments.model:
        return
    embedded = EmbeddedWorkload()
    torch.set_num_threads(arguments.threads)
    embedded.run(embedded.sampler, embedded.num, seed=0)
    shape = embedded.shape()
    read = f"{shape.num_tokens} tokens a trajectory, {shape.num_read} of prompt and observations"
    heading(embedded.model, arguments.threads, "float32", f"the embedded world (a simulation): {read}")
    compare(
        embedded.model, embedded.sampler, {"rollout": embedded.run}, num=embedded.num, shape=shape,
        repeats=arguments.repeats, ratios=arguments.ratios, title="embedded world",
    )  # fmt: skip


if __name__ == "__main__":
    main()
