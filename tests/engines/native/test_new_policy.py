"""A small policy made from nothing: it copies and orders before it has learnt anything, and a warm start makes it once."""

import itertools

import pytest
import torch
from pydantic import ValidationError

from workflow_r1.config.training import NewPolicyConfig
from workflow_r1.embedded.tokenizer import build_task_tokenizer, number_tokens
from workflow_r1.engines.native.new_policy import make_new_policy, new_model, texts_of
from workflow_r1.engines.native.warmstart import Warmstart
from workflow_r1.policy.model import load_policy_model
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.trajectory import Message, Question, StopReason, Trajectory, Turn

WORDS = ["red", "green", "blue", "black", "white", "brown", "grey", "pink", "gold", "plum"]


def demonstrations(num=24):
    """Short plays in which a colour is copied and a number is guessed."""
    made = []
    for index in range(num):
        word, number = WORDS[index % len(WORDS)], index % 12
        made.append(
            Trajectory(
                id=f"d{index}",
                group_id=f"d{index}",
                question=Question(id=f"d{index}", text=word, golden_answers=()),
                prompt=(Message(role="user", content=f"The door is {word}."),),
                turns=(
                    Turn(
                        index=1,
                        text=f"<think>next</think><tool>Move: {number}</tool>",
                        well_formed=True,
                        observation=f"<info>Not {number}, say {word}.</info>",
                    ),
                    Turn(index=2, text=f"<think>now</think><tool>Say: {word}</tool>", well_formed=True),
                ),
                stop_reason=StopReason.DONE,
            )
        )
    return made


def test_a_number_is_one_token_wherever_it_stands_and_any_text_survives():
    tokenizer = build_task_tokenizer([f"Move: {n}, [{n}] or {n}." for n in range(12)] * 3)
    assert tokenizer.decode(tokenizer("x 7 [7] 7. é<|no|> 348").input_ids) == "x 7 [7] 7. é<|no|> 348"
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in ("7", " 7", "[7]", "-7")]
    seven = tokenizer.get_vocab()["7"]
    assert all(seven in each for each in ids) and ids[0] == [seven]
    assert [tokenizer.decode([token]) for token in number_tokens(tokenizer)] == [str(n) for n in range(12)]


def test_a_rare_word_is_written_in_bytes_and_needs_no_place_of_its_own():
    tokenizer = build_task_tokenizer(["an often often often seldom"])
    assert "Ġoften" in tokenizer.get_vocab() and "Ġseldom" not in tokenizer.get_vocab()


def test_an_untrained_policy_says_again_what_followed_a_word():
    model, tokenizer = make_new_policy(demonstrations(60), NewPolicyConfig(), seed=0)
    pairs = list(itertools.pairwise(WORDS))[::2]
    told = "".join(f" {one} {other}" for one, other in pairs)
    places = tokenizer.convert_tokens_to_ids([f"Ġ{word}" for word in WORDS])
    right = []
    for one, other in pairs:
        ids = tokenizer(f"{told} {one}", add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            likeliest = model(ids).logits[0, -1, places].argmax().item()
        right.append(WORDS[likeliest] == other)
    assert sum(right) >= len(right) - 1


def test_an_untrained_policy_knows_the_order_of_numbers():
    tokenizer = build_task_tokenizer([f"{n} {n} {n}" for n in range(20)])
    ordered = number_tokens(tokenizer)
    assert len(ordered) == 20
    model = new_model(tokenizer, NewPolicyConfig(), ordered=ordered, seed=0)
    embedded = model.get_input_embeddings().weight[ordered, 1]
    assert (embedded.diff() > 0).all()


@pytest.mark.parametrize(("size", "heads"), [(96, 5), (90, 6)])
def test_a_size_that_heads_cannot_share_is_refused(size, heads):
    with pytest.raises(ValidationError, match="multiple of twice num_heads"):
        NewPolicyConfig(hidden_size=size, num_heads=heads)


def test_a_warm_start_makes_the_policy_teaches_it_and_resumes_with_the_same(run_config, tmp_path):
    config = run_config.model_copy(
        update={
            "policy": run_config.policy.model_copy(update={"model": str(tmp_path / "nowhere")}),
            "warmstart": run_config.warmstart.model_copy(
                update={
                    "new_policy": NewPolicyConfig(hidden_size=24, num_layers=1, num_heads=2, intermediate_size=32),
                    "batch_tokens": 300,
                    "learning_rate": 1e-2,
                    "epochs": 6,
                    "checkpoint_every": 2,
                    "held_out_fraction": 0.1,
                }
            ),
        }
    )

    def warm_start():
        return Warmstart(config=config, run_directory=tmp_path / "run", demonstrations=demonstrations())

    first = warm_start()
    first.request_stop()
    assert not first.run().finished
    made = (tmp_path / "run" / "new-policy" / "model.safetensors").read_bytes()
    result = warm_start().run(resume=True)
    assert result.finished and result.metrics["held_out/loss"] < 3
    assert (tmp_path / "run" / "new-policy" / "model.safetensors").read_bytes() == made
    policy = config.policy.model_copy(update={"model": str(result.policy_directory)})
    model, tokenizer = load_policy_model(policy)
    assert sum(each.numel() for each in model.parameters()) < 20_000
    assert Renderer(tokenizer).prompt([Message(role="user", content="The door is red.")])


def test_all_texts_of_a_trajectory_reach_its_tokenizer():
    assert texts_of(demonstrations(1)) == [
        "The door is red.",
        "<think>next</think><tool>Move: 0</tool>",
        "<info>Not 0, say red.</info>",
        "<think>now</think><tool>Say: red</tool>",
        "",
    ]
