"""The running batch: admit rows, decode one token for all of them, complete finished rows.

A row enters with the keys and values of its prompt except the last token, which is the input
of its first step; so a fresh prompt, a copy of one, and the continuation of a cached prefix
differ only in where their keys and values come from.

It is synchronous code for one thread, without futures and weight files.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch

from ralo_core import GenerationRequest
from ralo_worker.engines.transformers.kv_window import KvWindow, WindowCache
from ralo_worker.engines.transformers.prefill import prefill, probe
from ralo_worker.engines.transformers.prefix_cache import Prefix, PrefixCache
from ralo_worker.engines.transformers.sampling import SamplingRows, sample
from ralo_worker.engines.transformers.slots import Row, SlotTable


@attrs.define
class Counts:
    """Tokens since the start: of prompts, of those whose keys and values were there, decoded."""

    prompt: int = 0
    cached: int = 0
    decoded: int = 0


_IDLE = GenerationRequest(prompt=(), max_tokens=1)


class Decoder:
    """A batch of at most `max_batch` rows on `model`, a Hugging Face causal LM in eval mode.

    `prefix_tokens` bounds the cache of finished segments, in tokens; 0 switches it off.
    """

    def __init__(
        self,
        model: Any,
        eos_token_ids: Iterable[int],
        *,
        max_batch: int,
        prefix_tokens: int,
        generator: torch.Generator | None = None,
    ) -> None:
        self.model = model
        self.max_batch = max_batch
        self.prefixes = PrefixCache(prefix_tokens)
        self.counts = Counts()
        self._version = 0
        self._eos = np.asarray(sorted(eos_token_ids), np.int64)
        self._generator = generator
        self._window = KvWindow(*probe(model))
        self._cache = WindowCache(self._window)
        self.clear()

    @property
    def live(self) -> int:
        """Rows in the batch."""
        return self._slots.live

    def clear(self) -> None:
        """Drop all rows, without completions, and all cached prefixes."""
        self.prefixes.clear()
        self._slots = SlotTable(self.max_batch)
        self._sampling: SamplingRows | None = None

    def drop(self, unwanted: Callable[[Row], bool]) -> None:
        """Drop the rows that nobody waits for any more."""
        for slot, row in enumerate(self._slots.rows):
            if row is not None and unwanted(row):
                self._slots.vacate(slot)

    def weights_changed(self, version: int) -> None:
        """The weights are new: no cached prefix is valid, rows admitted next are theirs.

        Running rows go on with the keys and values that the older weights computed.
        """
        self._version = version
        self.prefixes.clear()

    @torch.inference_mode()
    def admit(self, rows: Sequence[Row]) -> None:
        """Add rows, at most ``max_batch - live``, to the batch; nothing is decoded yet."""
        used = self._slots.longest
        by_prefix: dict[Prefix, list[int]] = {}
        for row in rows:
            row.version = self._version
            self.counts.prompt += len(row.request.prompt)
            by_prefix.setdefault(row.request.prompt[:-1], []).append(self._slots.place(row))
        self._window.reserve(self._slots.size, used, self._slots.longest)
        by_prefix.pop((), None)
        self._fill(by_prefix)
        self._sampling = None

    @torch.inference_mode()
    def step(self) -> None:
        """Decode one token for every row and complete the rows that end with it."""
        if self._slots.live <= 0.75 * self._slots.size:
            self._window.move(*self._slots.compact(), used=self._slots.longest)
            self._sampling = None
        used = self._slots.longest
        self._window.reserve(self._slots.size, used, used)
        tokens, *values = self._forward(used)
        slots = self._slots.occupied()
        self.counts.decoded += len(slots)
        full = self._slots.record(slots, tokens[slots], *(value[slots] for value in values))
        ended = np.isin(tokens[slots], self._eos)
        for index in np.flatnonzero(ended | full):
            self._finish(int(slots[index]), "eos" if ended[index] else "length")

    def _fill(self, by_prefix: Mapping[Prefix, Sequence[int]]) -> None:
        """Bring the keys and values of each prefix into its slots."""
        missing = []
        for prefix, slots in by_prefix.items():
            known = self.prefixes.get(prefix)
            # All but the first of equal prompts are copies: nothing is computed for them.
            copies = len(slots) - (known is None)
            self.counts.cached += copies * len(prefix)
            if known is None:
                missing.append(prefix)
            else:
                self._window.write(slots, *known)
        for prefix, computed in prefill(self.model, missing):
            self._window.write(by_prefix[prefix], *computed)

    def _forward(self, used: int) -> list[Any]:
        """Run the model on one token per slot; return numpy tokens, log-probs and, if a row asks
        for them, entropies, [size]."""
        size, device = self._slots.size, self.model.device
        lengths = torch.from_numpy(self._slots.lengths[:size, None]).to(device)
        columns = torch.arange(used, -1, -1, device=device)
        self._window.open(size, used)
        logits = self.model(
            input_ids=torch.from_numpy(self._slots.inputs[:size, None]).to(device),
            position_ids=lengths,
            attention_mask=(columns <= lengths)[:, None, None, :],
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]
        self._window.close()
        if self._sampling is None:
            requests = self._slots.requests(_IDLE)
            self._sampling = SamplingRows.of(requests, logits.shape[1], device)
        drawn = sample(logits, self._sampling, self._generator)
        return [values.cpu().numpy() for values in drawn if values is not None]

    def _finish(self, slot: int, reason: str) -> None:
        row, completion = self._slots.rows[slot], self._slots.completion(slot, reason)
        assert row is not None
        if reason == "length" and row.version == self._version:
            prefix = (*row.request.prompt, *completion.tokens[:-1].tolist())
            if len(prefix) <= self.prefixes.capacity:
                self.prefixes.put(prefix, self._window.read(slot, len(prefix)))
        self._slots.vacate(slot)
        row.done(completion)
