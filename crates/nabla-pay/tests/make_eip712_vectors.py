"""Writes spec/vectors/eip712.json with eth-account, which knows nothing of nabla:

    python3 -m venv venv && venv/bin/pip install eth-account==0.14.0
    venv/bin/python crates/nabla-pay/tests/make_eip712_vectors.py > spec/vectors/eip712.json
"""
import json
from eth_account import Account
from eth_account.messages import encode_typed_data, _hash_eip191_message
from eth_utils import keccak

OPG = "0x" + b"nabla OPG token acct".hex()
ESCROW = "0x" + b"nabla escrow account".hex()
AUTH = {
    "EIP712Domain": [{"name": "name", "type": "string"}, {"name": "version", "type": "string"},
                     {"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"}],
    "TransferWithAuthorization": [
        {"name": "from", "type": "address"}, {"name": "to", "type": "address"}, {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"}, {"name": "validBefore", "type": "uint256"}, {"name": "nonce", "type": "bytes32"}],
}
REG = {
    "EIP712Domain": AUTH["EIP712Domain"][:3],
    "ModelRegistration": [
        {"name": "name", "type": "string"}, {"name": "owner", "type": "address"}, {"name": "sequence", "type": "uint64"},
        {"name": "model", "type": "bytes32"}, {"name": "revision", "type": "bytes32"}, {"name": "royalty", "type": "uint256"},
        {"name": "storageFee", "type": "uint256"}, {"name": "summary", "type": "string"}, {"name": "network", "type": "bytes32"}],
}

def signed(secret, types, primary, domain, message):
    full = {"types": types, "primaryType": primary, "domain": domain, "message": message}
    typed = encode_typed_data(full_message=full)
    signature = Account.from_key(secret).sign_message(typed)
    assert Account.recover_message(typed, signature=signature.signature) == Account.from_key(secret).address
    return {"secret": secret, "signer": Account.from_key(secret).address.lower(),
            "digest": "0x" + _hash_eip191_message(typed).hex(), "signature": "0x" + signature.signature.hex()}

def text(value):
    return str(value) if isinstance(value, int) else value

def vectors():
    auths, regs = [], []
    secrets = ["0x" + "01" * 32, "0x" + "00" * 31 + "02", "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140"]
    values = [0, 1, 1320, 10**18, 2**64, 2**128 - 1]
    for i in range(12):
        secret = secrets[i % 3] if i < 6 else "0x" + keccak(b"nabla vector %d" % i).hex()
        message = {"from": Account.from_key(secret).address.lower(), "to": ESCROW if i % 2 else "0x" + "%040x" % (i + 1),
                   "value": values[i % 6], "validAfter": [0, 1_750_000_000, 2**64 - 1][i % 3], "validBefore": [2**64 - 1, 1_750_000_600][i % 2],
                   "nonce": "0x" + keccak(b"nonce %d" % i).hex()}
        chain = [1, 8453, 31337, 2**64 - 1][i % 4]
        domain = {"name": "OPG", "version": "1", "chainId": chain, "verifyingContract": OPG}
        auths.append({"chain_id": str(chain), "message": {k: text(v) for k, v in message.items()},
                      **signed(secret, AUTH, "TransferWithAuthorization", domain, message)})
    summaries = ["", "Reads handwritten digits", "Zeichen: äöü, 数字, ✓", "x" * 200]
    for i in range(8):
        secret = secrets[i % 3] if i < 3 else "0x" + keccak(b"nabla owner %d" % i).hex()
        message = {"name": ["alice/digits", "a/b", "A-1/x_y.z"][i % 3], "owner": Account.from_key(secret).address.lower(),
                   "sequence": [1, 2, 2**64 - 1][i % 3], "model": "0x" + keccak(b"model %d" % i).hex(),
                   "revision": "0x" + keccak(b"revision %d" % i).hex(), "royalty": values[i % 6],
                   "storageFee": values[(i + 3) % 6], "summary": summaries[i % 4], "network": "0x" + keccak(b"network %d" % i).hex()}
        chain = [1, 8453, 31337, 2**64 - 1][i % 4]
        domain = {"name": "nabla", "version": "1", "chainId": chain}
        regs.append({"chain_id": str(chain), "message": {k: text(v) for k, v in message.items()},
                     **signed(secret, REG, "ModelRegistration", domain, message)})
    return {
        "about": "EIP-712 digests and signatures made by eth-account 0.14.0 (encode_typed_data, sign_message), for the two domains of nabla-pay. Numbers are decimal strings.",
        "authorizations": {"types": AUTH, "domain": {"name": "OPG", "version": "1", "verifyingContract": OPG}, "vectors": auths},
        "registrations": {"types": REG, "domain": {"name": "nabla", "version": "1"}, "vectors": regs},
    }

print(json.dumps(vectors(), indent=1, ensure_ascii=False))
