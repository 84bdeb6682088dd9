import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from workflow_r1.engines.native.warmstart import Warmstart, encode_demonstration, encode_demonstrations
from workflow_r1.errors import CheckpointError, DataError, UserError
from workflow_r1.policy.model import load_policy_model
from workflow_r1.policy.packing import pack
from workflow_r1.recording.events import HeldOutScored, WarmstartProgress
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.trajectory import FinishReason, Message, Question, StopReason, Trajectory, Turn


@pytest.fixture
def config(run_config):
    values = {"batch_tokens": 300, "learning_rate": 3e-3, "checkpoint_every": 2, "score_every": 3, "epochs": 2}
    return run_config.model_copy(
        update={
            "warmstart": run_config.warmstart.model_copy(update={**values, "held_out_fraction": 0.2}),
            "optimiser": run_config.optimiser.model_copy(update={"micro_batch_tokens": 100}),
        }
    )


def rows(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in lines]


def change(config, **values):
    return config.model_copy(update={"warmstart": config.warmstart.model_copy(update=values)})


def test_it_learns_and_saves_a_policy_that_anyone_can_load(config, trajectory_maker, tmp_path):
    demonstrations = trajectory_maker(20)
    events = []
    config = change(config, epochs=12)
    result = Warmstart(
        config=config,
        run_directory=tmp_path / "run",
        demonstrations=demonstrations,
        held_out=demonstrations,
        on_event=events.append,
    ).run()
    metrics = rows(tmp_path / "run" / "metrics.jsonl")
    assert metrics[-1]["warmstart/loss"] < metrics[0]["warmstart/loss"] - 0.5
    assert [row["step"] for row in metrics] == list(range(1, result.step + 1))
    assert metrics[-1]["warmstart/learning_rate"] == pytest.approx(3e-4)
    scored = [event for event in events if isinstance(event, HeldOutScored)]
    assert result.finished and result.metrics == scored[-1].metrics
    assert sum(isinstance(event, WarmstartProgress) for event in events) == result.step
    saved = AutoModelForCausalLM.from_pretrained(result.policy_directory).eval()
    batch = pack(demonstrations, 0)
    with torch.no_grad():
        logits = saved(input_ids=batch.input_ids).logits[:, :-1]
    policy = batch.turn_ids[:, 1:] > 0
    loss = torch.nn.functional.cross_entropy(logits[policy], batch.input_ids[:, 1:][policy])
    assert loss.item() == pytest.approx(result.metrics["held_out/loss"], abs=1e-4)


def test_micro_batches_do_not_change_a_step(config, trajectory_maker, tmp_path):
    histories = []
    for micro_batch_tokens in (1, 64, 100_000):
        directory = tmp_path / str(micro_batch_tokens)
        cut = config.model_copy(
            update={"optimiser": config.optimiser.model_copy(update={"micro_batch_tokens": micro_batch_tokens})}
        )
        cut = change(cut, observation_loss=0.3)
        Warmstart(config=cut, run_directory=directory, demonstrations=trajectory_maker(20)).run()
        histories.append(
            [(row["warmstart/loss"], row["warmstart/grad_norm"]) for row in rows(directory / "metrics.jsonl")]
        )
    for history in histories[1:]:
        assert torch.allclose(torch.tensor(history), torch.tensor(histories[0]), rtol=1e-4)


def test_observation_loss_weighs_the_other_tokens(config, trajectory_maker, tmp_path):
    demonstrations = trajectory_maker(3)
    config = change(config, observation_loss=0.25, epochs=1, held_out_fraction=0.0, batch_tokens=10_000)
    model, _ = load_policy_model(config.policy)
    Warmstart(config=config, run_directory=tmp_path, demonstrations=demonstrations).run()
    batch = pack(demonstrations, 0)
    logits = model(input_ids=batch.input_ids).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch.input_ids[:, 1:], reduction="none")
    weights = torch.where(batch.turn_ids > 0, 1.0, 0.25)[:, 1:] * batch.attention_mask[:, 1:]
    expected = (losses * weights).sum() / weights.sum()
    assert rows(tmp_path / "metrics.jsonl")[0]["warmstart/loss"] == pytest.approx(expected.item(), abs=1e-5)


def test_stopped_and_resumed_equals_uninterrupted(config, trajectory_maker, tmp_path):
    demonstrations = trajectory_maker(20)
    whole = Warmstart(config=config, run_directory=tmp_path / "whole", demonstrations=demonstrations).run()

    def stop_at_three(event):
        if isinstance(event, WarmstartProgress) and event.step == 3:
            stopped.request_stop()

    stopped = Warmstart(
        config=config, run_directory=tmp_path / "parts", demonstrations=demonstrations, on_event=stop_at_three
    )
    first = stopped.run()
    assert not first.finished and first.step == 3 and not first.policy_directory.exists()
    second = Warmstart(config=config, run_directory=tmp_path / "parts", demonstrations=demonstrations).run(resume=True)
    assert second.finished and second.metrics == whole.metrics
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert rows(tmp_path / "parts" / name) == rows(tmp_path / "whole" / name)


@pytest.mark.parametrize("look", range(1, 7))
def test_a_stop_that_comes_between_two_looks_leaves_a_checkpoint_of_its_step(
    config, trajectory_maker, tmp_path, look, monkeypatch
):
    """A request that came after the look for the checkpoint and before that for the end had lost the steps since the last one."""
    looks = []

    def is_asked(warmstart):
        looks.append(True)
        return len(looks) >= look

    monkeypatch.setattr(Warmstart, "_stop", property(is_asked, lambda warmstart, value: None), raising=False)
    config = change(config, checkpoint_every=100)
    result = Warmstart(config=config, run_directory=tmp_path, demonstrations=trajectory_maker(20)).run()
    saved = [int(path.name.rpartition("-")[2]) for path in (tmp_path / "checkpoints").glob("*")]
    assert saved == ([result.step] if result.step else [])


def test_bad_input(config, trajectory_maker, tmp_path):
    with pytest.raises(DataError, match="at least one demonstration"):
        Warmstart(config=config, run_directory=tmp_path, demonstrations=[])
    Warmstart(config=config, run_directory=tmp_path, demonstrations=trajectory_maker(4)).run()
    with pytest.raises(UserError, match="already holds a run"):
        Warmstart(config=config, run_directory=tmp_path, demonstrations=trajectory_maker(4)).run()
    with pytest.raises(CheckpointError, match=r"warmstart.learning_rate: 0.003 in the checkpoint, 0.1 now"):
        Warmstart(
            config=change(config, learning_rate=0.1), run_directory=tmp_path, demonstrations=trajectory_maker(4)
        ).run(resume=True)


def text_trajectory(**turn):
    return Trajectory(
        id="d",
        group_id="g",
        question=Question(id="q", text="Who?", golden_answers=("x",)),
        prompt=(Message(role="user", content="Who?"),),
        turns=(
            Turn(
                **{"index": 1, "text": "<tool>S: a</tool>", "observation": "<info>b</info>", "well_formed": True} | turn
            ),
            Turn(index=2, text="<answer>c</answer>", well_formed=True),
        ),
        stop_reason=StopReason.ANSWERED,
    )


def spelled(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False)


def test_text_becomes_the_tokens_of_the_sampler(run_config):
    tokenizer = load_policy_model(run_config.policy)[1]
    encoded = encode_demonstration(text_trajectory(), Renderer(tokenizer))
    first, second = encoded.turns
    assert spelled(tokenizer, encoded.prompt_token_ids) == "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
    assert spelled(tokenizer, first.token_ids) == "<tool>S: a</tool><|im_end|>"
    context = "\n<|im_start|>user\n<info>b</info><|im_end|>\n<|im_start|>assistant\n"
    assert spelled(tokenizer, first.context_token_ids) == context
    assert spelled(tokenizer, second.token_ids) == "<answer>c</answer><|im_end|>"
    assert second.context_token_ids == ()


@pytest.mark.parametrize("cut", ["action", "length"])
def test_a_turn_that_did_not_end_itself_leaves_the_end_token_to_the_context(run_config, cut):
    tokenizer = load_policy_model(run_config.policy)[1]
    trajectory = text_trajectory(finish_reason=FinishReason.LENGTH if cut == "length" else FinishReason.STOP)
    turn_end = "action" if cut == "action" else "end_token"
    first = encode_demonstration(trajectory, Renderer(tokenizer), turn_end=turn_end).turns[0]
    assert spelled(tokenizer, first.token_ids) == "<tool>S: a</tool>"
    assert spelled(tokenizer, first.context_token_ids).startswith("<|im_end|>\n<|im_start|>user")


OPENING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n{{ '<think>\n' }}"
)


def test_a_template_that_opens_the_thought_opens_it_once(run_config):
    tokenizer = load_policy_model(run_config.policy)[1]
    tokenizer.chat_template = OPENING
    trajectory = text_trajectory(text="<think>why</think><tool>S: a</tool>")
    trajectory = trajectory.model_copy(
        update={
            "turns": (
                trajectory.turns[0],
                trajectory.turns[1].model_copy(update={"text": "<think>\nso</think><answer>c</answer>"}),
            )
        }
    )
    encoded = encode_demonstration(trajectory, Renderer(tokenizer))
    whole = [*encoded.prompt_token_ids]
    for turn in encoded.turns:
        whole += [*turn.token_ids, *turn.context_token_ids]
    assert spelled(tokenizer, whole) == (
        "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n<think>\nwhy</think><tool>S: a</tool><|im_end|>"
        "\n<|im_start|>user\n<info>b</info><|im_end|>\n<|im_start|>assistant\n<think>\nso</think><answer>c</answer><|im_end|>"
    )


def test_control_tokens_in_a_demonstration_are_text(run_config):
    tokenizer = load_policy_model(run_config.policy)[1]
    first = encode_demonstration(text_trajectory(text="a<|im_end|>b"), Renderer(tokenizer)).turns[0]
    assert first.token_ids.count(tokenizer.eos_token_id) == 1


def test_demonstrations_that_cannot_be_tokenised(run_config):
    tokenizer = load_policy_model(run_config.policy)[1]
    renderer = Renderer(tokenizer)
    with pytest.raises(DataError, match="messages of its prompt"):
        encode_demonstration(text_trajectory().model_copy(update={"prompt": ()}), renderer)
    with pytest.raises(DataError, match="turn 1: expected the observation"):
        encode_demonstration(text_trajectory(observation=""), renderer)
    with pytest.raises(DataError, match="at least one turn"):
        encode_demonstrations([text_trajectory().model_copy(update={"turns": ()})], renderer)
