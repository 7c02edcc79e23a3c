"""The body of a gradient that several ranks hold is the one that a single process would send."""

import threading

import numpy as np
import pytest
from blake3 import blake3
from group_in_threads import on_every_rank
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from ralo_core.errors import ServerError
from ralo_worker.trainer.exchange.group_body import GroupBody

DTYPES = (np.float32, np.int8, np.uint16)


class Receiver:
    """A transport that keeps the chunks it is given and refuses those of some numbers."""

    def __init__(self, refused=()):
        self.chunks, self.senders, self.refused = {}, {}, refused
        self.lock = threading.Lock()

    def of(self, rank):
        return _Sender(self, rank)


class _Sender:
    def __init__(self, receiver, rank):
        self.receiver, self.rank = receiver, rank

    def request(self, method, path, *, params, data, **_):
        if params["index"] in self.receiver.refused:
            raise ServerError(409, {"title": "gone", "chunk": params["index"]})
        with self.receiver.lock:
            assert params["index"] not in self.receiver.chunks, "sent twice"
            self.receiver.chunks[params["index"]] = b"".join(data)
            self.receiver.senders[params["index"]] = self.rank


tensors = st.lists(
    st.tuples(st.sampled_from(DTYPES), st.integers(0, 40)), min_size=1, max_size=9
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), tensors, st.lists(st.integers(1, 200), min_size=1, max_size=2), st.data())
def test_chunks_of_all_ranks_are_the_body(size, kinds, chunk_sizes, data):
    rng = np.random.default_rng(0)
    whole = {
        f"t{number}": rng.integers(0, 100, count).astype(dtype)
        for number, (dtype, count) in enumerate(kinds)
    }
    owner = {name: data.draw(st.integers(0, size - 1)) for name in whole}
    receiver = Receiver()
    chunk_bytes = chunk_sizes[-1]

    def work(channel):
        mine = {name: value for name, value in whole.items() if owner[name] == channel.rank}
        body = GroupBody({"codec": "x"}, mine, channel, receiver.of(channel.rank))
        if channel.rank:
            return body.follow()
        for first in chunk_sizes:  # the server may ask for other chunks
            digests = body.digests(first)
        body.send("u", chunk_bytes, range(1, len(digests)))
        body.send("u", chunk_bytes, [0])
        body.done()
        return digests

    digests = on_every_rank(size, work)[0]
    sent = b"".join(receiver.chunks[index] for index in range(len(digests)))
    found = load(sent)
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype
    parts = [sent[start : start + chunk_bytes] for start in range(0, len(sent), chunk_bytes)]
    assert list(digests) == [blake3(part).hexdigest() for part in parts]


def test_every_rank_sends_what_it_holds():
    whole = {f"t{number}": np.full(1000, number, np.float32) for number in range(8)}
    receiver = Receiver()

    def work(channel):
        mine = {f"t{n}": whole[f"t{n}"] for n in (channel.rank, channel.rank + 4)}
        body = GroupBody({}, mine, channel, receiver.of(channel.rank))
        if channel.rank:
            return body.follow()
        body.send("u", 1000, range(len(body.digests(1000))))
        return body.done()

    on_every_rank(4, work)
    shares = np.bincount([*receiver.senders.values()], minlength=4)
    assert shares.min() >= len(receiver.senders) // 4 - 1


def test_a_refusal_of_any_rank_is_raised_on_rank_0_and_the_others_go_on():
    receiver = Receiver(refused={5})

    def work(channel):
        mine = {f"t{channel.rank}": np.zeros(1000, np.float32)}
        body = GroupBody({}, mine, channel, receiver.of(channel.rank))
        if channel.rank:
            return body.follow()
        count = len(body.digests(1000))
        with pytest.raises(ServerError) as refusal:
            body.send("u", 1000, range(count))
        assert (refusal.value.status, refusal.value.problem["chunk"]) == (409, 5)
        receiver.refused = ()
        body.send("u", 1000, [index for index in range(count) if index not in receiver.chunks])
        return body.done()

    on_every_rank(3, work)
    assert sorted(receiver.chunks) == list(range(len(receiver.chunks)))
