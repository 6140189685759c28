"""The networks of PyTorch: one entry each, with inputs of two sizes, by both of its exporters.

`entries()` yields `(name, module, a small and a large set of inputs, the dynamic axes of each input)`.
"""

import io
import warnings

import language
import onnx
import torch
import vision
from torch import nn

OPSET_TORCHSCRIPT = 17
# What is written for these holds for the shape that was seen: no dynamic axes, one set is the other turned.
FIXED = {"torch_multihead_torchscript", "torch_encoder_torchscript", "torch_rnn_dynamo"}


def ids(high, *shape):
    return torch.randint(1, high, shape)


def mask(batch, length):
    """The first row is full, each later one is shorter."""
    return torch.stack([(torch.arange(length) < max(1, length - 2 * row)).long() for row in range(batch)])


def images(channels, size):
    return [(torch.randn(batch, channels, size, size),) for batch in (1, 2)]


def words(make):
    """Two sets, of 1 x 5 and 3 x 9 words."""
    return [make(1, 5), make(3, 9)]


BATCH = {0: "batch"}
WORDS = {0: "batch", 1: "length"}


def entries():
    yield "mlp", vision.Mlp(), [(torch.randn(n, 16),) for n in (1, 5)], {"x": BATCH}
    yield "resnet", vision.ResNet(), images(3, 12), {"x": BATCH}
    yield "mobilenet", vision.MobileNet(), images(3, 12), {"x": BATCH}
    yield "squeeze_excite", vision.SqueezeNetGate(), images(3, 12), {"x": BATCH}
    yield "decoder", vision.Decoder(), [(torch.randn(n, 8),) for n in (1, 3)], {"z": BATCH}
    yield "autoencoder", vision.Autoencoder(), images(1, 16), {"x": BATCH}
    unet = [(torch.randn(n, 4, 8, 8), ids(1000, n), torch.randn(n, s, 10)) for n, s in ((1, 4), (2, 7))]
    yield "unet", vision.UNet(), unet, {"latent": BATCH, "step": BATCH, "context": WORDS}
    yield "super_resolution", vision.SuperResolution(), images(3, 7), {"x": BATCH}
    yield "mixer", vision.Mixer(), images(3, 12), {"x": BATCH}
    yield "vit", vision.Vit(), images(3, 12), {"x": BATCH}
    sounds = [(torch.randn(1, 1, 160),), (torch.randn(3, 1, 240),)]
    yield "audio", vision.Audio(), sounds, {"sound": {0: "batch", 2: "samples"}}
    yield "detector", vision.Detector(), images(3, 12), {"image": BATCH}

    three = {"input_ids": WORDS, "attention_mask": WORDS, "token_type_ids": WORDS}
    yield "bert", language.Bert(), words(lambda b, s: (ids(40, b, s), mask(b, s), ids(2, b, s) - 1)), three
    two = {"input_ids": WORDS, "attention_mask": WORDS}
    yield "sentence", language.Sentence(), words(lambda b, s: (ids(40, b, s), mask(b, s))), two
    yield "gpt", language.Gpt(), words(lambda b, s: (ids(40, b, s),)), {"input_ids": WORDS}
    llama = [
        (
            ids(40, b, s),
            torch.arange(p, p + s).expand(b, s).contiguous(),
            torch.randn(b, 2, p, 8),
            torch.randn(b, 2, p, 8),
        )
        for b, s, p in ((1, 2, 3), (3, 4, 6))
    ]
    past = {0: "batch", 2: "past"}
    yield (
        "llama",
        language.Llama(),
        llama,
        {"input_ids": WORDS, "position_ids": WORDS, "past_key": past, "past_value": past},
    )
    for name, kind, options in [
        ("lstm", nn.LSTM, {"num_layers": 2}),
        ("gru", nn.GRU, {}),
        ("bilstm", nn.LSTM, {"bidirectional": True}),
        ("bigru", nn.GRU, {"bidirectional": True}),
        ("rnn", nn.RNN, {}),
    ]:
        yield (
            name,
            language.Recurrent(kind, **options),
            words(lambda b, s: (ids(40, b, s),)),
            {"input_ids": WORDS},
        )
    yield "einsum", language.EinsumAttention(), words(lambda b, s: (torch.randn(b, s, 16),)), {"x": WORDS}
    bags = words(lambda b, s: (ids(50, b), ids(80, b, s) * mask(b, s), torch.randn(b, 4)))
    yield "bags", language.Bags(), bags, {"user": BATCH, "items": WORDS, "numbers": BATCH}
    heads = words(lambda b, s: (torch.randn(b, s, 16), mask(b, s) == 0))
    yield "multihead", language.MultiHead(), heads, {"x": WORDS, "padding": WORDS}
    yield "encoder", language.Encoder(), words(lambda b, s: (torch.randn(b, s, 16),)), {"x": WORDS}
    graphs = [(torch.randn(n, 8), torch.randint(0, n, (2, e))) for n, e in ((4, 5), (7, 16))]
    yield "graph", language.Graph(), graphs, {"nodes": {0: "nodes"}, "edges": {1: "edges"}}
    series = [(torch.randn(n, s), ids(400, n)) for n, s in ((1, 8), (3, 12))]
    yield "forecast", language.Forecast(), series, {"series": WORDS, "day": BATCH}


def settle(module):
    """Statistics of batch norms that are not those of a fresh module, so that folding them is seen."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.running_mean, -0.3, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.uniform_(part.weight, 0.6, 1.4)
            nn.init.uniform_(part.bias, -0.2, 0.2)
    return module.eval()


def bare(model):
    """Without notes on where each node came from: they name folders of the machine that exported."""

    def clean(graph):
        graph.doc_string = ""
        del graph.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    clean(attribute.g)
        for item in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
            item.doc_string = ""
            del item.metadata_props[:]

    clean(model.graph)
    del model.metadata_props[:]
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]
    return model


def torchscript(module, inputs, axes):
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        inputs,
        buffer,
        dynamo=False,
        opset_version=OPSET_TORCHSCRIPT,
        input_names=list(axes),
        dynamic_axes=axes,
    )
    return bare(onnx.load_from_string(buffer.getvalue()))


def dynamo(module, inputs, axes):
    shapes = tuple({axis: torch.export.Dim.DYNAMIC for axis in dynamic} for dynamic in axes.values())
    program = torch.onnx.export(
        module,
        inputs,
        dynamo=True,
        input_names=list(axes),
        dynamic_shapes=shapes,
        external_data=False,
        verbose=False,
    )
    return bare(program.model_proto)


def models():
    """Yields `(name, source, model or the exporter's error, input sets as arrays)`."""
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)  # the one fused operator that no exporter knows
    for name, module, sets, axes in entries():
        module = settle(module)
        for exporter, label in [(torchscript, "TorchScript exporter"), (dynamo, "dynamo exporter")]:
            source = f"torch {torch.__version__.split('+')[0]}, {label}"
            full = f"torch_{name}_{exporter.__name__}"
            shapes, used = axes, sets
            if full in FIXED:
                shapes, used = {n: {} for n in axes}, [sets[1], tuple(t.flip(1) for t in sets[1])]
            try:
                with torch.no_grad():
                    model = exporter(module, used[1], shapes)
            except Exception as error:  # an exporter that fails is part of the report
                model = error
            yield full, source, model, [{n: t.numpy() for n, t in zip(axes, inputs)} for inputs in used]
