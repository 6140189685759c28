"""Write cases.json: small ONNX models, inputs, and what ONNX Runtime answers.

Run in this folder with onnx, onnxruntime and numpy: `python make.py`.
`../oracle.rs` holds the engine to every case within the case's tolerance.
"""

import json

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(0)
TYPES = {
    "float32": ("FP32", TensorProto.FLOAT),
    "float64": ("FP64", TensorProto.DOUBLE),
    "int16": ("INT16", TensorProto.INT16),
    "int64": ("INT64", TensorProto.INT64),
    "int32": ("INT32", TensorProto.INT32),
    "int8": ("INT8", TensorProto.INT8),
    "uint8": ("UINT8", TensorProto.UINT8),
    "bool": ("BOOL", TensorProto.BOOL),
    "object": ("BYTES", TensorProto.STRING),
}
ML = "ai.onnx.ml"
CASES = []


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def shown(value):
    if isinstance(value, float) and not np.isfinite(value):
        return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def tensor_json(name, value):
    kind = "object" if value.dtype.kind in "OU" else value.dtype.name
    data = [shown(float(str(v)) if value.dtype.kind == "f" else v) for v in value.ravel().tolist()]
    return {"name": name, "shape": list(value.shape), "datatype": TYPES[kind][0], "data": data}


def case(label, op, inputs, constants=(), outputs=1, tolerance=1e-6, domain="", opset=17, ml=3, batch=False, **attributes):
    """One node. `inputs` are fed, `constants` are initializers behind them (None leaves one out)."""
    if op.startswith("TreeEnsemble") and attributes.get("post_transform", "NONE") == "NONE":
        tolerance = 0.0  # only comparisons and sums in one order: bit for bit
    names = [f"x{i}" for i in range(len(inputs))]
    constant_names = ["" if c is None else f"c{i}" for i, c in enumerate(constants)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names + constant_names, results, domain=domain, **attributes)

    def port(name, value):
        shape = list(value.shape)
        if batch:
            shape[0] = "N"
        kind = "object" if value.dtype.kind in "OU" else value.dtype.name
        return helper.make_tensor_value_info(name, TYPES[kind][1], shape)

    graph = helper.make_graph(
        [node],
        label,
        [port(n, v) for n, v in zip(names, inputs)],
        [onnx_output(name) for name in results],
        [numpy_helper.from_array(c, n) for n, c in zip(constant_names, constants) if c is not None],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(ML, ml)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    encoded = model.SerializeToString(deterministic=True)
    session = ort.InferenceSession(encoded, providers=["CPUExecutionProvider"])
    got = session.run(results, dict(zip(names, inputs)))
    CASES.append(
        {
            "label": label,
            "model": encoded.hex(),
            "tolerance": tolerance,
            "inputs": [tensor_json(n, v) for n, v in zip(names, inputs)],
            "outputs": [tensor_json(n, np.asarray(v)) for n, v in zip(results, got)],
        }
    )


def onnx_output(name):
    return helper.make_empty_tensor_value_info(name)


def elementwise():
    special = np.array([[-np.inf, np.inf, np.nan, -0.0, 1e-40, -3.5, 88.0, -104.0]], np.float32)
    for op in ["Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Neg", "Abs", "LeakyRelu"]:
        case(op, op, [normal(3, 5) * 3], batch=True)
        case(f"{op} of special values", op, [special])
    case("Sqrt", "Sqrt", [np.abs(normal(3, 5))])
    case("Log", "Log", [np.array([0.0, 1.0, -1.0, np.inf, 1e-40, 3.5], np.float32)])
    case("Clip", "Clip", [normal(4, 4)], [np.float32(-0.5), np.float32(0.25)])
    case("Clip above", "Clip", [normal(4, 4)], [None, np.float32(0.25)])
    case("Clip of opset 10", "Clip", [normal(4, 4)], opset=10, min=-0.1, max=0.1)
    for op in ["Add", "Sub", "Mul", "Div"]:
        case(f"{op} broadcast", op, [normal(2, 3, 4), normal(3, 1)])
        case(f"{op} of integers", op, [np.array([7, -7, 9], np.int64), np.array([2, 2, -4], np.int64)])
    case("Add of a bias", "Add", [normal(2, 3, 2, 2)], [normal(3, 1, 1)], batch=True)
    case("Min of three", "Min", [normal(3, 2), normal(2), normal(1, 2)])
    case("Max of three", "Max", [normal(3, 2), normal(2), normal(1, 2)])


def matrices():
    case("Gemm", "Gemm", [normal(3, 7)], [normal(7, 5), normal(5)], batch=True)
    case("Gemm turned", "Gemm", [normal(7, 3)], [normal(5, 7), normal(3, 1)], transA=1, transB=1, alpha=0.5, beta=2.0)
    case("MatMul", "MatMul", [normal(4, 9)], [normal(9, 17)], batch=True)
    case("MatMul of stacks", "MatMul", [normal(2, 1, 3, 4), normal(5, 4, 2)])
    case("MatMul of vectors", "MatMul", [normal(6), normal(6)])
    case("MatMul of a vector", "MatMul", [normal(6), normal(2, 6, 3)])
    a = RNG.integers(0, 255, (3, 6)).astype(np.uint8)
    b = RNG.integers(-128, 127, (6, 4)).astype(np.int8)
    case("MatMulInteger", "MatMulInteger", [a], [b, np.uint8(12), np.int8(-3)])


def images():
    x = normal(2, 4, 7, 6)
    case("Conv", "Conv", [x], [normal(6, 4, 3, 3), normal(6)], batch=True, tolerance=5e-6)
    case("Conv padded", "Conv", [x], [normal(6, 4, 3, 2)], pads=[1, 0, 2, 1], strides=[2, 1], tolerance=5e-6)
    case("Conv dilated", "Conv", [x], [normal(3, 4, 2, 2)], dilations=[2, 3], tolerance=5e-6)
    case("Conv in groups", "Conv", [x], [normal(4, 2, 3, 3)], group=2, tolerance=5e-6)
    case("Conv by depth", "Conv", [x], [normal(4, 1, 3, 3)], group=4, tolerance=5e-6)
    case("Conv same upper", "Conv", [x], [normal(2, 4, 4, 3)], auto_pad="SAME_UPPER", strides=[2, 2], tolerance=5e-6)
    case("Conv same lower", "Conv", [x], [normal(2, 4, 4, 3)], auto_pad="SAME_LOWER", tolerance=5e-6)
    case("MaxPool", "MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2], batch=True)
    case("MaxPool padded", "MaxPool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    case("MaxPool ceil", "MaxPool", [x], kernel_shape=[3, 2], strides=[3, 3], ceil_mode=1)
    case("MaxPool dilated", "MaxPool", [x], kernel_shape=[2, 2], dilations=[2, 2])
    case("AveragePool", "AveragePool", [x], kernel_shape=[2, 3])
    case("AveragePool padded", "AveragePool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    case("AveragePool counting padding", "AveragePool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    case("AveragePool ceil", "AveragePool", [x], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    case("GlobalAveragePool", "GlobalAveragePool", [x], batch=True)
    norm = [normal(4), normal(4), normal(4), np.abs(normal(4))]
    case("BatchNormalization", "BatchNormalization", [x], norm, epsilon=1e-3, batch=True)


def shapes():
    x = normal(2, 3, 4)
    case("Flatten", "Flatten", [x], batch=True)
    case("Flatten at 2", "Flatten", [x], axis=2)
    case("Flatten at the end", "Flatten", [x], axis=3)
    case("Reshape", "Reshape", [x], [np.array([0, -1], np.int64)], batch=True)
    case("Reshape with batch as rest", "Reshape", [x], [np.array([-1, 12], np.int64)], batch=True)
    case("Reshape fixed", "Reshape", [x], [np.array([4, 0, -1], np.int64)])
    case("Transpose", "Transpose", [x])
    case("Transpose in a batch", "Transpose", [x], perm=[0, 2, 1], batch=True)
    case("Concat", "Concat", [x, normal(2, 5, 4)], axis=1, batch=True)
    case("Concat from the end", "Concat", [x, normal(2, 3, 1)], axis=-1)
    case("Squeeze", "Squeeze", [normal(2, 1, 3, 1)], [np.array([1, -1], np.int64)], batch=True)
    case("Squeeze all", "Squeeze", [normal(2, 1, 3, 1)])
    case("Unsqueeze", "Unsqueeze", [x], [np.array([1, -1], np.int64)], batch=True)
    case("Unsqueeze of opset 12", "Unsqueeze", [x], opset=12, axes=[0, 3])


def casts():
    values = np.array([[-1.5, 0.0, 2.5, 100.9]], np.float32)
    for to in ["DOUBLE", "INT64", "INT32", "INT8", "BOOL"]:
        case(f"Cast to {to}", "Cast", [values], to=getattr(TensorProto, to))
    case("Cast from integers", "Cast", [np.array([2**24 + 1, -5, 2**40 + 1], np.int64)], to=TensorProto.FLOAT)
    case("Cast to narrow integers", "Cast", [np.array([300, -5, 2**40 + 1], np.int64)], to=TensorProto.INT32)
    case("Cast from truth", "Cast", [np.array([True, False])], to=TensorProto.FLOAT)


def reductions():
    x = normal(2, 3, 4)
    case("ReduceMean", "ReduceMean", [x], axes=[1, -1], keepdims=0, batch=True)
    case("ReduceMean of all", "ReduceMean", [x])
    case("ReduceMean of opset 18", "ReduceMean", [x], [np.array([2], np.int64)], opset=18)
    case("ReduceSum", "ReduceSum", [x], [np.array([-1], np.int64)], batch=True)
    case("ReduceSum of nothing", "ReduceSum", [x], noop_with_empty_axes=1)
    case("ArgMax", "ArgMax", [np.array([[1, 3, 3], [5, 2, 5]], np.float32)], axis=1)
    case("ArgMax last", "ArgMax", [np.array([[1, 3, 3], [5, 2, 5]], np.float32)], axis=-1, select_last_index=1, keepdims=0)
    case("Softmax", "Softmax", [normal(3, 6) * 5], batch=True)
    case("Softmax within", "Softmax", [x], axis=1)
    case("Softmax of opset 12", "Softmax", [x], opset=12, axis=1, batch=True)
    case("LogSoftmax", "LogSoftmax", [normal(3, 6) * 5], batch=True, tolerance=2e-6)


def quantised():
    x = np.array([[-3.0, -0.5, 0.25, 0.75, 1.25, 400.0]], np.float32)
    case("QuantizeLinear", "QuantizeLinear", [x], [np.float32(0.5), np.uint8(3)])
    case("QuantizeLinear signed", "QuantizeLinear", [x], [np.float32(0.5), np.int8(-3)])
    case("QuantizeLinear per axis", "QuantizeLinear", [normal(2, 3, 4)], [np.array([0.1, 0.2, 0.3], np.float32), np.array([1, 2, 3], np.uint8)], axis=1)
    q = RNG.integers(-128, 127, (2, 3, 4)).astype(np.int8)
    case("DequantizeLinear", "DequantizeLinear", [q], [np.array([0.1, 0.2, 0.3], np.float32), np.array([1, 2, 3], np.int8)], axis=1)


def linear_models():
    x = normal(4, 3)
    case("Scaler", "Scaler", [x], domain=ML, offset=[1.0, 2.0, 3.0], scale=[0.5, 2.0, 1.5], batch=True)
    case("Scaler of integers", "Scaler", [np.array([[1, 2], [3, 4]], np.int64)], domain=ML, offset=[1.0], scale=[0.5])
    for norm in ["MAX", "L1", "L2"]:
        case(f"Normalizer {norm}", "Normalizer", [np.vstack([x, np.zeros((1, 3), np.float32)])], domain=ML, norm=norm)
    case("LinearRegressor", "LinearRegressor", [x], domain=ML, coefficients=[0.1, 0.2, 0.3, -1.0, 0.5, 2.0], intercepts=[1.0, -1.0], targets=2)
    weights = normal(9).tolist()
    for post in ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]:
        case(f"LinearClassifier {post}", "LinearClassifier", [x], domain=ML, outputs=2, coefficients=weights, intercepts=[0.1, 0.2, -0.3], classlabels_ints=[5, 6, 7], post_transform=post)
    for post in ["NONE", "LOGISTIC", "SOFTMAX"]:
        case(f"LinearClassifier of one target {post}", "LinearClassifier", [x], domain=ML, outputs=2, coefficients=weights[:3], intercepts=[0.1], classlabels_ints=[0, 1], post_transform=post)
    case("LinearClassifier with names", "LinearClassifier", [x], domain=ML, outputs=2, coefficients=weights[:6], intercepts=[0.1, 0.2], classlabels_strings=["no", "yes"], post_transform="LOGISTIC")
    case("ArrayFeatureExtractor", "ArrayFeatureExtractor", [x], [np.array([2, 0], np.int64)], domain=ML)
    case("LabelEncoder", "LabelEncoder", [np.array(["a", "b", "z"], object)], domain=ML, keys_strings=["a", "b"], values_int64s=[10, 20], default_int64=-7)
    case("LabelEncoder back", "LabelEncoder", [np.array([[1, 2, 9]], np.int64)], domain=ML, keys_int64s=[1, 2], values_strings=["one", "two"])


def forest(trees, modes, targets, weight, prefix, missing=None):
    """Full trees of depth 2 with random thresholds."""
    columns = {k: [] for k in ["treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids"]}
    leaves = {k: [] for k in ["treeids", "nodeids", "ids", "weights"]}
    for tree in range(trees):
        for node in range(7):
            branch = node < 3
            columns["treeids"].append(tree)
            columns["nodeids"].append(node)
            columns["modes"].append(modes[(tree + node) % len(modes)] if branch else "LEAF")
            columns["featureids"].append(int(RNG.integers(0, 4)) if branch else 0)
            columns["values"].append(float(RNG.integers(-2, 3)) / 2 if branch else 0.0)
            columns["truenodeids"].append(2 * node + 1 if branch else 0)
            columns["falsenodeids"].append(2 * node + 2 if branch else 0)
            if not branch:
                for target in targets(tree, node):
                    leaves["treeids"].append(tree)
                    leaves["nodeids"].append(node)
                    leaves["ids"].append(target)
                    leaves["weights"].append(float(np.float32(weight())))
    attributes = {f"nodes_{k}": v for k, v in columns.items()}
    if missing is not None:
        attributes["nodes_missing_value_tracks_true"] = [missing(i) for i in range(7 * trees)]
    return attributes | {f"{prefix}_{k}": v for k, v in leaves.items()}


def tree_models():
    x = np.concatenate([RNG.integers(-2, 3, (12, 4)).astype(np.float32) / 2, [[np.nan, 0, np.nan, 1]]]).astype(np.float32)
    leq = ["BRANCH_LEQ"]
    every = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
    one = lambda tree, node: [0]
    signed, positive = lambda: RNG.normal(), lambda: RNG.uniform(0, 0.2)

    def regressor(label, attributes, **more):
        case(f"TreeEnsembleRegressor {label}", "TreeEnsembleRegressor", [x], domain=ML, **attributes, **more)

    def classifier(label, attributes, labels=(0, 1), **more):
        case(f"TreeEnsembleClassifier {label}", "TreeEnsembleClassifier", [x], domain=ML, outputs=2, classlabels_int64s=list(labels), **attributes, **more)

    for aggregate in ["SUM", "AVERAGE", "MIN", "MAX"]:
        regressor(aggregate, forest(5, leq, one, signed, "target"), aggregate_function=aggregate, n_targets=1, base_values=[0.5])
        two = forest(5, leq, lambda tree, node: [node % 2, 2], signed, "target")
        regressor(f"{aggregate} of three targets", two, aggregate_function=aggregate, n_targets=3, base_values=[0.5, -1.0, 2.0])
    regressor("all modes", forest(12, every, one, signed, "target"), n_targets=1)
    regressor("all modes, missing", forest(12, every, one, signed, "target", lambda i: i % 2), n_targets=1)
    for post in ["LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]:
        regressor(f"one target {post}", forest(3, leq, one, signed, "target"), n_targets=1, post_transform=post)
    regressor("one target PROBIT", forest(3, leq, one, positive, "target"), n_targets=1, post_transform="PROBIT", tolerance=1e-5)

    for post in ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]:
        classifier(f"one score {post}", forest(4, leq, one, signed, "class"), post_transform=post)
        classifier(f"one score of class 1 {post}", forest(4, leq, lambda t, n: [1], signed, "class"), post_transform=post)
        classifier(f"one positive score {post}", forest(4, leq, one, positive, "class"), post_transform=post)
        classifier(f"one score and base {post}", forest(4, leq, one, signed, "class"), post_transform=post, base_values=[0.3])
        classifier(f"two scores {post}", forest(4, leq, lambda t, n: [0, 1], signed, "class"), post_transform=post)
        classifier(f"two scores and bases {post}", forest(4, leq, lambda t, n: [0, 1], signed, "class"), post_transform=post, base_values=[0.3, -0.3])
        classifier(f"one score and two bases {post}", forest(4, leq, one, signed, "class"), post_transform=post, base_values=[0.3, -0.3])
        some = forest(4, leq, lambda t, n: [t % 2] if n % 2 else [1], signed, "class")
        for base in [[], [0.3], [0.3, -0.3]]:
            classifier(f"some of two scores, {len(base)} bases {post}", some | ({"base_values": base} if base else {}), post_transform=post)
        classifier(f"two scores and one base {post}", forest(4, leq, lambda t, n: [0, 1], signed, "class"), post_transform=post, base_values=[0.3])
        classifier(f"score of class 1 and two bases {post}", forest(4, leq, lambda t, n: [1], signed, "class"), post_transform=post, base_values=[0.3, -0.3])
        three = forest(6, leq, lambda t, n: [t % 3], signed, "class")
        classifier(f"three classes {post}", three, labels=(3, 4, 9), post_transform=post)
        classifier(f"three classes and bases {post}", three, labels=(3, 4, 9), post_transform=post, base_values=[0.1, 0.2, 0.3])
    classifier("many votes", forest(6, leq, lambda t, n: [0, 1, 2], positive, "class"), labels=(3, 4, 9), post_transform="PROBIT", tolerance=1e-4)


def more_learning():
    x = normal(5, 3)
    x[0, 0], x[1, 2] = np.nan, 0.5
    case("Binarizer", "Binarizer", [x[1:]], domain=ML, threshold=0.5)
    case("Imputer", "Imputer", [x], domain=ML, imputed_value_floats=[1.0, 2.0, 3.0], replaced_value_float=float("nan"))
    case("Imputer of one value", "Imputer", [x], domain=ML, imputed_value_floats=[9.0], replaced_value_float=0.5)
    case("Imputer of integers", "Imputer", [np.array([[1, 2], [2, 3]], np.int64)], domain=ML, imputed_value_int64s=[7, 8], replaced_value_int64=2)
    case("OneHotEncoder", "OneHotEncoder", [np.array([[1, 2], [9, 3]], np.int64)], domain=ML, cats_int64s=[1, 2, 3])
    case("OneHotEncoder of floats", "OneHotEncoder", [np.array([[1.7, 2.0], [9.0, -3.5]], np.float32)], domain=ML, cats_int64s=[1, 2, -3])
    case("OneHotEncoder of texts", "OneHotEncoder", [np.array(["a", "b", "z"], object)], domain=ML, cats_strings=["a", "b"])
    case("FeatureVectorizer", "FeatureVectorizer", [normal(3, 2), normal(3, 4)], domain=ML, inputdimensions=[2, 4])
    case("FeatureVectorizer of integers", "FeatureVectorizer", [np.array([[1, 2], [3, 4]], np.int64)], domain=ML, inputdimensions=[2])
    case("FeatureVectorizer wider and narrower", "FeatureVectorizer", [normal(3, 2), normal(3, 4)], domain=ML, inputdimensions=[3, 2])
    cats = {"cats_int64s": [1, 2, 2], "cats_strings": ["a", "b", "c"]}
    case("CategoryMapper of texts", "CategoryMapper", [np.array(["a", "c", "z"], object)], domain=ML, default_int64=-5, **cats)
    case("CategoryMapper of integers", "CategoryMapper", [np.array([[1, 2, 3]], np.int64)], domain=ML, default_string="none", **cats)
    case("LabelEncoder of opset 1", "LabelEncoder", [np.array(["b", "z"], object)], domain=ML, ml=1, classes_strings=["a", "b"], default_int64=-3)
    case("LabelEncoder with a key twice", "LabelEncoder", [np.array([1, 2], np.int64)], domain=ML, keys_int64s=[1, 1], values_int64s=[10, 20])
    case("LabelEncoder of opset 4 with a key twice", "LabelEncoder", [np.array([1, 2], np.int64)], domain=ML, ml=4, keys_int64s=[1, 1], values_int64s=[10, 20])
    case("LabelEncoder of floats", "LabelEncoder", [np.array([1.5, np.nan, -0.0], np.float32)], domain=ML, ml=4, keys_floats=[1.5, float("nan"), 0.0], values_floats=[1.0, 2.0, 3.0])
    tensor = lambda values, name: numpy_helper.from_array(np.array(values), name)
    case("LabelEncoder of doubles", "LabelEncoder", [np.array([1.5, 2.5])], domain=ML, ml=4, keys_tensor=tensor([1.5, 0.1], "k"), values_tensor=tensor([0.1, 7.0], "v"), default_tensor=tensor([-1.0], "d"))
    case("LabelEncoder to small integers", "LabelEncoder", [np.array(["a", "q"], object)], domain=ML, ml=4, keys_strings=["a"], values_tensor=tensor(np.array([3], np.int16), "v"), default_tensor=tensor(np.array([-4], np.int16), "d"))


def machines():
    from sklearn.svm import SVC, SVR, NuSVC, OneClassSVM
    import skl2onnx

    x = normal(60, 3)
    for kernel in ["linear", "poly", "rbf", "sigmoid"]:
        svms = [(SVR(kernel=kernel).fit(x, x[:, 0] * x[:, 1]), "SVR"), (OneClassSVM(kernel=kernel).fit(x), "one class")]
        for classes in [2, 3, 4]:
            y = np.argsort(np.argsort(x[:, 0] + x[:, 1] ** 2)) * classes // 60
            svms.append((SVC(kernel=kernel).fit(x, y), f"{classes} classes"))
            svms.append((SVC(kernel=kernel, probability=True, random_state=0).fit(x, y), f"{classes} classes, probabilities"))
        for svm, name in svms:
            onx = skl2onnx.to_onnx(svm, x[:1], options={"zipmap": False} if "classes" in name else None)
            node = next(n for n in onx.graph.node if n.op_type.startswith("SVM"))
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
            case(f"{node.op_type} {kernel} {name}", node.op_type, [normal(7, 3)], domain=ML, outputs=len(node.output), tolerance=2e-5, **attributes)
    for post in ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]:
        y = (x[:, 0] > 0).astype(int)
        for classes in [2, 3]:
            vectors = normal(2 * classes, 3)
            shared = dict(kernel_type="RBF", kernel_params=[0.5, 0.0, 3.0], post_transform=post, classlabels_ints=list(range(classes)))
            coefficients = normal((classes - 1) * 2 * classes)
            for sign, values in [("signed", coefficients), ("positive", np.abs(coefficients))]:
                case(f"SVMClassifier {post} {classes} {sign}", "SVMClassifier", [normal(7, 3)], domain=ML, outputs=2, tolerance=2e-6, support_vectors=vectors.ravel().tolist(), coefficients=values.tolist(), vectors_per_class=[2] * classes, rho=normal(classes * (classes - 1) // 2).tolist(), **shared)
            for sign, values in [("signed", normal(classes * 3)), ("positive", np.abs(normal(classes * 3)))]:
                case(f"SVMClassifier linear {post} {classes} {sign}", "SVMClassifier", [normal(7, 3)], domain=ML, outputs=2, tolerance=2e-6, coefficients=values.tolist(), rho=[0.25], **(shared | {"kernel_type": "LINEAR"}))


def wide_trees():
    x = np.concatenate([RNG.normal(size=(12, 4)), [[np.nan, 0, np.nan, 1]]])
    leq, one, signed = ["BRANCH_LEQ"], lambda tree, node: [0], lambda: RNG.normal()

    def wide(attributes, names):
        for name in names:
            values = np.array(attributes.pop(name)) + 1e-9
            attributes[f"{name}_as_tensor"] = numpy_helper.from_array(values, name)
        return attributes

    for aggregate in ["SUM", "AVERAGE", "MIN", "MAX"]:
        case(f"TreeEnsembleRegressor {aggregate} of doubles", "TreeEnsembleRegressor", [x], domain=ML, **forest(9, leq, one, signed, "target"), n_targets=1, aggregate_function=aggregate, base_values=[0.5])
        attributes = wide(forest(9, leq, one, signed, "target"), ["nodes_values", "target_weights"])
        case(f"TreeEnsembleRegressor {aggregate} of wide tables", "TreeEnsembleRegressor", [x], domain=ML, **attributes, n_targets=1, aggregate_function=aggregate)
    for post in ["NONE", "LOGISTIC", "SOFTMAX"]:
        for labels, targets in [([0, 1], one), ([0, 1, 2], lambda t, n: [t % 3])]:
            case(f"TreeEnsembleClassifier of doubles {len(labels)} {post}", "TreeEnsembleClassifier", [x], domain=ML, outputs=2, classlabels_int64s=labels, post_transform=post, **forest(9, leq, targets, signed, "class"))
    whole = RNG.integers(-2, 3, (9, 4))
    for kind in [np.int64, np.int32]:
        case(f"TreeEnsembleClassifier of {kind.__name__}", "TreeEnsembleClassifier", [whole.astype(kind)], domain=ML, outputs=2, classlabels_int64s=[0, 1], **forest(9, leq, one, signed, "class"))

    for kind in [np.float32, np.float64]:
        # ONNX Runtime takes 1 for LOGISTIC and 2 for SOFTMAX; the specification has them the other way round.
        for post in [0, 3] if kind is np.float32 else [0]:
            for aggregate in range(4):
                modes = np.array([0, 1, 2, 3, 4, 5, 6, 0, 1], np.uint8)
                tensor = lambda values, name: numpy_helper.from_array(np.array(values, kind), name)
                case(
                    f"TreeEnsemble {kind.__name__} {post} {aggregate}", "TreeEnsemble", [(RNG.integers(-4, 5, (20, 4)) / 2).astype(kind)],
                    domain=ML, ml=5, n_targets=2, aggregate_function=aggregate, post_transform=post, tree_roots=[0, 3, 6],
                    nodes_modes=numpy_helper.from_array(modes, "m"), nodes_featureids=[0, 1, 2, 3, 0, 1, 2, 3, 0],
                    nodes_splits=tensor(RNG.integers(-2, 3, 9) / 2, "s"),
                    nodes_truenodeids=[1, 0, 2, 4, 6, 7, 7, 9, 11], nodes_trueleafs=[0, 1, 1, 0, 1, 1, 0, 1, 1],
                    nodes_falsenodeids=[2, 1, 3, 5, 4, 5, 8, 8, 10], nodes_falseleafs=[0, 1, 1, 0, 1, 1, 0, 1, 1],
                    leaf_targetids=[0, 1, 0, 1, 1, 1, 0, 0, 1, 0, 0, 1], leaf_weights=tensor(RNG.normal(size=12), "w"),
                    membership_values=tensor([1.0, 3.0, 2.0, np.nan], "v"),
                    tolerance=0.0 if post == 0 else 1e-6,
                )


for make in [elementwise, matrices, images, shapes, casts, reductions, quantised, linear_models, tree_models, more_learning, machines, wide_trees]:
    make()
with open("cases.json", "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in CASES) + "\n]\n")
print(len(CASES), "cases, onnxruntime", ort.__version__)
