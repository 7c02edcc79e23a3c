"""The dtypes of safetensors files: what the format, numpy and torch call each of them.

The one table of the project. torch is not imported here: who needs its dtypes takes the attribute
of torch that `WORDS` names.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

WORDS: Mapping[str, str] = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32",
    "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
"""The name in the format -> the name in torch, and in numpy, which lacks bfloat16."""

NUMPY: Mapping[str, np.dtype[Any]] = {
    name: np.dtype("uint16" if word == "bfloat16" else word) for name, word in WORDS.items()
}
"""The name in the format -> the numpy dtype of an array that maps such a tensor. numpy has no
bfloat16, so its bits are mapped as uint16."""

NAMES: Mapping[np.dtype[Any], str] = {
    dtype: name for name, dtype in NUMPY.items() if name != "BF16"
}
"""The numpy dtype -> the name under which its arrays are written."""


def bits(name: str) -> np.dtype[Any]:
    """Return the unsigned integer as wide as dtype `name`: its values seen as bits."""
    return np.dtype(f"u{NUMPY[name].itemsize}")
