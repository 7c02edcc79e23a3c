r"""Boxed answers and loops, however the text is cut into segments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralo_treepo.stopping import NOTHING_READ, read_on


def read(pieces):
    """Return what was read after all pieces, and the piece that showed a box first (-1: none)."""
    state, first = NOTHING_READ, -1
    for index, piece in enumerate(pieces):
        state = read_on(state, piece)
        if state.boxed and first < 0:
            first = index
    return state, first


def has_box(text):
    """Brute force: some \\boxed{ whose braces close, with something in it."""
    for start in range(len(text)):
        if not text.startswith(r"\boxed{", start):
            continue
        depth, inner = 1, ""
        for letter in text[start + 7 :]:
            depth += {"{": 1, "}": -1}.get(letter, 0)
            if depth == 0:
                if inner.strip():
                    return True
                break
            inner += letter
    return False


@pytest.mark.parametrize(
    ("text", "boxed"),
    [
        (r"so \boxed{42}.", True),
        (r"so \boxed{\frac{1}{2^{x}}}", True),
        (r"so \boxed{\frac{1}{2}", False),
        (r"\boxed{} and", False),
        (r"\boxed{} and \boxed{7}", True),
        ("boxed{7}", False),
        ("", False),
    ],
)
def test_what_counts_as_a_boxed_answer(text, boxed):
    assert read_on(NOTHING_READ, text).boxed == boxed == has_box(text)


@given(
    st.lists(st.sampled_from([r"\boxed{", "{", "}", "1", r"\box", "ed{", " "]), max_size=12),
    st.data(),
)
def test_a_box_is_seen_in_the_segment_where_it_closes(parts, data):
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    bounds = [0, *cuts, len(text)]
    pieces = [text[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
    _, first = read(pieces)
    expected = next((i for i in range(len(pieces)) if has_box("".join(pieces[: i + 1]))), -1)
    assert first == expected


def test_a_loop_is_seen_also_across_segments():
    phrase = "I should check the sum once more. "
    assert len(phrase) > 32
    assert not read([phrase] * 7)[0].repeats
    assert read([phrase] * 8)[0].repeats
    assert read(["x", (phrase * 8)[:150], (phrase * 8)[150:]])[0].repeats
    assert not read([f"step {n}: a new thought, {n * n} of them. " for n in range(60)])[0].repeats
