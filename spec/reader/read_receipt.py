#!/usr/bin/env python3
"""Check a nabla receipt offline. Written from spec/receipt.md, not from the code that makes receipts.

Prints one line per check: passed, FAILED (what was expected, what was got) or skipped (what is missing).
Exit code 0 if the signature is good and nothing failed, else 1.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import chat
from strict import Failed, Holds, bstr, exactly, record, repo_name, require, row, sint32, tstr, uint
from strict import check_signature, climb, commitment, decode, encode, from_hex, node_preimage
from tensors import read_json, tensor_bytes

RECEIPT_MAX, PROOF_MAX = 32_768, 1_048_576 + 16_384
PROTECTED = bytes.fromhex("a2012703183d")  # {1: -8, 3: 61}
U64, U32, HASH, AMOUNT = uint(64), uint(32), bstr(32), bstr(16)


def tensors(v: Any) -> bool:
    return type(v) is list and len(v) <= 64 and all(row(tstr, HASH)(entry) for entry in v)


def sampling(v: Any) -> bool:
    return v is None or row(U64, U32, U32, U32, U32, sint32, sint32, U32, U32)(v)


CLAIMS: dict[int, tuple[str, Holds]] = {
    1: ("provider", HASH),
    6: ("issued_at", U64),
    10: ("nonce", HASH),
    265: ("profile", exactly("urn:nabla:receipt:1")),
    -65537: ("model_name", repo_name),
    -65538: ("revision", HASH),
    -65539: ("model", HASH),
    -65540: ("request", HASH),
    -65541: ("response", HASH),
    -65546: ("execution_time_ms", U64),
    -70001: ("version", exactly(1)),
    -70002: ("network", HASH),
    -70003: ("runtime", tstr),
    -70004: ("kernel_spec", U32),
    -70005: ("inputs", tensors),
    -70006: ("outputs", tensors),
    -70007: ("sampling", sampling),
    -70008: ("usage", row(U64, U64, U64, U64)),
    -70009: ("price", row(AMOUNT, AMOUNT, AMOUNT)),
    -70010: ("amount", AMOUNT),
    -70011: ("payer", HASH),
    -70012: ("payment", HASH),
    -70013: ("started_ms", U64),
    -70014: ("finished_ms", U64),
    -70015: ("evidence", exactly(0)),
}
HEADER = record(HASH, U64, HASH, U64, HASH, HASH, U64)


class Check(NamedTuple):
    name: str
    outcome: str  # passed, failed or skipped
    text: str


@dataclass(frozen=True)
class Context:
    """What the reader has. Everything is optional."""

    network: bytes | None = None
    nonce: bytes | None = None
    model: bytes | None = None
    payment: bytes | None = None
    request: bytes | None = None
    response: bytes | None = None
    salt: bytes | None = None
    payer: bytes | None = None
    proof: bytes | None = None


def read(receipt: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    """Sections 1 and 2: the claims by name, the payload and the signature."""
    require(len(receipt) <= RECEIPT_MAX, f"at most {RECEIPT_MAX} bytes", len(receipt))
    require(receipt[:1] == b"\xd2", "CBOR tag 18 (COSE_Sign1)", receipt[:2].hex() or "nothing")
    envelope = decode("a COSE_Sign1", receipt[1:])
    parts = row(exactly(PROTECTED), exactly({}), lambda v: type(v) is bytes, bstr(64))
    require(parts(envelope), "[{alg: EdDSA, content type: cwt}, {}, payload, 64 bytes of signature]", envelope)
    claims = decode("claims", envelope[2])
    require(type(claims) is dict and list(claims) == list(CLAIMS), "the 25 claims", claims)
    for key, (name, holds) in CLAIMS.items():
        require(holds(claims[key]), f"claim {key} ({name}) as specified", claims[key])
    named = {name: claims[key] for key, (name, _) in CLAIMS.items()}
    finished, took = named["finished_ms"], max(named["finished_ms"] - named["started_ms"], 0)
    require(named["issued_at"] == finished // 1000, f"iat {finished // 1000}", named["issued_at"])
    require(named["execution_time_ms"] == took, f"execution time {took}", named["execution_time_ms"])
    return named, envelope[2], envelope[3]


def same(what: str, expected: Any, got: Any) -> str:
    show = [value.hex() if type(value) is bytes else str(value) for value in (expected, got)]
    require(expected == got, f"{what} {show[0]}", show[1])
    return show[1]


def check_tensors(salt: bytes, kind: str, given: Any, committed: list[tuple[str, bytes]]) -> str:
    require(type(given) is list and len(given) == len(committed), f"{len(committed)} tensors", given)
    for tensor, (name, got) in zip(given, committed, strict=True):
        own, data = tensor_bytes(tensor)
        same("tensor", own, name)
        same(f"a commitment to tensor {own!r}", commitment(salt, kind, own, data), got)
    return f"{len(committed)} tensors"


class Unknown(Exception):
    """Not wrong, but more is needed to say that it is right."""


def check_chat(claims: dict[str, Any], data: bytes) -> str:
    request, asked = chat.read_request(data)
    same("the request's nonce", from_hex(request["nonce"], 32), claims["nonce"])
    same("the request's model", request["model"], claims["model_name"])
    if request.get("model_id") is not None:
        same("the request's model id", from_hex(request["model_id"], 32), claims["model"])
    stated = claims["sampling"]
    require(stated is not None, "how tokens were chosen", stated)
    same("sampling", asked[:-1], stated[:-1])
    require(stated[-1] <= asked[-1], f"max_tokens of at most {asked[-1]}", stated[-1])
    same("inputs", ["prompt_tokens"], [name for name, _ in claims["inputs"]])
    raise Unknown("needs the model's template and vocabulary, which make the prompt's tokens")


def check_answer(claims: dict[str, Any], salt: bytes, data: bytes) -> str:
    answer = chat.read_answer(data)
    same("the response's model", answer["model"], claims["model_name"])
    same("the response's model id", answer["model_id"], claims["model"])
    same("an answer begun at", claims["started_ms"] // 1000, answer["created"])
    same("the answer", f"chatcmpl-{claims['nonce'][:16].hex()}", answer["id"])
    _, _, tokens_in, tokens_out = claims["usage"]
    told = [answer["prompt_tokens"], answer["completion_tokens"], len(answer["tokens"]), answer["total_tokens"]]
    same("tokens", [tokens_in, tokens_out, tokens_out, tokens_in + tokens_out], told)
    data = chat.tokens_bytes(answer["tokens"])
    same("outputs", [["tokens", commitment(salt, "output", "tokens", data)]], [list(out) for out in claims["outputs"]])
    return f"{tokens_out} tokens"


def check_inputs(claims: dict[str, Any], salt: bytes, data: bytes) -> str:
    if chat.is_chat(data):
        return check_chat(claims, data)
    request = read_json("a request", data, {"model", "nonce", "inputs"}, {"model_id"})
    same("the request's nonce", from_hex(request["nonce"], 32), claims["nonce"])
    same("the request's model", request["model"], claims["model_name"])
    if request.get("model_id") is not None:
        same("the request's model id", from_hex(request["model_id"], 32), claims["model"])
    return check_tensors(salt, "input", request["inputs"], claims["inputs"])


def check_outputs(claims: dict[str, Any], salt: bytes, data: bytes) -> str:
    if chat.is_answer(data):
        return check_answer(claims, salt, data)
    response = read_json("a response", data, {"model_name", "model_id", "outputs"}, set())
    same("the response's model", response["model_name"], claims["model_name"])
    same("the response's model id", from_hex(response["model_id"], 32), claims["model"])
    return check_tensors(salt, "output", response["outputs"], claims["outputs"])


def check_amount(claims: dict[str, Any]) -> str:
    per_call, per_gigamac, royalty, got = (int.from_bytes(v, "big") for v in [*claims["price"], claims["amount"]])
    expected = per_call + royalty + per_gigamac * -(-claims["usage"][1] // 10**9)
    return same("an amount in units of", expected, got)


def check_inclusion(receipt: bytes, network: bytes, data: bytes) -> str:
    require(len(data) <= PROOF_MAX, f"at most {PROOF_MAX} bytes", len(data))
    proof = decode("an inclusion proof", data)
    shape = record(lambda v: type(v) is dict, record(HEADER, bstr(64)), U64, lambda v: type(v) is list)
    require(shape(proof) and all(map(HASH, proof[3])), "genesis, signed header, index and path", proof)
    genesis, signed, index, path = proof.values()
    header, signature = signed.values()
    same("a block of network", network, sha256(encode(genesis)).digest())
    same("a header of network", network, header[0])
    require(HASH(genesis.get(3)), "a validator", genesis.get(3))
    check_signature(genesis[3], node_preimage("block 1", network, encode(header)), signature)
    same("the root", header[5], climb(b"nabla receipts 1\0", receipt, index, header[6], path))
    return f"block {header[1]}, receipt {index + 1} of {header[6]}"


def verify(receipt: bytes, have: Context) -> list[Check]:
    """Every check of section 4, in its order."""
    try:
        claims, payload, signature = read(receipt)
    except Failed as error:
        return [Check("format", "failed", str(error))]
    checks = [Check("format", "passed", f"{len(receipt)} bytes, receipt {sha256(payload).hexdigest()}")]

    def check(name: str, made: Callable[..., str], *needs: str) -> None:
        if missing := [need for need in needs if getattr(have, need) is None]:
            return checks.append(Check(name, "skipped", f"needs {' and '.join(missing)}"))
        try:
            checks.append(Check(name, "passed", made(*(getattr(have, need) for need in needs))))
        except Failed as error:
            checks.append(Check(name, "failed", str(error)))
        except Unknown as missing_more:
            checks.append(Check(name, "skipped", str(missing_more)))

    def signed() -> str:
        message = encode(["Signature1", PROTECTED, b"nabla receipt 1", payload])
        check_signature(claims["provider"], message, signature)
        return f"ed25519 of provider {claims['provider'].hex()}"

    def claim(name: str) -> Callable[..., str]:
        return lambda expected: same(name, expected, claims[name])

    def opens(kind: str) -> Callable[..., str]:
        return lambda salt, data: same("a commitment", commitment(salt, kind, "", data), claims[kind])

    check("signature", signed)
    for name in ("network", "nonce", "model", "payment"):
        check(name, claim(name), name)
    check("request", opens("request"), "salt", "request")
    check("inputs", lambda salt, data: check_inputs(claims, salt, data), "salt", "request")
    check("response", opens("response"), "salt", "response")
    check("outputs", lambda salt, data: check_outputs(claims, salt, data), "salt", "response")
    check("amount", lambda: check_amount(claims))
    check("payer", opens("payer"), "salt", "payer")
    check("inclusion", lambda proof: check_inclusion(receipt, claims["network"], proof), "proof")
    return [*checks, Check("replay", "skipped", "needs a run of the model on these inputs")]


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a nabla receipt offline.")
    parser.add_argument("receipt", type=Path)
    for file in ("request", "response", "proof"):
        parser.add_argument(f"--{file}", type=lambda path: Path(path).read_bytes(), metavar="FILE")
    for value in ("network", "nonce", "model", "payment", "salt", "payer"):
        parser.add_argument(f"--{value}", metavar="HEX")
    given = vars(parser.parse_args())
    path: Path = given.pop("receipt")
    try:
        context = {
            name: from_hex(value, 20 if name == "payer" else 32) if type(value) is str else value
            for name, value in given.items()
        }
        checks = verify(path.read_bytes(), Context(**context))
    except (Failed, OSError) as error:
        parser.error(str(error))
    for name, outcome, text in checks:
        print(f"{name:<10} {'FAILED' if outcome == 'failed' else outcome:<8} {text}")
    return 1 if any(check.outcome == "failed" for check in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
