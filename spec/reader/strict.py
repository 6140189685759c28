"""What a receipt is made of, read strictly: CBOR and its shapes, signatures, commitments, the tree.

Written from spec/receipt.md and spec/wire.md. Whatever is not as specified raises `Failed`.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

P = 2**255 - 19
ORDER_8 = int("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7", 16)
PART = "[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}"
SMALL_ORDER_Y = {0, 1, P - 1, ORDER_8, P - ORDER_8}  # of the points whose order divides 8

Holds = Callable[[Any], bool]


class Failed(Exception):
    """Something does not hold: what was expected, what was got."""


def require(holds: bool, expected: str, got: object) -> None:
    if not holds:
        text = str(got)[:200].encode("utf-8", "backslashreplace").decode()
        raise Failed(f"expected {expected}, got {text}")


def from_hex(text: Any, length: int) -> bytes:
    is_hex = type(text) is str and re.fullmatch(f"(0x)?[0-9a-fA-F]{{{2 * length}}}", text)
    require(bool(is_hex), f"{length} bytes in hex", text)
    return bytes.fromhex(text[-2 * length :])


# --- CBOR


class NoTags(dict[int, Callable[[Any], Any]]):
    """A decoder for every tag, which refuses it: bignums, dates and shared values have no place here."""

    def __missing__(self, tag: int) -> Callable[[Any], Any]:
        def refuse(_: Any) -> Any:
            raise Failed(f"expected no CBOR tag here, got {tag}")

        return refuse


def decode(what: str, data: bytes) -> Any:
    """Deterministic CBOR: what is read, written again, must give the same bytes."""
    try:
        value = cbor2.loads(data, semantic_decoders=NoTags(), max_depth=8, allow_indefinite=False)
        again = cbor2.dumps(value, canonical=True)
    except Exception as error:  # the library promises no narrower type for hostile bytes
        raise Failed(f"expected {what}, got: {error.__cause__ or error}") from error
    require(again == data, f"{what} in deterministic CBOR", "another encoding")
    return value


def encode(value: Any) -> bytes:
    return cbor2.dumps(value, canonical=True)


def tstr(v: Any) -> bool:
    return type(v) is str


def repo_name(v: Any) -> bool:
    return tstr(v) and re.fullmatch(f"{PART}/{PART}", v) is not None


def sint32(v: Any) -> bool:
    return type(v) is int and -(1 << 31) <= v < 1 << 31


def exactly(expected: Any) -> Holds:
    return lambda v: type(v) is type(expected) and v == expected


def uint(bits: int) -> Holds:
    return lambda v: type(v) is int and 0 <= v < 1 << bits


def bstr(length: int) -> Holds:
    return lambda v: type(v) is bytes and len(v) == length


def row(*fields: Holds) -> Holds:
    """A list of exactly these fields."""
    return lambda v: type(v) is list and len(v) == len(fields) and all(f(x) for f, x in zip(fields, v, strict=True))


def record(*fields: Holds) -> Holds:
    """A map with the keys 0, 1, 2 … and these fields."""
    return lambda v: type(v) is dict and list(v) == list(range(len(fields))) and row(*fields)(list(v.values()))


# --- signatures and commitments


def check_signature(key: bytes, message: bytes, signature: bytes) -> None:
    """Strict ed25519. The library refuses S >= L and uses no cofactor; points of small order are left to us."""
    for what, point in (("key", key), ("R", signature[:32])):
        y = int.from_bytes(point, "little") % (1 << 255)
        require(y % P not in SMALL_ORDER_Y, f"a {what} of large order", point.hex())
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise Failed(f"expected a signature by {key.hex()}, got one that does not verify") from error


def node_preimage(domain: str, network: bytes, data: bytes) -> bytes:
    return b"nabla " + domain.encode() + b"\0" + network + sha256(data).digest()


def commitment(salt: bytes, kind: str, name: str, data: bytes) -> bytes:
    label_salt = sha256(b"nabla salt 1\0" + salt + kind.encode() + b"\0" + name.encode()).digest()
    return sha256(b"nabla commitment 1\0" + label_salt + data).digest()


def climb(purpose: bytes, leaf: bytes, index: int, count: int, path: list[bytes]) -> bytes:
    """The root that a leaf and its path give."""
    require(index < count, f"an index below {count}", index)
    root, last = sha256(b"\0" + purpose + leaf).digest(), count - 1
    for sibling in path:
        require(last > 0, "a shorter path", len(path))
        if index % 2 == 1 or index == last:
            root = sha256(b"\1" + purpose + sibling + root).digest()
            while index % 2 == 0 and index != 0:
                index, last = index // 2, last // 2
        else:
            root = sha256(b"\1" + purpose + root + sibling).digest()
        index, last = index // 2, last // 2
    require(last == 0, "a longer path", len(path))
    return root
