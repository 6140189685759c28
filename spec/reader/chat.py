"""Chats: what a request asks and an answer says. Written from spec/chat.md."""

import json
import math
from hashlib import sha256
from typing import Any

from strict import Failed, encode, from_hex, repo_name, require, uint
from tensors import members, no_constant, read_json

U32, U64, TOKENS = uint(32), uint(64), uint(32)
ROLES = ("system", "user", "assistant")
FINISHES = ("stop", "length", "cancelled")
REQUEST_MAX, RESPONSE_MAX, EVENT_MAX = 4_194_304, 16_777_216, 1_048_576
# Name, least, most, what is meant where it is left out; in the order of a receipt's sampling but for seed and top_k.
DECIMALS = {
    "temperature": (0, 2_000_000, 1_000_000),
    "top_p": (1, 1_000_000, 1_000_000),
    "min_p": (0, 1_000_000, 0),
    "frequency_penalty": (-2_000_000, 2_000_000, 0),
    "presence_penalty": (-2_000_000, 2_000_000, 0),
    "repetition_penalty": (10_000, 100_000_000, 1_000_000),
}
OPTIONAL = {"model_id", "max_tokens", "max_completion_tokens", "top_k", "logit_bias", "stop", "seed", "logprobs"}
OPTIONAL |= {"top_logprobs", "response_format", "stream", "stream_options", *DECIMALS}


def has_member(data: bytes, name: str) -> bool:
    """Whether these bytes are an object with such a member."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=members, parse_constant=no_constant)
    except (ValueError, RecursionError, Failed):
        return False
    return type(value) is dict and value.get(name) is not None


def is_chat(data: bytes) -> bool:
    return has_member(data, "messages")


def is_answer(data: bytes) -> bool:
    return data.startswith(b"data:") or has_member(data, "choices")


def millionths(what: str, value: Any, least: int, most: int) -> int:
    """The nearest whole number of millionths, halves away from zero."""
    require(type(value) in (int, float), f"a number as {what}", value)
    scaled = float(value) * 1e6
    whole = math.floor(abs(scaled))
    number = whole + (abs(scaled) - whole >= 0.5)
    number = -number if scaled < 0 else number
    require(least <= number <= most, f"{what} from {least} to {most} millionths", number)
    return number


def closed(what: str, value: Any, required: set[str], optional: set[str] = set()) -> dict[str, Any]:
    is_closed = type(value) is dict and required <= set(value) <= required | optional
    require(is_closed, f"{what} of {sorted(required)}", value)
    return dict(value)


def read_request(data: bytes) -> tuple[dict[str, Any], list[int]]:
    """The request, and the sampling that it asks for, its `max_tokens` without regard to the context."""
    require(len(data) <= REQUEST_MAX, f"at most {REQUEST_MAX} bytes", len(data))
    request = read_json("a chat request", data, {"model", "nonce", "messages"}, OPTIONAL)
    messages = request["messages"]
    require(type(messages) is list and 1 <= len(messages) <= 4096, "1 to 4096 messages", messages)
    for message in messages:
        said = closed("a message", message, {"role", "content"}, {"name"})
        texts = all(type(text) is str for text in said.values())
        require(texts and said["role"] in ROLES, "a role and texts", said)
    limits = [name for name in ("max_tokens", "max_completion_tokens") if name in request]
    require(len(limits) <= 1, "one limit of tokens", limits)
    most = request[limits[0]] if limits else None
    most = 256 if most is None else most
    require(U32(most) and most >= 1, "max_tokens of 1 or more", most)
    top_k, seed = request.get("top_k"), request.get("seed")
    require(top_k is None or U32(top_k), "top_k below 2^32", top_k)
    require(seed is None or U64(seed), "a seed below 2^64", seed)
    numbers = {}
    for name, (least, greatest, left_out) in DECIMALS.items():
        given = request.get(name)
        numbers[name] = left_out if given is None else millionths(name, given, least, greatest)
    check_rest(request)
    if seed is None:
        nonce = from_hex(request["nonce"], 32)
        seed = int.from_bytes(sha256(b"nabla seed 1\0" + nonce).digest()[:8], "little")
    names = ("frequency_penalty", "presence_penalty", "repetition_penalty")
    first = [seed, numbers["temperature"], numbers["top_p"], top_k or 0, numbers["min_p"]]
    return request, [*first, *(numbers[name] for name in names), most]


def check_rest(request: dict[str, Any]) -> None:
    """What a receipt does not repeat."""
    biases = request.get("logit_bias", {})
    require(type(biases) is dict and len(biases) <= 1024, "at most 1024 biases", biases)
    for token, bias in biases.items():
        require(token.isascii() and token.isdigit() and U32(int(token)), "a token's number", token)
        millionths("a bias", bias, -100_000_000, 100_000_000)
    require(len({int(token) for token in biases}) == len(biases), "each token once", biases)
    stop = request.get("stop")
    stops = [] if stop is None else stop if type(stop) is list else [stop]
    sizes = [len(text.encode()) if type(text) is str else 0 for text in stops]
    require(len(stops) <= 16 and all(1 <= size <= 256 for size in sizes), "at most 16 texts of 1 to 256 bytes", stop)
    logprobs, top, stream = (request.get(name) for name in ("logprobs", "top_logprobs", "stream"))
    require("logprobs" not in request or type(logprobs) is bool, "a bool", logprobs)
    require("stream" not in request or type(stream) is bool, "a bool", stream)
    require(top is None or (logprobs and uint(8)(top) and top <= 20), "top_logprobs up to 20 beside logprobs", top)
    if (options := request.get("stream_options")) is not None:
        closed("stream options", options, set(), {"include_usage"})
        require(stream is True, "stream: true beside stream_options", stream)
    if (form := request.get("response_format")) is not None:
        kind = closed("a response format", form, {"type"}, {"json_schema"})["type"]
        require(kind in ("text", "json_object", "json_schema"), "a known format", kind)
        schema = form.get("json_schema")
        require((schema is not None) == (kind == "json_schema"), "a schema with type json_schema only", form)
        if schema is not None:
            closed("a schema", schema, {"name", "schema"}, {"description", "strict"})


def read_answer(data: bytes) -> dict[str, Any]:
    """Id, time, model, model id, tokens and usage of an answer, in one piece or in events."""
    require(len(data) <= RESPONSE_MAX, f"at most {RESPONSE_MAX} bytes", len(data))
    if data.startswith(b"data:"):
        return read_stream(data)
    answer = read_json("an answer", data, {"id", "object", "created", "model", "choices", "usage", "nabla"}, set())
    require(type(answer["choices"]) is list and len(answer["choices"]) == 1, "one choice", answer["choices"])
    choice = closed("a choice", answer["choices"][0], {"index", "message", "finish_reason"}, {"logprobs"})
    message = closed("a message", choice["message"], {"role", "content"})
    nabla = closed("nabla", answer["nabla"], {"model_id"}, {"tokens"})
    plain = answer["object"] == "chat.completion" and choice["index"] == 0 and message["role"] == "assistant"
    plain = plain and type(message["content"]) is str and choice["finish_reason"] in FINISHES
    require(plain, "an assistant's chat.completion", answer)
    return content(answer, answer["usage"], nabla["model_id"], nabla.get("tokens", []))


def read_stream(data: bytes) -> dict[str, Any]:
    require(data.endswith(b"\n\n"), "whole events", data[-20:])
    head: dict[str, Any] = {}
    tokens: list[Any] = []
    usage: Any = None
    model_id: Any = None
    finish = None
    for event in data[:-2].split(b"\n\n"):
        require(event.startswith(b"data: ") and b"\n" not in event, "`data: ` and one line", event)
        require(len(event) <= EVENT_MAX - 2, f"events of at most {EVENT_MAX} bytes", len(event))
        require(usage is None, "nothing after the usage", event)
        names = {"id", "object", "created", "model", "choices"}
        chunk = read_json("a chunk", event[6:], names, {"usage", "nabla"})
        own = {name: chunk[name] for name in ("id", "object", "created", "model")}
        first, head = not head, head or own
        require(own == head and own["object"] == "chat.completion.chunk", "chunks of one answer", own)
        nabla = closed("nabla", chunk.get("nabla", {}), set(), {"model_id", "tokens"})
        tokens += nabla.get("tokens", [])
        if chunk["choices"] == []:
            usage, model_id = chunk.get("usage"), nabla.get("model_id")
            require(None not in (usage, model_id, finish), "the finish, then usage and model", chunk)
            continue
        require(type(chunk["choices"]) is list and len(chunk["choices"]) == 1, "one choice", chunk)
        require("usage" not in chunk and "model_id" not in nabla and finish is None, "text before the end", chunk)
        choice = closed("a choice", chunk["choices"][0], {"index", "delta", "finish_reason"}, {"logprobs"})
        delta = closed("a delta", choice["delta"], set(), {"role", "content"})
        require(delta.get("role") == ("assistant" if first else None), "the role in the first chunk only", delta)
        require(choice["index"] == 0 and type(delta.get("content", "")) is str, "text", choice)
        finish = choice["finish_reason"]
        require(finish is None or finish in FINISHES, "a known finish", finish)
    require(usage is not None, "an answer up to its usage", data[-80:])
    return content(head, usage, model_id, tokens)


def content(head: dict[str, Any], usage: Any, model_id: Any, tokens: Any) -> dict[str, Any]:
    counts = closed("usage", usage, {"prompt_tokens", "completion_tokens", "total_tokens"})
    require(all(U64(count) for count in counts.values()), "counts", counts)
    require(type(tokens) is list and all(TOKENS(token) for token in tokens), "tokens", tokens)
    require(U64(head["created"]) and repo_name(head["model"]), "a time and a name", head)
    return {**head, **counts, "model_id": from_hex(model_id, 32), "tokens": tokens}


def tokens_bytes(tokens: list[int]) -> bytes:
    """An INT64 tensor of one dimension."""
    return encode([3, [len(tokens)], b"".join(token.to_bytes(8, "little") for token in tokens)])
