"""Rows of one tree as one sequence in which a shared prefix stands, and is computed, once.

A token sees what is before it on its own path: the blocks (prompt and segments) that are
ancestors of its own, and its own up to itself. Positions count along the path, so every log-prob
is that of the row by itself, and so is the gradient.

Shapes: n tokens, B blocks; block 0 is the prompt.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import attrs
import numpy as np
import numpy.typing as npt

from ralo_core import PROMPT
from ralo_worker.trainer.layout.rows import Float32, Row

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@attrs.frozen(kw_only=True, eq=False)
class Pack:
    """`tokens`, `positions`, `blocks` int64[n], `temperatures` float32[n]; ``sees[a, b]``
    bool[B, B]: block a sees block b.

    For row r, ``places[r]`` int64[response] has the place of each of its response tokens in the
    sequence and ``predictors[r]`` that of the token before it on the path.
    """

    rows: Sequence[Row]
    tokens: Int64
    positions: Int64
    temperatures: Float32
    blocks: Int64
    sees: Bool
    places: Sequence[Int64]
    predictors: Sequence[Int64]

    @property
    def is_chain(self) -> bool:
        """Whether every block sees all before it: plain causal attention does."""
        return len(self.rows) == 1

    def attention(self) -> Bool:
        """Return which token (row) sees which (column), bool[n, n]."""
        past = self.positions[:, None] >= self.positions[None, :]
        return np.asarray(self.sees[self.blocks[:, None], self.blocks[None, :]] & past)


def make_packs(rows: Sequence[Row], limit: int, pair_cost: float = 0.0) -> Iterator[Pack]:
    """Yield `rows` in packs of at most `limit` tokens, or of one row; 0: one row each.

    Leaves that stand side by side in the tree, and so share most, come together, as long as that
    is cheaper: a pack's attention looks at every pair of its tokens, also of two branches, and
    `pair_cost` is what a pair costs, in units of a token's way through the rest of the model.
    """
    number: dict[int, int] = {}
    for row in rows:
        number.setdefault(id(row.tree), len(number))
    # By the trees' place in the batch, not in memory: all ranks must make the same packs.
    by_tree = sorted(rows, key=lambda row: (number[id(row.tree)], row.path))
    for _, group in groupby(by_tree, key=lambda row: id(row.tree)):
        yield from (_pack(some) for some in _cut(list(group), limit, pair_cost))


def _cut(rows: Sequence[Row], limit: int, pair_cost: float) -> Iterator[list[Row]]:
    some: list[Row] = []
    for row in rows:
        apart = _tokens(some) + pair_cost * _tokens(some) ** 2
        apart += _tokens([row]) + pair_cost * _tokens([row]) ** 2 / 2  # causal: half the pairs
        size = _tokens([*some, row])
        if some and (size > limit or size + pair_cost * size**2 > apart):
            yield some
            some = []
        some.append(row)
    yield some


def _tokens(rows: Sequence[Row]) -> int:
    """Return the tokens of rows of one tree together, with the prompt."""
    if not rows:
        return 0
    tree = rows[0].tree
    nodes = {node for row in rows for node in row.path}
    return len(tree.prompt) + sum(int(tree.offsets[n + 1] - tree.offsets[n]) for n in nodes)


def _pack(rows: Sequence[Row]) -> Pack:
    tree = rows[0].tree
    segments = sorted({node for row in rows for node in row.path})  # parents stand first
    block_of = {PROMPT: 0, **{node: index + 1 for index, node in enumerate(segments)}}
    contents = [tree.prompt, *(tree.tokens[tree.segment(node)] for node in segments)]
    parents = [0, *(block_of[int(tree.parents[node])] for node in segments)]
    sizes = np.asarray([len(content) for content in contents])
    starts = np.cumsum(sizes) - sizes
    sees, depths, before = _lineage(parents, sizes, starts)
    blocks = np.repeat(np.arange(len(contents)), sizes)
    within = np.arange(sizes.sum()) - starts[blocks]
    places = [_places(row, block_of, starts, sizes) for row in rows]
    predictor = np.where(within > 0, np.arange(sizes.sum()) - 1, before[blocks])
    return Pack(
        rows=rows,
        tokens=np.concatenate(contents).astype(np.int64),
        positions=depths[blocks] + within,
        temperatures=np.full(sizes.sum(), tree.temperature, np.float32),
        blocks=blocks,
        sees=sees,
        places=places,
        predictors=[predictor[place] for place in places],
    )


def _lineage(parents: Sequence[int], sizes: Int64, starts: Int64) -> tuple[Bool, Int64, Int64]:
    """Return which block sees which, and per block the position of its first token and the place
    of the token before it; a block without tokens passes its parent's on."""
    count = len(parents)
    sees = np.eye(count, dtype=bool)
    depths, before = np.zeros(count, np.int64), np.zeros(count, np.int64)
    last = np.zeros(count, np.int64)
    last[0] = sizes[0] - 1
    for block in range(1, count):
        parent = parents[block]
        sees[block] |= sees[parent]
        depths[block] = depths[parent] + sizes[parent]
        before[block] = last[parent]
        last[block] = starts[block] + sizes[block] - 1 if sizes[block] else last[parent]
    return sees, depths, before


def _places(row: Row, block_of: dict[int, int], starts: Int64, sizes: Int64) -> Int64:
    blocks = [block_of[node] for node in row.path]
    return np.concatenate([starts[block] + np.arange(sizes[block]) for block in blocks])
