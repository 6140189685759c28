#!/usr/bin/env python3
"""Run the reader over spec/vectors: every vector must end as it says. Exit code 0 if all do."""

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from read_receipt import Context, verify
from strict import check_signature, climb, commitment, from_hex, node_preimage
from tensors import tensor_bytes

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
TEXT = ("request", "response")
LENGTHS = {"payer": 20}


def context(given: dict[str, str]) -> Context:
    def read(name: str, value: str) -> bytes:
        if name in TEXT:
            return value.encode()
        return bytes.fromhex(value) if name == "proof" else from_hex(value, LENGTHS.get(name, 32))

    return Context(**{name: read(name, value) for name, value in given.items()})


def receipts(file: dict[str, Any]) -> list[tuple[str, bool, object]]:
    results: list[tuple[str, bool, object]] = []
    valid = {vector["name"]: vector for vector in file["valid"]}
    for name, vector in valid.items():
        checks = verify(bytes.fromhex(vector["receipt"]), context(vector["context"]))
        passed = [check.name for check in checks if check.outcome == "passed"]
        skipped = [check.name for check in checks if check.outcome == "skipped"]
        complete = len(passed) + len(skipped) == len(checks) and vector["receipt_id"] in checks[0].text
        results.append((name, passed == vector["passes"] and complete, checks))
    for vector in file["invalid"]:
        base = valid[vector["of"]]
        given = context({**base["context"], **vector["context"]})
        checks = verify(bytes.fromhex(vector.get("receipt", base["receipt"])), given)
        failed = [check.name for check in checks if check.outcome == "failed"]
        results.append((vector["name"], failed == vector["fails"], f"{failed} instead of {vector['fails']}"))
    return results


def wire(file: dict[str, Any]) -> list[tuple[str, bool, object]]:
    """The parts of wire.json that the reader knows."""
    results: list[tuple[str, bool, object]] = []
    for vector in file["tensors"]["each"]:
        name, data = tensor_bytes(vector["json"])
        digest = sha256(b"nabla/tensor/1\0" + data).hexdigest()
        results.append((f"tensor {name}", data.hex() == vector["cbor"] and digest == vector["digest"], data.hex()))
    salt = bytes.fromhex(file["commitments"]["salt"])
    for vector in file["commitments"]["each"]:
        got = commitment(salt, vector["kind"], vector["name"], vector["text"].encode()).hex()
        results.append((f"commitment to {vector['kind']}", got == vector["commitment"], got))
    node, network = (bytes.fromhex(file["signatures"][key]) for key in ("node", "network"))
    for vector in file["signatures"]["each"]:
        preimage = node_preimage(vector["domain"], network, vector["text"].encode())
        check_signature(node, preimage, bytes.fromhex(vector["signature"]))
        results.append((f"signature {vector['domain']}", preimage.hex() == vector["preimage"], preimage.hex()))
    for vector in file["genesis"]:
        got = sha256(bytes.fromhex(vector["cbor"])).hexdigest()
        results.append((f"genesis {vector['json']['name']}", got == vector["network"], got))
    for vector in file["trees"]:
        purpose = bytes.fromhex(vector["purpose"])
        for tree in vector["trees"]:
            leaves, paths = tree["leaves"], [[bytes.fromhex(h) for h in path] for path in tree["paths"]]
            roots = [climb(purpose, leaf.encode(), i, len(leaves), paths[i]) for i, leaf in enumerate(leaves)]
            roots = roots or [sha256(b"\2" + purpose).digest()]
            results.append((f"tree of {len(leaves)}", {root.hex() for root in roots} == {tree["root"]}, roots))
    return results


def main() -> int:
    read = {name: json.loads((VECTORS / name).read_text("utf-8")) for name in ("receipt.json", "wire.json")}
    results = receipts(read["receipt.json"]) + wire(read["wire.json"])
    failed = [(name, got) for name, holds, got in results if not holds]
    for name, got in failed:
        print(f"FAILED {name}: {got}")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
