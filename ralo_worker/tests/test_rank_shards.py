"""Who does what in a group: everything is done once, and the loads are even."""

from hypothesis import given
from hypothesis import strategies as st

from ralo_worker.trainer.parallel.rank_shards import owners, split

costs = st.lists(st.floats(0.0, 1e6), max_size=40)


@given(costs, st.integers(1, 9))
def test_every_item_has_one_rank_and_no_rank_is_more_than_one_item_above_another(costs, ranks):
    shares = split(costs, ranks)
    assert len(shares) == ranks
    assert sorted(index for share in shares for index in share) == list(range(len(costs)))
    loads = [sum(costs[index] for index in share) for share in shares]
    largest = max(costs, default=0.0)
    assert max(loads) <= min(loads) + largest * (1 + 1e-9)


@given(st.dictionaries(st.text(max_size=6), st.integers(1, 1000), max_size=30), st.integers(1, 5))
def test_owners_do_not_depend_on_the_order_of_names(sizes, ranks):
    owned = owners(sizes, ranks)
    assert owned == owners(dict(reversed(sizes.items())), ranks)
    assert owned.keys() == sizes.keys()
    loads = [sum(sizes[name] for name in sizes if owned[name] == rank) for rank in range(ranks)]
    assert max(loads) <= min(loads) + max(sizes.values(), default=0)
