"""The schemas of docs/openapi.yaml and the classes of `ralo_core.messages` have the same fields.

Compared are the names of the fields, which of them are required, and their types; descriptions and
bounds are the document's own.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
import pytest
import yaml

import ralo_core.messages
from ralo_core.data import (
    DeltaLink,
    EngineReport,
    GradientUpload,
    ItemResponses,
    Problem,
    ResponseSettings,
    VersionDelay,
    WeightDelta,
    WeightFile,
    WeightsReport,
    WeightVersion,
)

SPEC = yaml.safe_load(
    (Path(__file__).parent.parent / "docs" / "openapi.yaml").read_text(encoding="utf-8")
)
SCHEMAS = SPEC["components"]["schemas"]
NO_CLASS = {
    "Identifier": "a name, checked by ralo_core.identifiers",
    "RunState": "a word",
    "Prompt": "text or messages",
    "Phases": "a mapping with free keys",
    "Problem": "a problem document, as RFC 9457 has it",
    "WeightManifest": "the version and its tensors, which are not described further",
}
OTHER_NAMES = {"Task": Problem}
OF_DATA = (
    DeltaLink, EngineReport, GradientUpload, ItemResponses, ResponseSettings, VersionDelay,
    WeightDelta, WeightFile, WeightsReport, WeightVersion,
)  # fmt: skip
NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}
FREE = {"type": "object"}


def message_classes():
    """Every class that a module of `ralo_core.messages` defines, by name."""
    found = {}
    for info in pkgutil.iter_modules(ralo_core.messages.__path__):
        module = importlib.import_module(f"ralo_core.messages.{info.name}")
        for value in vars(module).values():
            if attrs.has(value) and value.__module__ == module.__name__:
                assert found.setdefault(value.__name__, value) is value
    return found


CLASSES = {**message_classes(), **{kind.__name__: kind for kind in OF_DATA}, **OTHER_NAMES}
DESCRIBED = sorted(SCHEMAS.keys() - NO_CLASS.keys())


def of_type(kind):
    """Return what a JSON document of type `kind` looks like."""
    if attrs.has(kind):
        return of_class(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return {"any": sorted((of_type(member) for member in inner), key=str)}
    if origin is Mapping:
        return {**FREE, "values": of_type(inner[1])}
    if origin in (tuple, Sequence):
        return {"type": "array", "items": of_type(inner[0])}
    return {} if kind is Any else {"type": NAMES[kind]}


def of_class(kind):
    types = get_type_hints(kind)
    return {
        "type": "object",
        "fields": {field.name: of_type(types[field.name]) for field in attrs.fields(kind)},
        "required": {field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING},
    }


def of_schema(schema):
    """Return what a JSON document of `schema` looks like, in the words of `of_type`."""
    if "$ref" in schema:
        return of_schema(SCHEMAS[schema["$ref"].rpartition("/")[2]])
    if "allOf" in schema:
        parts = [of_schema(part) for part in schema["allOf"]]
        return {
            "type": "object",
            "fields": {name: kind for part in parts for name, kind in part["fields"].items()},
            "required": set.union(*(part["required"] for part in parts)),
        }
    if "oneOf" in schema:
        return {"any": sorted((of_schema(member) for member in schema["oneOf"]), key=str)}
    if "enum" in schema or "const" in schema:
        return {"type": "string"}
    if isinstance(schema.get("type"), list):
        members = [of_schema({**schema, "type": name}) for name in schema["type"]]
        return {"any": sorted(members, key=str)}
    if schema.get("type") == "array":
        return {"type": "array", "items": of_schema(schema.get("items", {}))}
    if schema.get("type") == "object" and "properties" in schema:
        return {
            "type": "object",
            "fields": {name: of_schema(kind) for name, kind in schema["properties"].items()},
            "required": set(schema.get("required", ())),
        }
    if schema.get("type") == "object":
        values = schema.get("additionalProperties", {})
        return {**FREE, "values": of_schema(values)}
    return {"type": schema["type"]} if "type" in schema else {}


def test_every_schema_has_a_class():
    assert [name for name in DESCRIBED if name not in CLASSES] == []


@pytest.mark.parametrize("name", [name for name in DESCRIBED if name in CLASSES])
def test_a_schema_is_what_its_class_says(name):
    assert of_schema(SCHEMAS[name]) == of_class(CLASSES[name])


def test_every_message_is_described():
    """A class that is no schema by its name is part of one that is."""
    described = {CLASSES[name] for name in DESCRIBED if name in CLASSES}
    reached, new = set(), described
    while new:
        reached |= new
        new = {part for kind in new for part in parts_of(kind)} - reached
    bases = {base for kind in reached for base in kind.__mro__}
    left = set(message_classes().values()) - reached - bases
    assert {kind.__name__ for kind in left} == {"WeightManifest"}


def parts_of(kind):
    for hint in get_type_hints(kind).values():
        yield from classes_in(hint)


def classes_in(hint):
    if attrs.has(hint):
        yield hint
    for inner in get_args(hint):
        yield from classes_in(inner)
