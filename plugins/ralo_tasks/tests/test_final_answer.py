"""The box, number or letter that a text ends in."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ralo_core import letter_of, normalised
from ralo_tasks.final_answer import extract, final_letter, last_boxed, last_number


def boxed_by_scanning(text):
    """Try every box from the last on, and count braces character by character."""
    for start in range(len(text), -1, -1):
        if not text[:start].endswith("\\boxed{"):
            continue
        depth, position = 1, start
        while position < len(text):
            if text[position] == "\\":
                position += 1
            elif text[position] in "{}":
                depth += 1 if text[position] == "{" else -1
                if depth == 0:
                    return text[start:position]
            position += 1
    return None


@example(["\\boxed{", "a", "\\boxed{", "}", "}"])
@example(["\\boxed{", "}", "\\boxed{", "a", "{", "}"])
@given(st.lists(st.sampled_from(["\\boxed{", "{", "}", "\\{", "\\}", "a", "\\frac", "\\\\"])))
def test_the_last_box_is_that_of_a_plain_scan(parts):
    text = "".join(parts)
    assert last_boxed(text) == boxed_by_scanning(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("x = -3", "-3"),
        ("10-3", "3"),
        ("(3)-2", "2"),
        ("5 \N{MINUS SIGN} 3 = \N{MINUS SIGN}7", "-7"),
        ("costs $1,234.50.", "1234.5"),
        ("1, 2,3", "3"),
        ("AIME 025", "25"),
        (".50", "0.5"),
        ("-0.0", "0"),
        ("it is 100", "100"),
        ("H2O", None),
        ("", None),
    ],
)
def test_the_last_number(text, number):
    assert last_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        r"so \boxed{B}",
        r"\boxed{b}",
        r"\boxed{(B)}",
        r"\boxed{\text{B}}",
        r"\boxed{\textbf{(B)}\ 42}",
        r"\boxed{B. 42}",
        r"Answer: A, I mean \boxed{B}",
        r"The value is \boxed{42}. Answer: B",
        "Answer: B",
        "answer: B. 42 metres",
        "**Answer: B**",
        "Final answer:\n\nB",
        "The answer is (B).",
        "The correct answer is option B",
        "The best choice is **B**.",
        "The answer, I think, is B because A is smaller",
        r"the answer is $\mathbf{B}$",
        "Answer: 'B'",
        "Is the answer A? No. Answer: B",
        "Answer: B. For (C) is too large and (D) too small.",
        "I compare A and C. (B)",
        "(A) is wrong, and (C) is not right\nB",
        "B",
        "B.",
    ],
)
def test_a_letter_is_chosen(text):
    assert final_letter(text, "ABCD") == "B"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A man walks. I count his steps.",
        "I",
        "Answer: A man walks",
        "Answer: I think it is twelve",
        "The answer is a good one",
        "The answer is A level higher",
        "Answer: B or C",
        "Answer: A and B",
        "Answer: A, B",
        "Answer: B-trees",
        "Answer: A's",
        r"\boxed{42}",
        r"\boxed{A man}",
        "option B",
        "Vitamin C",
        "f(x) and (a)",
    ],
)
def test_no_letter_is_chosen(text):
    assert final_letter(text, "ABCD") is None
    assert text == "I" or final_letter(text) is None


@pytest.mark.parametrize("text", [r"\boxed{E}", "Answer: E", "(E)", "E"])
def test_only_letters_that_there_are_can_be_chosen(text):
    assert final_letter(text, "ABCD") is None
    assert final_letter(text, "ABCDE") == "E"


def test_the_pronoun_can_be_a_choice():
    assert final_letter("I think. Answer: I") == "I"
    assert final_letter("Answer: A because it is larger") == "A"


def test_a_text_that_repeats_itself_is_read_in_one_pass():
    """Anything quadratic would not come to an end here."""
    for part in ("\\boxed{", "answer ", "the answer is ", "option ", "(", "1,", "{", "* ", "1"):
        text = part * (400_000 // len(part))
        assert final_letter(text) is None
        assert last_boxed(text) is None
        assert (last_number(text) is None) == ("1" not in part)


@pytest.mark.parametrize(
    ("text", "letter"),
    [("B", "B"), (" (c) ", "C"), ("B) Paris", "B"), ("B, C", None), ("Boston", None), ("", None)],
)
def test_a_text_that_is_a_letter(text, letter):
    assert letter_of(text) == letter


@pytest.mark.parametrize(
    ("how", "text", "answer"),
    [
        ("boxed", r"1 \boxed{\frac{1}{2}} 3", r"\frac{1}{2}"),
        ("boxed", r"\boxed{$1,000$}", "1000"),
        ("boxed", r"\boxed{ x  =  1 }", "x = 1"),
        ("boxed", "it is 025", "25"),
        ("boxed", "none", ""),
        ("number", "1+1=2\n#### 1,018", "1018"),
        ("number", "#### 18 dollars\nThat was problem 7.", "18"),
        ("number", "7 ####", ""),
        ("number", r"18 dollars, \boxed{18\text{ dollars}}, in 2024", "18"),
        ("number", "none", ""),
        ("choice", "Answer: C", "C"),
        ("choice", "none", ""),
        ("whole", " 서울 \n", "서울"),
    ],
)
def test_the_final_answer(how, text, answer):
    assert extract(how, text) == answer


def test_differences_that_mean_nothing():
    assert normalised(' "New  York."\n') == normalised("new york") == "new york"
    assert normalised("\N{FULLWIDTH DIGIT ONE}") == "1"
    for one, other in [(".5", "5"), ("-1", "1"), ("n!", "n"), ("a b", "ab")]:
        assert normalised(one) != normalised(other)
