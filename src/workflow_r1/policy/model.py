"""The policy's model and tokenizer: loaded, checked, given adapters, saved."""

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from workflow_r1.config.run import PolicyConfig
from workflow_r1.config.training import LoraSettings
from workflow_r1.errors import ConfigError, MissingExtraError, UserError
from workflow_r1.installation import install_command
from workflow_r1.policy.forward import base_model, check_head
from workflow_r1.policy.portable import make_portable
from workflow_r1.policy.precision import computed_in_float32, hold_in_bfloat16
from workflow_r1.policy.sharding import is_sharded, whole_state
from workflow_r1.policy.threads import choose_threads
from workflow_r1.policy.tokenizer import first_line, load_tokenizer
from workflow_r1.recording.atomic import atomic_directory

ADAPTERS = "adapters"
"""Folder of a saved policy that holds the peft adapters, where there are any."""

MERGE_TOLERANCE = 1e-3
"""Largest difference of a merged policy's logits from the live one's, as a share of the largest logit: beyond rounding."""


def load_policy_model(
    policy: PolicyConfig,
    *,
    lora: LoraSettings | None = None,
    gradient_checkpointing: bool = False,
    seed: int = 0,
    device: torch.device | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the policy for training: float32 master weights on its device (frozen ones beside adapters as
    ``lora.base_precision`` says), no dropout, SDPA attention.

    Dropout is switched off because the training context must equal the sampling context: with it on, the importance
    ratio would measure the noise of the mask. (A ``lora.dropout`` above 0 is the caller's own choice.)

    Args:
        policy: model, device and most threads.
        lora: adapters that are put into it; None trains all weights.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them.
        seed: initialises the adapters.
        device: in place of the configured one.

    Raises:
        UserError: the model is missing, unreadable or not complete, its tokenizer has no chat template or end-of-turn
            token, its vocabulary is smaller than the tokenizer's, or its logits are not head times hidden states.
        ConfigError: the device does not exist.
        MissingExtraError: LoRA is asked for and peft is not installed.
    """
    choose_threads(policy.threads)
    disable_progress_bar()  # The command line draws its own.
    device = device or resolve_device(policy.device)
    source = model_source(policy)
    tokenizer = load_tokenizer(source)
    try:
        # Unless this is set, transformers asks on the terminal whether to run the code that came with the model.
        read: Any = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=torch.float32,
            attn_implementation="sdpa",
            trust_remote_code=False,
            output_loading_info=True,
        )
        model, loaded = read
    except ImportError as error:
        raise MissingExtraError(f"the model at {source!r} needs a package: {first_line(error)}") from None
    except Exception as error:  # Files from outside, damaged ones among them: each library has errors of its own.
        raise UserError(f"expected a Hugging Face causal language model at {source!r}: {first_line(error)}") from None
    if missing := sorted(loaded["missing_keys"]):
        raise UserError(
            f"expected all weights of the model at {source!r}, but {len(missing)} are missing, {missing[0]} among them: its "
            f"files are not complete, or of another kind of model; fetch or save it again"
        )
    rows = model.get_input_embeddings().num_embeddings
    if rows < len(tokenizer):
        raise UserError(
            f"expected at least as many embeddings as tokens, but the model at {source!r} has {rows} and its tokenizer "
            f"{len(tokenizer)}: they do not belong together"
        )
    _switch_off_dropout(model)
    model.to(device)
    check_head(model)
    if lora is not None:
        model = add_adapters(model, lora, seed=seed)
        if lora.base_precision == "bfloat16":
            hold_in_bfloat16(model)
    if gradient_checkpointing:
        _enable_gradient_checkpointing(model)
        if lora is not None:
            # The checkpointed input must carry a gradient, and with frozen embeddings nothing else gives it one.
            model.enable_input_require_grads()
    model.eval()
    return model, tokenizer


def model_source(policy: PolicyConfig) -> str:
    """Return the directory or hub name of the configured model.

    Raises:
        UserError: it looks like a directory and does not exist, or holds no model.
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
            f"`policy.device` = {name!r} cannot be used here ({first_line(error)}); try 'auto' or 'cpu'"
        ) from None
    return device


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
            # peft's own merge would be wrong on a tied head; ours unties it.
            warnings.filterwarnings("ignore", message=r"Model has `tie_word_embeddings=True`")
            # For experts peft writes patterns of its own, uses them, and then misses a module for them.
            warnings.filterwarnings("ignore", message=r"The following (rank|alpha)_pattern keys")
            adapted = get_peft_model(model, settings_of_peft)
    except ValueError as error:
        raise ConfigError(f"`optimiser.lora.target_modules` = {targets!r}: {first_line(error)}") from None
    if not isinstance(targets, str):
        modules = [_plain(name) for name, module in adapted.get_base_model().named_modules()]
        # peft is content with one name that it finds.
        if lacking := [name for name in targets if not any(f".{module}".endswith(f".{name}") for module in modules)]:
            raise ConfigError(
                f"`optimiser.lora.target_modules` = {targets!r}: expected names of modules, but the model has none called "
                f"{', '.join(lacking)}"
            )
    return adapted


def has_adapters(model: nn.Module) -> bool:
    """Return whether the model is a peft model."""
    return hasattr(model, "disable_adapter")


def adapts_tied_head(model: nn.Module) -> bool:
    """Return whether adapters change the embedding or the head of a model in which the two are one tensor.

    The adapted model has two different ones: a server of adapters reads the tensor once, and would get it wrong.
    """
    base = base_model(model)
    ends = (base.get_input_embeddings(), base.get_output_embeddings())
    return bool(base.config.tie_word_embeddings) and any(hasattr(end, "get_delta_weight") for end in ends)


def save_policy(model: Any, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Save a policy in Hugging Face format, replacing ``directory`` in one step.

    A sharded one must be ``whole``. Adapters are merged into the weights, so that anything that reads Hugging Face
    models reads the policy; they are kept beside them in ``adapters/`` as well. Where adapters made head and embedding
    differ in a model that ties them, the saved policy is an untied one. The merged policy is read back and compared
    with the live one.

    Raises:
        UserError: the disk is full; the earlier files are unharmed.
        RuntimeError: the merged policy has other logits than the live one; the earlier files are unharmed.
    """
    # The models' own way to their state would spread a sharded one again.
    state = {"state_dict": whole_state(model)} if is_sharded(model) else {}
    with atomic_directory(directory) as temporary:
        if has_adapters(model):
            _save_merged(model, temporary)
            # Frozen embeddings beside adapters are those of the start: they are not a part of the adapters.
            model.save_pretrained(temporary / ADAPTERS, save_embedding_layers=False, **state)
            _check_merged(model, temporary)
        else:
            model.save_pretrained(temporary, **state)
        tokenizer.save_pretrained(temporary)
        make_portable(temporary)


def _save_merged(model: Any, directory: Path) -> None:
    """Save the base model with the adapters' change added, leaving the live model as it is.

    peft can merge in place and undo it, but the undoing rounds: a run that saved would differ from one that did not.
    """
    base = model.get_base_model()
    # Experts are parameters without a module of their own: there an adapter names the parameter that it changes.
    changes = {
        f"{_plain(name)}.{getattr(module, 'parameter_name', 'weight')}": module.get_delta_weight(adapter)
        for name, module in base.named_modules()
        if hasattr(module, "get_delta_weight")
        for adapter in module.active_adapters
    }
    weights = {}
    for key, value in (whole_state(base) if is_sharded(base) else base.state_dict()).items():
        if ".lora_" in key:
            continue
        name = _plain(key)
        merged = value + changes.pop(name) if name in changes else value
        if merged.dtype == torch.bfloat16:
            merged = merged.float()
        weights[name] = merged.detach().contiguous().cpu()
    config = copy.deepcopy(base.config)
    if adapts_tied_head(model):
        # Tied again, the saved policy would have the head of the start, or the head's change in its embedding.
        config.tie_word_embeddings = False
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(weights, strict=True, assign=True)
    plain.tie_weights()
    plain.generation_config = base.generation_config
    plain.save_pretrained(directory)


def _plain(name: str) -> str:
    """Return the name that something has in a model without adapters, which stand around what they change."""
    return name.replace(".base_layer", "")


def _check_merged(model: Any, directory: Path) -> None:
    """Compare a merged policy, read back from the disk, with the live one on eight tokens.

    Raises:
        RuntimeError: their logits differ by more than ``MERGE_TOLERANCE``.
    """
    saved: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="sdpa")
    ids = (torch.arange(8) * 37 % saved.get_input_embeddings().num_embeddings)[None]
    was_training = model.training
    model.eval()
    with torch.no_grad(), computed_in_float32(model):
        theirs = saved.eval()(input_ids=ids, use_cache=False).logits
        ours = model(input_ids=ids.to(next(model.parameters()).device), use_cache=False).logits.float().cpu()
    model.train(was_training)
    difference, largest = (ours - theirs).abs().max().item(), ours.abs().max().item()
    if not difference <= MERGE_TOLERANCE * largest:
        raise RuntimeError(
            f"expected the merged policy to have the live policy's logits, but they differ by up to {difference:.2e} where the "
            f"largest is {largest:.2e}: the policy was not saved, and the run's newest checkpoint stands. Leave unusual "
            f"modules out of optimiser.lora.target_modules, and report this"
        )


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


def describe(model: nn.Module) -> dict[str, int]:
    """Return the numbers of parameters, in all and trained."""
    return {
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "num_trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


__all__ = [
    "ADAPTERS",
    "adapts_tied_head",
    "add_adapters",
    "describe",
    "has_adapters",
    "load_policy_model",
    "load_tokenizer",
    "model_source",
    "resolve_device",
    "save_policy",
]
