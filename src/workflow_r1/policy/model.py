"""The policy's model and tokenizer: loaded, checked, given adapters, saved."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from workflow_r1.config.run import PolicyConfig, RunConfig
from workflow_r1.config.training import LoraSettings
from workflow_r1.errors import ConfigError, MissingExtraError, UserError
from workflow_r1.installation import install_command
from workflow_r1.policy.forward import check_head
from workflow_r1.policy.sharding import is_sharded, whole_state
from workflow_r1.recording.atomic import atomic_directory

ADAPTERS = "adapters"
"""Folder of a saved policy that holds the peft adapters, where there are any."""


def load_policy_model(
    config: RunConfig, *, device: torch.device | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the policy for training: float32 master weights on its device, no dropout, SDPA attention.

    Dropout is switched off because the training context must equal the sampling context: with it on, the importance
    ratio would measure the noise of the mask. (A ``lora.dropout`` above 0 is the caller's own choice.)

    Args:
        config: ``policy`` names model, device and threads; ``optimiser`` adapters and gradient checkpointing;
            ``seed`` initialises the adapters.
        device: in place of the configured one.

    Raises:
        UserError: the model is missing or unreadable, its tokenizer has no chat template or end-of-turn token, its
            vocabulary is smaller than the tokenizer's, or its logits are not head times hidden states.
        ConfigError: the device does not exist.
        MissingExtraError: LoRA is asked for and peft is not installed.
    """
    if config.policy.threads is not None:
        torch.set_num_threads(config.policy.threads)
    disable_progress_bar()  # The command line draws its own.
    device = device or resolve_device(config.policy.device)
    source = model_source(config.policy)
    tokenizer = load_tokenizer(source)
    try:
        # Without a word on it transformers would ask on the terminal whether to run the code that came with the model.
        model: Any = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, attn_implementation="sdpa", trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"expected a Hugging Face causal language model at {source!r}: {_first_line(error)}") from None
    rows = model.get_input_embeddings().num_embeddings
    if rows < len(tokenizer):
        raise UserError(
            f"expected at least as many embeddings as tokens, but the model at {source!r} has {rows} and its tokenizer "
            f"{len(tokenizer)}: they do not belong together"
        )
    _switch_off_dropout(model)
    model.to(device)
    check_head(model)
    if config.optimiser.lora is not None:
        model = add_adapters(model, config.optimiser.lora, seed=config.seed)
    if config.optimiser.gradient_checkpointing:
        _enable_gradient_checkpointing(model)
        if config.optimiser.lora is not None:
            # The checkpointed input must carry a gradient, and with frozen embeddings nothing else gives it one.
            model.enable_input_require_grads()
    model.eval()
    return model, tokenizer


def model_source(policy: PolicyConfig) -> str:
    """Return the directory or hub name of the configured model.

    Raises:
        UserError: it looks like a directory and is none, or holds no model.
    """
    if policy.model == "embedded":
        from workflow_r1.embedded import policy_directory

        return str(policy_directory())
    path = Path(policy.model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"expected a Hugging Face model in {path}, but it holds no config.json")
        return str(path)
    if path.is_absolute() or policy.model.startswith((".", "~")) or policy.model.count("/") != 1:
        raise UserError(
            f"expected `policy.model` to be 'embedded', a directory, or a hub name 'owner/model'; "
            f"there is no directory {policy.model!r}"
        )
    return policy.model


def resolve_device(name: str) -> torch.device:
    """Return the device; ``auto`` is the first GPU, or the CPU.

    Raises:
        ConfigError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"`policy.device` = {name!r} cannot be used here ({_first_line(error)}); try 'auto' or 'cpu'"
        ) from None
    return device


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer and make sure that turns can be rendered with it.

    A missing pad token is no fault: the end-of-turn token stands in, since padding is never read.

    Raises:
        UserError: it is missing, or has no chat template or no end-of-turn token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"expected a tokenizer beside the model at {source!r}: {_first_line(error)}") from None
    if not tokenizer.chat_template:
        raise UserError(
            f"expected a tokenizer with a chat template at {source!r}, found none: use an instruction-tuned model, or "
            f"put a `chat_template.jinja` beside the tokenizer"
        )
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"expected an end-of-turn token (`eos_token`) in the tokenizer at {source!r}, found none: set it in "
            f"tokenizer_config.json to the token that ends an assistant's message"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def add_adapters(model: PreTrainedModel, settings: LoraSettings, *, seed: int) -> Any:
    """Freeze the model and put low-rank adapters into it; at first they change nothing.

    Returns:
        A peft model. With its adapters disabled it is the model that came in: the reference policy.

    Raises:
        MissingExtraError: peft is not installed.
        ConfigError: no module has one of the names.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError(f"LoRA needs peft, which is not installed; run: {install_command('train')}") from error
    targets = settings.target_modules
    torch.manual_seed(seed)
    settings_of_peft = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
    )
    try:
        with warnings.catch_warnings():
            # peft still asks transformers by a deprecated name.
            warnings.simplefilter("ignore", FutureWarning)
            return get_peft_model(model, settings_of_peft)
    except ValueError as error:
        raise ConfigError(f"`optimiser.lora.target_modules` = {targets!r}: {_first_line(error)}") from None


def has_adapters(model: nn.Module) -> bool:
    """Return whether the model is a peft model."""
    return hasattr(model, "disable_adapter")


def save_policy(model: Any, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Save a policy in Hugging Face format, replacing ``directory`` in one step.

    A sharded one must be ``whole``. Adapters are merged into the weights, so that anything that reads Hugging Face models reads the policy; they are
    kept beside them in ``adapters/`` as well.

    Raises:
        UserError: the disk is full; what was there before is unharmed.
    """
    # The models' own way to their state would spread a sharded one again.
    state = {"state_dict": whole_state(model)} if is_sharded(model) else {}
    with atomic_directory(directory) as temporary:
        if has_adapters(model):
            _save_merged(model, temporary)
            model.save_pretrained(temporary / ADAPTERS, **state)
        else:
            model.save_pretrained(temporary, **state)
        tokenizer.save_pretrained(temporary)


def _save_merged(model: Any, directory: Path) -> None:
    """Save the base model with the adapters' change added, leaving the live model as it is.

    peft can merge in place and undo it, but the undoing rounds: a run that saved would differ from one that did not.
    """
    base = model.get_base_model()
    changes = {
        name: module.get_delta_weight(adapter)
        for name, module in base.named_modules()
        if hasattr(module, "get_delta_weight")
        for adapter in module.active_adapters
    }
    weights = {}
    for key, value in (whole_state(base) if is_sharded(base) else base.state_dict()).items():
        if ".lora_" in key:
            continue
        module, _, parameter = key.rpartition(".")
        owner = module.removesuffix(".base_layer")
        merged = value + changes[owner] if owner in changes and parameter == "weight" else value
        weights[f"{owner}.{parameter}"] = merged.detach().contiguous().cpu()
    plain = AutoModelForCausalLM.from_config(base.config, dtype=torch.float32)
    plain.load_state_dict(weights, strict=True, assign=True)
    plain.tie_weights()
    plain.generation_config = base.generation_config
    plain.save_pretrained(directory)


def _switch_off_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]


def _enable_gradient_checkpointing(model: Any) -> None:
    # transformers renamed it within the 5.x that the project supports.
    options = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(options)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def describe(model: nn.Module) -> dict[str, int]:
    """Return the numbers of parameters, in all and trained."""
    return {
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "num_trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


__all__ = [
    "ADAPTERS",
    "add_adapters",
    "describe",
    "has_adapters",
    "load_policy_model",
    "load_tokenizer",
    "model_source",
    "resolve_device",
    "save_policy",
]
