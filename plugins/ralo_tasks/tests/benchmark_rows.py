"""Two rows of each published set, made up, with the fields that its publisher gives them."""

ROWS = {
    "aime24": [
        {"id": 60, "problem": "1+1?", "solution": "2", "answer": "025", "url": "u", "year": "2024"},
        {"id": 61, "problem": "1+2?", "solution": "3", "answer": "3", "url": "u", "year": "2024"},
    ],
    "aime25": [{"question": "1+1?", "answer": "2"}, {"question": "1+2?", "answer": "3"}],
    "amc23": [
        {"id": 0, "answer": 27.0, "url": "u", "question": "1+26?"},
        {"id": 1, "answer": 3.0, "url": "u", "question": "1+2?"},
    ],
    "math500": [
        {
            "problem": f"{n}/2?", "solution": "s", "answer": rf"\frac{{{n}}}{{2}}",
            "subject": "Algebra", "level": n, "unique_id": f"test/{n}",
        }
        for n in (1, 3)
    ],
    "gsm8k": [
        {"question": "1000+18?", "answer": "1000+18=<<1000+18=1018>>1018\n#### 1,018"},
        {"question": "1+2?", "answer": "#### 3"},
    ],
    "olympiadbench": [
        {
            "id": n, "question": f"x - {n} = 0?", "solution": ["s"], "final_answer": answer,
            "context": None, "is_multiple_answer": len(answer) > 1, "unit": None,
            "answer_type": "Numerical", "error": None,
        }
        for n, answer in enumerate([["$2$", "$-2$"], [r"$\frac{1}{2}$"]])
    ],
    "gpqa": [
        {
            "Question": f"Which of these is {n}?\n", "Correct Answer": f"right {n} ",
            "Incorrect Answer 1": f"wrong {n}1", "Incorrect Answer 2": f"wrong {n}2",
            "Incorrect Answer 3": f"wrong {n}3", "Record ID": f"rec{n}",
        }
        for n in range(2)
    ],
}  # fmt: skip
ANSWERS = {
    "aime24": ["025", "3"],
    "aime25": ["2", "3"],
    "amc23": ["27", "3"],
    "math500": [r"\frac{1}{2}", r"\frac{3}{2}"],
    "gsm8k": ["1018", "3"],
    "olympiadbench": ["2, -2", r"\frac{1}{2}"],
}
