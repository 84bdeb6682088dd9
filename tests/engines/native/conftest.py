"""A tiny random Llama over bytes, and trajectories for it."""

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workflow_r1.config.run import RunConfig
from workflow_r1.engines.native.warmstart import Warmstart
from workflow_r1.trajectory import Question, StopReason, Trajectory, Turn

torch.set_num_threads(1)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ["<|pad|>", "<|im_start|>", "<|im_end|>"]


def make_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
    for character in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[character] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(SPECIAL_TOKENS) + 256,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.1,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny-llama")
    make_model().save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture
def model() -> LlamaForCausalLM:
    return make_model()


def make_trajectories(num: int, *, seed: int = 0, num_turns: tuple[int, int] = (1, 3)) -> list[Trajectory]:
    """Random tokens in random turns; log-probabilities are plausible and wrong."""
    generator = random.Random(seed)

    def tokens(low: int, high: int) -> tuple[int, ...]:
        return tuple(generator.randrange(3, 259) for _ in range(generator.randint(low, high)))

    trajectories = []
    for index in range(num):
        turns = []
        for turn in range(1, generator.randint(*num_turns) + 1):
            ids = (*tokens(1, 6), 2)
            turns.append(
                Turn(
                    index=turn,
                    text="",
                    token_ids=ids,
                    logprobs=tuple(-generator.random() * 6 for _ in ids),
                    context_token_ids=tokens(1, 9),
                    well_formed=True,
                )
            )
        trajectories.append(
            Trajectory(
                id=f"t{index}",
                group_id=f"g{index // 4}",
                question=Question(id=f"q{index // 4}", text="?", golden_answers=("x",)),
                prompt_token_ids=tokens(2, 8),
                turns=tuple(turns),
                stop_reason=StopReason.ANSWERED,
            )
        )
    return trajectories


@pytest.fixture
def trajectory_maker() -> Callable[..., list[Trajectory]]:
    return make_trajectories


@pytest.fixture
def model_maker() -> Callable[..., LlamaForCausalLM]:
    return make_model


@pytest.fixture
def trajectories() -> list[Trajectory]:
    return make_trajectories(8)


@pytest.fixture
def run_config(model_directory: Path) -> RunConfig:
    return RunConfig.model_validate({"policy": {"model": str(model_directory), "device": "cpu", "threads": 1}})


def _load_tiny_run() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_run", Path(__file__).with_name("tiny_run.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_run() -> ModuleType:
    return _load_tiny_run()


@pytest.fixture(scope="session")
def warm_directory(model_directory: Path, tiny_run: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that speaks the grammar, calls the operator half of the time and is right more often than not."""
    warmstart = {"batch_tokens": 1200, "learning_rate": 1e-2, "epochs": 35, "held_out_fraction": 0.0}
    config = tiny_run.tiny_config(model_directory, warmstart=warmstart)
    return (
        Warmstart(
            config=config,
            run_directory=tmp_path_factory.mktemp("warm"),
            demonstrations=tiny_run.demonstrations(),
        )
        .run()
        .policy_directory
    )
