"""One of several processes, each started with its rank in the environment.

``python ranks_run.py train MODEL_DIRECTORY RUN_DIRECTORY SHARDING [resume] [kill=STEP] [lora]``: the tiny run; rank 1 kills
itself in the rollouts of STEP. ``python ranks_run.py gradient MODEL_DIRECTORY FILE SHARDING``: the gradient of one mini-batch in
float64, with its loss and metrics, written by rank 0.
"""

import os
import signal
import sys
from pathlib import Path

import tiny_run
import torch

import conftest
from workflow_r1.engines.native.optimiser import build_optimiser
from workflow_r1.engines.native.update import PolicyUpdate, reference_copy
from workflow_r1.policy.distributed import joined
from workflow_r1.policy.sharding import full, shard
from workflow_r1.rewards import score_trajectory


def train(model, directory, sharding, *options):
    lora = {"rank": 4, "target_modules": ("q_proj", "lm_head")} if "lora" in options else None
    config = tiny_run.tiny_config(
        Path(model), training={"steps": 4, "peer_timeout_minutes": 2.0}, optimiser={"sharding": sharding, "lora": lora}
    )
    kill = next((int(option[5:]) for option in options if option.startswith("kill=")), None)
    with joined(config.policy.device, timeout_minutes=config.training.peer_timeout_minutes) as ranks:

        def make_environment(question):
            if ranks.rank == 1 and kill is not None and make_environment.seen == "training":
                os.kill(os.getpid(), signal.SIGKILL)
            return tiny_run.make_environment(config, question)

        make_environment.seen = ""
        trainer = tiny_run.make_trainer(config, Path(directory), make_environment=make_environment, ranks=ranks)
        step = trainer._step

        def watched(progress):
            make_environment.seen = "training" if progress.step + 1 == kill else ""
            return step(progress)

        trainer._step = watched
        trainer.run(resume="resume" in options)


def gradient(model, file, sharding):
    config = tiny_run.tiny_config(
        Path(model),
        objective={"kl_coefficient": 0.1, "correction_cap": 2.0},
        # One row a pass: the same products in any company, so that only the order of the sum can differ.
        optimiser={"sharding": sharding, "micro_batch_tokens": 1},
    )
    with joined(config.policy.device, timeout_minutes=config.training.peer_timeout_minutes) as ranks:
        policy = conftest.make_model().double()
        reference = reference_copy(conftest.make_model(seed=1).double(), config.objective)
        if sharding == "full" and ranks.size > 1:
            shard(policy, torch.device("cpu"))
            shard(reference, torch.device("cpu"))
        optimiser = build_optimiser(policy, config.optimiser, learning_rate=1e-3)
        update = PolicyUpdate(
            policy,
            optimiser,
            0,
            objective=config.objective,
            settings=config.optimiser,
            temperature=config.sampling.temperature,
            mini_batch_questions=config.training.mini_batch_questions,
            reference=reference,
            ranks=ranks,
        )
        made = [score_trajectory(t.model_copy(update={"answer": "xy"[i % 3 > 0]})) for i, t in enumerate(TRAJECTORIES)]
        mini_batch = update.mini_batches([made[:4], made[4:]])[0]
        found = update.accumulate_gradient(mini_batch, None, update._reference_logprobs(mini_batch.batch))
        gradients = {name: full(p.grad) for name, p in policy.named_parameters()}
        optimiser.step()
        weights = {name: full(p.detach()) for name, p in policy.named_parameters()}
        if ranks.is_main:
            values = {"loss": found.loss, "kl_loss": found.kl_loss, "metrics": found.metrics}
            torch.save({**values, "gradients": gradients, "weights": weights}, file)


if __name__ == "__main__":
    torch.set_num_threads(1)
    TRAJECTORIES = conftest.make_trajectories(7)
    {"train": train, "gradient": gradient}[sys.argv[1]](*sys.argv[2:])
