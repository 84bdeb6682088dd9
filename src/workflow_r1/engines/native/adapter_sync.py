"""Gives a policy server the weights that the trainer has: after each update, by files that both see."""

import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal

from workflow_r1.config.run import PolicyConfig
from workflow_r1.engines.native.weights import held_by_nobody
from workflow_r1.errors import ConfigError
from workflow_r1.policy.local_sampler import end_ids
from workflow_r1.policy.model import adapts_tied_head, has_adapters
from workflow_r1.policy.portable import make_portable
from workflow_r1.policy.sharding import is_sharded
from workflow_r1.recording.atomic import atomic_directory, remove_directory
from workflow_r1.rollout.policy_server import PolicyServer, PolicyServerConfig, PublishedWeights
from workflow_r1.rollout.renderer import Renderer
from workflow_r1.rollout.sampling import SamplingConfig
from workflow_r1.rollout.served_sampler import ServedSampler

DIRECTORY = "served"
"""Folder of the run directory for the server's weights, where no other place is configured."""

KEPT = 2
"""Versions that stay: the server may be reading the one before."""


class AdapterSync:
    """Writes the policy's weights for its server: the adapters alone where there are any, else the whole model.

    Args:
        model: the policy.
        tokenizer: its tokenizer; a whole model is written with it.
        policy: its name and its chat template.
        sampling: settings of its sampling.
        settings: the server, ``sampling.server``.
        run_directory: directory of the run.
        rank: rank of this process among those that train together; each gives the server its own copy of equal weights.
        notify: called when the server is gone and when it is back.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        policy: PolicyConfig,
        sampling: SamplingConfig,
        settings: PolicyServerConfig,
        run_directory: Path,
        rank: int = 0,
        notify: Callable[[str], None],
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._policy = policy
        self._sampling = sampling
        self._max_lag = settings.max_lag
        place = run_directory / DIRECTORY if settings.directory is None else settings.directory / run_directory.name
        self._directory = place.resolve() / f"process-{rank}"
        self._written: list[Path] = []
        self._published: int | None = None
        self.server = PolicyServer(settings, notify=notify)
        """The server that samples."""

    def publish(self, version: int, *, exactly: bool = False) -> None:
        """Give the server the policy's weights, unless its own are recent enough.

        Args:
            version: optimiser steps that the policy has taken.
            exactly: no other weights are recent enough.

        Raises:
            UserError: the disk is full.
        """
        max_lag = 0 if exactly else self._max_lag
        if self._published is not None and version - self._published <= max_lag:
            return
        kind: Literal["adapter", "full"] = "adapter" if has_adapters(self._model) else "full"
        # Never the same path twice: a server that outlives a run would find the other's keys and values in its prefix cache.
        path = self._directory / f"{kind}-{version:06d}-{secrets.token_hex(4)}"
        with atomic_directory(path) as temporary:
            if kind == "adapter":
                self._model.save_pretrained(temporary, save_embedding_layers=False)
            else:
                self._model.save_pretrained(temporary)
                self._tokenizer.save_pretrained(temporary)
                make_portable(temporary)
        self.server.publish(PublishedWeights(kind, path, version))
        self._published = version
        self._written = [*self._written, path][-KEPT:]
        # The weights of an earlier process go, too, but not at once: vLLM reads a folder again for requests of that
        # process which it still holds, and its engine dies where the folder is gone.
        if len(self._written) == KEPT:
            for old in set(self._directory.iterdir()) - set(self._written):
                remove_directory(old)

    def holding(self) -> AbstractAsyncContextManager[None]:
        """Hold nothing: the server has weights of its own, and takes others between two turns."""
        return held_by_nobody()

    def sampler(self, temperature: float) -> ServedSampler:
        """Return a sampler of the weights that the server was given last."""
        inner = self._model.get_base_model() if has_adapters(self._model) else self._model
        renderer = Renderer(self._tokenizer, self._policy.template)
        return ServedSampler(
            self.server,
            renderer,
            sampling=self._sampling.model_copy(update={"temperature": temperature}),
            end_ids=end_ids(inner, self._tokenizer, renderer),
            name=self._policy.model,
        )


def refuse_unservable(model: Any) -> None:
    """Refuse a policy whose weights a policy server cannot take.

    Raises:
        ConfigError: names the key to change.
    """
    if is_sharded(model):
        raise ConfigError(
            'optimiser.sharding: expected "none" where a policy server samples (sampling.server); shards are not written '
            "for it"
        )
    if not has_adapters(model) and model.config.tie_word_embeddings:
        raise ConfigError(
            "optimiser.lora: expected adapters where a policy server samples (sampling.server) a model whose head is its "
            "embedding, since vLLM 0.32 keeps the old head when it reloads all weights; set optimiser.lora.rank"
        )
    if has_adapters(model) and adapts_tied_head(model):
        raise ConfigError(
            "optimiser.lora.target_modules: expected neither head nor embedding where a policy server samples "
            "(sampling.server) a model whose head is its embedding, since the server has one tensor for the two; leave "
            "them out"
        )
