"""The whole path in one file: one step of GSsPO on a CPU, in the embedded world (a simulation), in under a minute.

    python examples/whole_path.py

The numbers are those of the path table in CONTRIBUTING. ``engines/native/run.py`` walks the same path with mini-batches,
micro-batches, a reference policy, checkpoints and metrics; here every stage is one call that you can change.
"""

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from workflow_r1.algorithms import group_advantages, policy_loss, unit_ids
from workflow_r1.config import RunConfig, load_run_config
from workflow_r1.embedded import EmbeddedWorld, SimulatedExpert, policy_directory
from workflow_r1.environment import Environment, QuestionEnvironment
from workflow_r1.evaluation import evaluate
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorServices
from workflow_r1.policy.forward import token_scores
from workflow_r1.policy.local_sampler import LocalSampler
from workflow_r1.policy.model import load_policy_model
from workflow_r1.policy.packing import pack
from workflow_r1.rewards import score_trajectory
from workflow_r1.rollout import rollout_groups
from workflow_r1.trajectory import Question, Trajectory

CLIP = 0.2


def show(number: int, stage: str, text: object) -> None:
    """Print the result of a stage."""
    print(f"{number:>2} {stage:<12}{str(text).replace(chr(10), chr(10) + ' ' * 15)}")


def environments_of(world: EmbeddedWorld, config: RunConfig) -> Callable[[Question], Environment]:
    """Real operators over real retrieval; only the LLM behind the operators is simulated."""
    services = OperatorServices(
        chat=SimulatedExpert(world), search=world.search, config=OperatorConfig(search_k=config.search.k)
    )
    return lambda question: QuestionEnvironment(
        question, config=config.environment, operators=OPERATORS, services=services
    )


def describe(trajectory: Trajectory) -> str:
    """One trajectory as a person reads it."""
    lines = [line for turn in trajectory.turns for line in (turn.text, turn.observation) if line]
    return "\n".join([*lines, f"({trajectory.stop_reason}, {trajectory.num_policy_tokens} policy tokens)"])


async def walk(config: RunConfig, *, num_questions: int, group_size: int, num_held_out: int) -> None:
    """Take one step of training and print every stage."""
    model, tokenizer = load_policy_model(config.policy)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.optimiser.learning_rate, weight_decay=0.0)
    world = EmbeddedWorld(config.embedded)
    make_environment = environments_of(world, config)

    def sampler(temperature: float) -> LocalSampler:
        """The policy as rollouts see it: something that turns messages into tokens and samples turns."""
        sampling = config.sampling.model_copy(update={"temperature": temperature})
        return LocalSampler(model, tokenizer, sampling=sampling)

    async def exact_match() -> object:
        """Greedy, on questions about entities that no training question mentions."""
        questions = world.questions("evaluation", num_held_out)
        result = await evaluate(questions, policy=sampler(0.0), make_environment=make_environment)
        return result.figures.exact_match

    before = await exact_match()

    # 1. Questions: what a trajectory tries to answer.
    questions = world.questions("train", num_questions)
    show(1, "question", f"{questions[0].text}  (golden: {', '.join(questions[0].golden_answers)})")

    # 2. Prompt: messages, then token ids by the policy's own chat template.
    messages = make_environment(questions[0]).initial_messages()
    token_ids = sampler(1.0).renderer.prompt(messages)
    show(2, "prompt", f"{messages[0].role}: {messages[0].content}  ({len(token_ids)} tokens)")

    # 3. Rollout: policy and environment in turn, all trajectories at once, a group for each question.
    groups = await rollout_groups(
        questions,
        policy=sampler(1.0),
        make_environment=make_environment,
        group_size=group_size,
        seed=config.seed,
        max_concurrency=config.sampling.max_sessions,
    )
    show(3, "rollout", f"{len(groups)} groups of {len(groups[0])} trajectories")

    # 4. Trajectories; what the infrastructure ended (here: nothing) is never scored. Then tensors: the tokens are those
    # that were sampled, each with the turn that wrote it, or 0 where the policy did not write it.
    members = [(trajectory, index) for index, group in enumerate(groups) for trajectory in group]
    members = [(trajectory, index) for trajectory, index in members if not trajectory.stop_reason.is_infrastructure]
    trajectories = [trajectory for trajectory, _ in members]
    example = max(trajectories, key=lambda trajectory: (trajectory.answer is not None, len(trajectory.turns)))
    show(4, "trajectory", f"{example.question.text}\n{describe(example)}")
    batch = pack(trajectories, tokenizer.pad_token_id)
    share = (batch.turn_ids > 0).sum() / batch.attention_mask.sum()
    show(4, "packed", f"{tuple(batch.input_ids.shape)}; the policy wrote {share:.0%} of the tokens")

    # 5. Reward: answer plus format.
    rewards = [score_trajectory(trajectory).reward for trajectory in trajectories]
    show(5, "reward", f"of that trajectory: {rewards[trajectories.index(example)]}")

    # 6. Advantage: each reward against those of its group.
    totals = torch.tensor([reward.total for reward in rewards])
    group_ids = torch.tensor([index for _, index in members])
    advantages = group_advantages(totals, group_ids)
    num_learning = len(group_ids[advantages != 0].unique())
    show(6, "advantage", f"mean reward {totals.mean():.2f}; {num_learning} of {len(groups)} groups teach something")

    # 7. Importance ratio: one per turn, the geometric mean over its tokens. The old policy is the one that sampled,
    # scored by the trainer, so that before the step every ratio is 1.
    logprobs = token_scores(model, batch).logprobs
    objective: dict[str, Any] = {
        "old_logprobs": logprobs.detach(),
        "advantages": advantages,
        "unit_ids": unit_ids(batch.turn_ids, "turn"),
        "clip_low": CLIP,
        "clip_high": CLIP,
    }
    difference = (logprobs.detach() - batch.sampler_logprobs)[batch.turn_ids > 0].abs().max()
    show(7, "ratio", f"1 for every turn; sampler and trainer differ by {difference:.1e} nats at most")

    # 8. Loss: the clipped surrogate, averaged over the turns of each trajectory, then over trajectories.
    objective_before = policy_loss(logprobs=logprobs, **objective)
    show(8, "loss", f"{objective_before.loss.item():.4f} over {objective_before.metrics['num_units']:.0f} turns")

    # 9. Update: one optimiser step, and its effect on the ratios of the same turns.
    objective_before.loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimiser.max_grad_norm)
    optimiser.step()
    with torch.no_grad():
        after = policy_loss(logprobs=token_scores(model, batch).logprobs, **objective)
    ratios = f"{after.metrics['ratio_min']:.3f} to {after.metrics['ratio_max']:.3f}"
    show(9, "update", f"gradient norm {norm:.2f}; the loss is now {after.loss.item():.4f}, the ratios {ratios}")

    # 10. Evaluation. One step changes little: `make train` takes many.
    show(10, "evaluation", f"held-out exact match {before} before the step, {await exact_match()} after")


def main() -> None:
    """Read the arguments and walk."""
    parser = argparse.ArgumentParser(description="One step of GSsPO in the embedded world (a simulation).")
    parser.add_argument("--policy", type=Path, default=policy_directory(), help="a policy in Hugging Face format")
    parser.add_argument("--questions", type=int, default=8, help="groups of the step")
    parser.add_argument("--group-size", type=int, default=8, help="trajectories of each question")
    parser.add_argument("--held-out", type=int, default=100, help="questions of each evaluation")
    arguments = parser.parse_args()
    asyncio.run(
        walk(
            load_run_config("embedded", [f"policy.model={arguments.policy}"]),
            num_questions=arguments.questions,
            group_size=arguments.group_size,
            num_held_out=arguments.held_out,
        )
    )


if __name__ == "__main__":
    main()
