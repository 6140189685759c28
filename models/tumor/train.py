"""Train gradient-boosted trees on the Wisconsin breast tumour measurements; export them to ONNX.

Run from the `models` folder: `OMP_NUM_THREADS=1 python -m tumor.train`.
"""

from pathlib import Path

import numpy as np
from onnx import ModelProto, helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.model_selection import train_test_split

from heldout import save

SEED = 0


def export(classifier: GradientBoostingClassifier) -> ModelProto:
    """The trees as one TreeEnsembleClassifier, with a named batch axis.

    skl2onnx ends the graph with an Identity that only renames the
    probabilities, leaves the batch axis unnamed, and lists the opsets in an
    order that changes from run to run; all three are tidied here.
    """
    graph = convert_sklearn(
        classifier,
        name="tumor",
        initial_types=[("features", FloatTensorType([None, 30]))],
        options={"zipmap": False},
        target_opset={"": 17, "ai.onnx.ml": 3},
    ).graph
    trees, rename = graph.node
    trees.output[1] = rename.output[0]
    graph.node.remove(rename)
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, producer_name="nabla-models", ir_version=8, opset_imports=opsets)


def main() -> None:
    data = load_breast_cancer()
    features = data.data.astype(np.float32)
    fit_x, test_x, fit_y, test_y = train_test_split(
        features, data.target, test_size=0.3, random_state=SEED, stratify=data.target
    )
    classifier = GradientBoostingClassifier(
        n_estimators=200, max_depth=3, subsample=0.5, max_features="sqrt", random_state=SEED
    ).fit(fit_x, fit_y)
    predicted = save(Path(__file__).parent, export(classifier), test_x, test_y)
    right = int((predicted == test_y).sum())
    missed = int(((predicted == 1) & (test_y == 0)).sum())
    alarms = int(((predicted == 0) & (test_y == 1)).sum())
    print(f"tumor: {right} of {len(test_y)} held-out rows right, accuracy {right / len(test_y):.4f}")
    print(f"tumor: {missed} malignant called benign, {alarms} benign called malignant")


if __name__ == "__main__":
    main()
