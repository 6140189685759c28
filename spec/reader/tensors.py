"""Tensors in JSON, and their canonical bytes. Written from spec/wire.md, section Tensors."""

import json
import math
import struct
from typing import Any

from strict import Failed, encode, require, uint

CODES = ["FP32", "FP64", "INT64", "INT32", "INT8", "UINT8", "BOOL", "BYTES"]  # from 1
CODES += ["INT16", "UINT16", "UINT32", "UINT64", "FP16", "BF16"]
LAYOUTS = {"FP32": "<f", "FP64": "<d", "INT64": "<q", "INT32": "<i", "INT8": "<b", "UINT8": "<B"}
LAYOUTS |= {"INT16": "<h", "UINT16": "<H", "UINT32": "<I", "UINT64": "<Q", "FP16": "<e"}
NAN = {"FP32": bytes.fromhex("0000c07f"), "FP64": bytes.fromhex("000000000000f87f")}
NAN |= {"FP16": bytes.fromhex("007e"), "BF16": bytes.fromhex("c07f")}
NON_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    require(len(dict(pairs)) == len(pairs), "each member once", [key for key, _ in pairs])
    return dict(pairs)


def no_constant(text: str) -> Any:
    raise Failed(f"expected JSON, got {text}")


def read_json(what: str, data: bytes, required: set[str], optional: set[str]) -> dict[str, Any]:
    """An object of these members. `-0` is the float that it says."""
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=members,
            parse_constant=no_constant,
            parse_int=lambda digits: -0.0 if digits == "-0" else int(digits),
        )
    except (ValueError, RecursionError) as error:
        raise Failed(f"expected {what} in JSON, got: {error}") from error
    closed = type(value) is dict and required <= set(value) <= required | optional
    require(closed, f"{what} of exactly {sorted(required)}", value)
    return dict(value)


def nested(shape: list[int], data: Any) -> list[Any]:
    if not shape:
        return [data]
    require(type(data) is list and len(data) == shape[0], f"a list of {shape[0]}", data)
    return [x for entry in data for x in nested(shape[1:], entry)]


def bfloat16(number: float) -> bytes:
    """The nearest bfloat16, ties to even: the upper half of an f32 whose lower half is zero."""
    if not math.isinf(number):
        step = max(math.frexp(number)[1] - 8, -133)
        nearest = math.ldexp(round(math.ldexp(number, -step)), step)
        number = math.copysign(nearest, number)
    return struct.pack("<f", number)[2:]


def element(dtype: str, value: Any) -> bytes:
    """One element of fixed size, little-endian."""
    if dtype == "BOOL":
        require(type(value) is bool, "true or false", value)
        return bytes([value])
    number = NON_FINITE.get(value) if type(value) is str and dtype in NAN else value
    require(type(number) is int or (type(number) is float and dtype in NAN), f"a number of {dtype}", value)
    require(number is not value or abs(number) != float("inf"), "a finite number", value)
    try:
        if number != number:
            return NAN[dtype]
        return bfloat16(number) if dtype == "BF16" else struct.pack(LAYOUTS[dtype], number)
    except (OverflowError, struct.error) as error:
        raise Failed(f"expected a number in the range of {dtype}, got {value}") from error


def is_text(value: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def tensor_bytes(tensor: Any) -> tuple[str, bytes]:
    """Name and canonical bytes of a tensor in JSON."""
    fields = {"name", "shape", "datatype", "data"}
    is_tensor = type(tensor) is dict and fields <= set(tensor) <= fields | {"parameters"}
    require(is_tensor and tensor.get("parameters", {}) == {}, f"a tensor of {sorted(fields)}", tensor)
    name, shape, dtype, data = tensor["name"], tensor["shape"], tensor["datatype"], tensor["data"]
    require(type(name) is str and is_text(name) and dtype in CODES, "a name and a datatype", (name, dtype))
    is_shape = type(shape) is list and len(shape) <= 8 and all(uint(29)(d) and d <= 1 << 28 for d in shape)
    require(is_shape, "at most 8 dimensions up to 2^28", shape)
    entries = data if type(data) is list else [data]
    flat = nested(shape, data) if any(type(entry) is list for entry in entries) else entries
    count = 1
    for dimension in shape:
        count *= dimension
    require(len(flat) == count <= 1 << 28, f"{count} elements", len(flat))
    if dtype != "BYTES":
        return name, encode([CODES.index(dtype) + 1, shape, b"".join(element(dtype, x) for x in flat)])
    require(all(type(x) is str and is_text(x) for x in flat), "strings without lone surrogates", flat)
    return name, encode([CODES.index(dtype) + 1, shape, flat])
