"""One trajectory inside verl: our environment, operators, prompts and reward, verl's servers for the policy's tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ray
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput, register

from workflow_r1.assembly.operators import build_operators
from workflow_r1.assembly.services import build_services
from workflow_r1.assembly.tasks import build_environments, build_scorer, build_task, needs_of
from workflow_r1.engines.verl.described_run import DescribedRun, require_described_run
from workflow_r1.engines.verl.naming import name_trajectory, policy_version
from workflow_r1.engines.verl.options import AGENT_LOOP
from workflow_r1.engines.verl.rollout_files import RolloutFiles, Use
from workflow_r1.engines.verl.server_policy import ServerPolicy
from workflow_r1.environment import Environment
from workflow_r1.policy.packing import pack
from workflow_r1.policy.tokenizer import released_end_ids
from workflow_r1.rewards import Score
from workflow_r1.rollout import rollout
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.trajectory import Question, ScoredTrajectory, Trajectory

SERVER_FAILURES: tuple[type[Exception], ...] = (ray.exceptions.RayError, ConnectionError, TimeoutError)
"""Errors of a lost or broken server of verl's."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Parts that all trajectories of one worker process share."""

    run: DescribedRun
    renderer: Renderer
    make_environment: Callable[[Question], Environment]
    score: Score
    end_ids: frozenset[int]
    files: RolloutFiles


@register(AGENT_LOOP)
class WorkflowAgentLoop(AgentLoopBase):
    """Lets the policy act in our environment, and hands the tokens to verl as they were sampled."""

    async def run(self, sampling_params: dict[str, Any], **fields: Any) -> AgentLoopOutput:
        """Sample, score and record one trajectory.

        Args:
            sampling_params: verl's parameters, for training or for validation.
            fields: columns of the question file's row, and verl's ``global_steps`` and ``session_id``.

        Returns:
            Tokens, mask and reward. An infrastructure failure has no token of the policy's in its mask, so that it
            enters neither loss nor statistics; the record names it a failure.
        """
        workplace = _open_workplace(self.tokenizer, str(self.config.actor_rollout_ref.model.path))
        config = workplace.run.config
        question = Question.model_validate_json(fields["extra_info"]["question"])
        use: Use = fields["extra_info"]["use"]
        step = int(fields["global_steps"])
        name = name_trajectory(question, seed=config.seed, use=use, step=step, member=int(fields["session_id"]))
        policy = ServerPolicy(
            workplace.renderer,
            self.server_manager.generate,
            sampling=config.sampling,
            parameters=sampling_params,
            end_ids=workplace.end_ids,
            seeded=config.verl.seeded_sampling,
            name=config.policy.model,
            failures=SERVER_FAILURES,
        )
        trajectory: Trajectory = await rollout(
            question,
            policy=policy,
            environment=workplace.make_environment(question),
            trajectory_id=name.trajectory_id,
            group_id=name.group_id,
            seed=name.seed,
            policy_version=policy_version(config.training, step if use == "evaluation" else step - 1),
        )
        if not trajectory.stop_reason.is_infrastructure:
            trajectory = workplace.score(trajectory)
        workplace.files.append(trajectory, use=use, step=step)
        return to_output(
            trajectory,
            versions=policy.versions or [step - 1],
            max_prompt_tokens=config.environment.max_prompt_tokens,
            filler=workplace.renderer.end_of_turn_id,
        )


def to_output(trajectory: Trajectory, *, versions: list[int], max_prompt_tokens: int, filler: int) -> AgentLoopOutput:
    """Lay a trajectory out as verl wants it: the prompt, then turns and context with a mask.

    Args:
        trajectory: a scored one, or an infrastructure failure.
        versions: versions of the weights that sampled it.
        max_prompt_tokens: longest prompt that verl takes; only a ``prompt_too_long`` has a longer one.
        filler: token in place of a missing response or prompt.
    """
    start = len(trajectory.prompt_token_ids)
    ids, mask, logprobs = [filler], [0], [0.0]
    if trajectory.turns and start:
        batch = pack([trajectory])
        ids = batch.input_ids[0, start:].tolist()
        mask = (
            (batch.turn_ids[0, start:] > 0).long().tolist()
            if isinstance(trajectory, ScoredTrajectory)
            else [0] * len(ids)
        )
        logprobs = batch.sampler_logprobs[0, start:].tolist()
    return AgentLoopOutput(
        prompt_ids=list(trajectory.prompt_token_ids[:max_prompt_tokens]) or [filler],
        response_ids=ids,
        response_mask=mask,
        response_logprobs=logprobs,
        reward_score=trajectory.reward.total if isinstance(trajectory, ScoredTrajectory) else 0.0,
        num_turns=len(trajectory.turns),
        metrics=AgentLoopMetrics(),
        extra_fields={"min_global_steps": min(versions), "max_global_steps": max(versions)},
    )


@lru_cache(maxsize=1)
def _open_workplace(tokenizer: Any, model: str) -> Workplace:
    """Open services and environments once in each process: their connections belong to its event loop."""
    run = require_described_run()
    config = run.config
    renderer = Renderer(tokenizer, config.policy.template)
    end_ids = {renderer.end_of_turn_id, tokenizer.eos_token_id, *released_end_ids(model)}
    special = sorted({str(token) for token in (*tokenizer.all_special_tokens, *tokenizer.get_added_vocab())})
    operators = build_operators(config.pool)
    task = build_task(config.chosen_task)
    return Workplace(
        run=run,
        renderer=renderer,
        make_environment=build_environments(
            task,
            config.environment,
            operators=operators,
            services=build_services(config.services, config.pool, operators=operators, needs=needs_of(task)),
            special_tokens=special,
        ),
        score=build_scorer(config.reward, task).one,
        end_ids=frozenset(token for token in end_ids if token is not None),
        files=RolloutFiles(run.directory),
    )
