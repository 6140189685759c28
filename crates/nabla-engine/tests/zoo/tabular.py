"""Models of rows: scikit-learn, XGBoost and LightGBM through their converters."""

import warnings

import lightgbm
import numpy as np
import onnxmltools
import pandas
import skl2onnx
import sklearn
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as ToolsFloat
from skl2onnx.common import _container as container
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from skl2onnx.sklapi import CastTransformer
from sklearn import (
    cluster,
    compose,
    decomposition,
    ensemble,
    feature_extraction,
    gaussian_process,
    impute,
    linear_model,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

FEATURES, ROWS = 6, 240
OPSETS = {"": 17, "ai.onnx.ml": 3}
TEXTS = """the cat sat on the mat
a dog ran after the cat
nothing to see here
The quick brown fox
fox and dog and cat
rain again, and more rain
sun after rain
no dog, no cat
brown mat, brown fox
see the sun rise""".splitlines()


def data():
    """Rows, a number, two classes and three classes, with some noise."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    value = rows @ rng.normal(size=FEATURES) + np.sin(3 * rows[:, 0]) + 0.1 * rng.normal(size=ROWS)
    classes = np.digitize(value, np.quantile(value, [0.35, 0.7]))
    return rows, value, (value > 0).astype(int), classes


X, Y, TWO, THREE = data()
HOLES = np.where(np.random.default_rng(1).random(X.shape) < 0.15, np.float32("nan"), X)
COUNTS = np.floor(np.abs(X) * 3).astype(np.float32)
NAMES = np.array(["red", "green", "blue"])[THREE]


def scaled(model):
    return pipeline.make_pipeline(preprocessing.StandardScaler(), model)


def regressors():
    forest = {"n_estimators": 8, "max_depth": 4, "random_state": 0}
    yield "linear", linear_model.LinearRegression()
    yield "ridge", scaled(linear_model.Ridge())
    yield "lasso", linear_model.Lasso(alpha=0.05)
    yield "huber", linear_model.HuberRegressor()
    yield "poisson", linear_model.PoissonRegressor(), np.exp(np.clip(Y / 3, -2, 2))
    yield "svr", scaled(svm.SVR(C=2.0))
    yield "svr_polynomial", svm.SVR(kernel="poly", degree=2)
    yield "neighbours", neighbors.KNeighborsRegressor(3, weights="distance"), Y, slice(0, 60)
    yield "tree", tree.DecisionTreeRegressor(max_depth=5, random_state=0)
    yield "forest", ensemble.RandomForestRegressor(**forest)
    yield "extra_trees", ensemble.ExtraTreesRegressor(**forest)
    yield "boosting", ensemble.GradientBoostingRegressor(n_estimators=15, random_state=0)
    yield "histogram_boosting", ensemble.HistGradientBoostingRegressor(max_iter=10, max_leaf_nodes=8)
    yield "ada", ensemble.AdaBoostRegressor(n_estimators=4, random_state=0)
    yield "perceptron", neural_network.MLPRegressor(hidden_layer_sizes=(12,), max_iter=60, random_state=0)
    yield "two_targets", linear_model.LinearRegression(), np.stack([Y, -2 * Y + 1], axis=1)
    yield "forest_two_targets", ensemble.RandomForestRegressor(**forest), np.stack([Y, X[:, 0]], axis=1)
    yield "gaussian_process", gaussian_process.GaussianProcessRegressor(alpha=0.1), Y, slice(0, 40)
    voters = [("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=3, random_state=0))]
    yield "voting", ensemble.VotingRegressor(voters)


def classifiers():
    forest = {"n_estimators": 8, "max_depth": 4, "random_state": 0}
    yield "logistic", scaled(linear_model.LogisticRegression()), TWO
    yield (
        "logistic_three",
        pipeline.make_pipeline(preprocessing.MinMaxScaler(), linear_model.LogisticRegression()),
        THREE,
    )
    yield "logistic_names", linear_model.LogisticRegression(), NAMES
    yield "stochastic", linear_model.SGDClassifier(loss="modified_huber", random_state=0), THREE
    yield "svc", scaled(svm.SVC(probability=True, random_state=0)), TWO
    yield "svc_three", svm.SVC(kernel="rbf", C=2.0, probability=True, random_state=0), THREE
    yield "linear_svc", svm.LinearSVC(random_state=0), THREE
    yield "neighbours", neighbors.KNeighborsClassifier(5), THREE, slice(0, 60)
    yield "bayes", naive_bayes.GaussianNB(), THREE
    yield "bernoulli_bayes", naive_bayes.BernoulliNB(), THREE
    yield (
        "perceptron",
        scaled(neural_network.MLPClassifier(hidden_layer_sizes=(12, 8), max_iter=60, random_state=0)),
        THREE,
    )
    yield "tree", tree.DecisionTreeClassifier(max_depth=5, random_state=0), THREE
    yield "forest", ensemble.RandomForestClassifier(**forest), THREE
    yield "forest_two", ensemble.RandomForestClassifier(**forest), TWO
    yield "extra_trees", ensemble.ExtraTreesClassifier(**forest), NAMES
    yield "boosting", ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0), TWO
    yield "boosting_three", ensemble.GradientBoostingClassifier(n_estimators=6, random_state=0), THREE
    yield "histogram_boosting", ensemble.HistGradientBoostingClassifier(max_iter=6, max_leaf_nodes=8), THREE
    yield "ada", ensemble.AdaBoostClassifier(n_estimators=5, random_state=0), THREE
    yield "bagging", ensemble.BaggingClassifier(n_estimators=3, random_state=0), TWO, slice(0, 80)
    voters = [("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())]
    yield "voting_soft", ensemble.VotingClassifier(voters, voting="soft", flatten_transform=False), THREE
    stack = ensemble.StackingClassifier(voters, final_estimator=linear_model.LogisticRegression())
    yield "stacking", stack, THREE


def transformers():
    """`(name, model, rows to learn from)`."""
    yield "standard_scaler", preprocessing.StandardScaler(), X
    yield "robust_scaler", preprocessing.RobustScaler(), X
    yield "max_abs_scaler", preprocessing.MaxAbsScaler(), X
    yield "imputer", pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.MinMaxScaler()), HOLES
    yield "normalizer_l2", preprocessing.Normalizer("l2"), X
    yield "normalizer_max", preprocessing.Normalizer("max"), np.abs(X)
    yield "polynomial", preprocessing.PolynomialFeatures(2), X
    yield "power", preprocessing.PowerTransformer(), X
    yield "binarizer", preprocessing.Binarizer(threshold=0.2), X
    yield (
        "bins",
        preprocessing.KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf"),
        X,
    )
    yield "pca", decomposition.PCA(3, random_state=0), X
    yield "svd", decomposition.TruncatedSVD(3, random_state=0), X
    yield "kmeans", cluster.KMeans(4, n_init=2, random_state=0), X
    yield "isolation_forest", ensemble.IsolationForest(n_estimators=5, max_samples=32, random_state=0), X
    yield "one_class_svm", svm.OneClassSVM(nu=0.2), X[:80]
    yield "local_outliers", neighbors.LocalOutlierFactor(5, novelty=True), X[:60]


def rows_of(table):
    return [{"X": table[:3]}, {"X": table[100:116]}]


def python_numbers(make):
    """skl2onnx hands numpy's numbers on, and onnx no longer takes them: histogram boosting needs this."""

    def number(value):
        value = value.item() if isinstance(value, np.generic) else value
        return int(value) if isinstance(value, bool) else value

    def made(*names, **attributes):
        listed = {
            k: [number(v) for v in value] if isinstance(value, list) else value
            for k, value in attributes.items()
        }
        return make(*names, **listed)

    return made


def convert(model, types, options):
    """`options` go to the model itself, or to the last step of a pipeline; LinearSVC has no table to map."""
    last = model.steps[-1][1] if isinstance(model, pipeline.Pipeline) else model
    options = {id(last): options} if options and not isinstance(last, svm.LinearSVC) else None
    return skl2onnx.convert_sklearn(model, "model", types, target_opset=OPSETS, options=options)


def singles():
    """`(name, model, rows and target to learn from, kind of input, sets, options)`."""
    plain = {"zipmap": False}
    for name, model, *rest in regressors():
        target, part = (rest + [Y, slice(None)][len(rest) :])[:2]
        yield f"regressor_{name}", model, (X[part], target[part]), FloatTensorType, rows_of(X), {}
    for name, model, target, *part in classifiers():
        part = part[0] if part else slice(None)
        yield f"classifier_{name}", model, (X[part], target[part]), FloatTensorType, rows_of(X), plain
    for name, model, table in transformers():
        sets = rows_of(HOLES) if name == "imputer" else rows_of(X)
        yield f"transform_{name}", model, (table, None), FloatTensorType, sets, {}
    rows = X.astype(np.float64) + 1e-9
    for name, model, target in [
        ("regressor_linear", linear_model.LinearRegression(), Y),
        ("classifier_logistic", scaled(linear_model.LogisticRegression()), THREE),
        ("transform_pca", decomposition.PCA(3, random_state=0), None),
        ("regressor_svr", pipeline.make_pipeline(CastTransformer(), svm.SVR()), Y),
        (
            "regressor_tree",
            pipeline.make_pipeline(
                CastTransformer(), tree.DecisionTreeRegressor(max_depth=4, random_state=0)
            ),
            Y,
        ),
        ("classifier_bayes", naive_bayes.GaussianNB(), THREE),
    ]:
        options = plain if name.startswith("classifier") else {}
        yield f"{name}_double", model, (rows, target), DoubleTensorType, rows_of(rows), options
    forest = {"n_estimators": 5, "max_depth": 3, "random_state": 0}
    for name, model, target, zipmap in [
        ("logistic_zipmap", linear_model.LogisticRegression(), THREE, True),
        ("forest_zipmap_names", ensemble.RandomForestClassifier(**forest), NAMES, True),
        ("forest_columns", ensemble.RandomForestClassifier(**forest), TWO, "columns"),
    ]:
        yield f"classifier_{name}", model, (X, target), FloatTensorType, rows_of(X), {"zipmap": zipmap}


def column(values):
    return np.asarray(values).reshape(-1, 1)


def mixed():
    """Columns of text and numbers, and texts. `(name, model, types, sets)`."""
    towns = np.array(["Paris", "Rome", "Oslo", "Bonn"], dtype=object)[(np.abs(X[:, 0]) * 7).astype(int) % 4]
    sizes = np.array(["S", "M", "L"], dtype=object)[(np.abs(X[:, 1]) * 5).astype(int) % 3]
    both = np.stack([towns, sizes], axis=1)
    unknown = both[100:106].copy()
    unknown[0, 0] = "Atlantis"
    texts = [("X", StringTensorType([None, 2]))]
    encoder = preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    yield "transform_one_hot", encoder.fit(both), texts, [{"X": both[:3]}, {"X": unknown}]
    encoder = preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    yield "transform_ordinal", encoder.fit(both), texts, [{"X": both[:3]}, {"X": unknown}]
    whole = (np.abs(X[:, :2]) * 4).astype(np.int64)
    encoder = preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(whole)
    yield "transform_one_hot_integers", encoder, [("X", Int64TensorType([None, 2]))], rows_of(whole)

    frame = pandas.DataFrame({"age": X[:, 0], "income": X[:, 1], "town": towns, "size": sizes})
    columns = compose.ColumnTransformer(
        [
            (
                "numbers",
                pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler()),
                ["age", "income"],
            ),
            ("names", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["town", "size"]),
        ]
    )
    types = [(n, FloatTensorType([None, 1])) for n in ("age", "income")]
    types += [(n, StringTensorType([None, 1])) for n in ("town", "size")]
    sets = [{n: column(frame[n][part].to_numpy()) for n in frame} for part in (slice(0, 3), slice(100, 116))]
    model = pipeline.make_pipeline(columns, linear_model.LogisticRegression()).fit(frame, THREE)
    yield "classifier_columns", model, types, sets
    model = pipeline.make_pipeline(
        columns, ensemble.RandomForestRegressor(5, max_depth=4, random_state=0)
    ).fit(frame, Y)
    yield "regressor_columns", model, types, sets

    line = [("X", StringTensorType([None, 1]))]
    sets = [
        {"X": column(np.array(TEXTS[:2], dtype=object))},
        {"X": column(np.array(TEXTS[4:], dtype=object))},
    ]
    text = feature_extraction.text
    for name, model in [
        ("count", text.CountVectorizer()),
        ("tfidf", text.TfidfVectorizer(ngram_range=(1, 2))),
        ("tfidf_stop_words", text.TfidfVectorizer(stop_words=["the", "and", "a"], sublinear_tf=True)),
    ]:
        yield f"text_{name}", model.fit(TEXTS), line, sets
    spam = pipeline.make_pipeline(text.TfidfVectorizer(), linear_model.LogisticRegression())
    yield "text_classifier", spam.fit(TEXTS, [0, 1] * 5), line, sets


def boosted():
    """`(name, model, converter)`; rows have holes."""
    options = {"n_estimators": 12, "max_depth": 3, "n_jobs": 1, "random_state": 0}
    tools = onnxmltools.convert_xgboost
    yield "xgboost_regressor", xgboost.XGBRegressor(**options).fit(HOLES, Y), tools
    yield "xgboost_classifier", xgboost.XGBClassifier(**options).fit(HOLES, TWO), tools
    yield "xgboost_three", xgboost.XGBClassifier(**options).fit(HOLES, THREE), tools
    yield (
        "xgboost_poisson",
        xgboost.XGBRegressor(objective="count:poisson", **options).fit(HOLES, COUNTS[:, 0]),
        tools,
    )
    yield "xgboost_forest", xgboost.XGBRFRegressor(**options).fit(HOLES, Y), tools
    options = {
        "n_estimators": 12,
        "num_leaves": 7,
        "n_jobs": 1,
        "random_state": 0,
        "verbose": -1,
        "deterministic": True,
    }
    tools = onnxmltools.convert_lightgbm
    yield "lightgbm_regressor", lightgbm.LGBMRegressor(**options).fit(HOLES, Y), tools
    yield "lightgbm_classifier", lightgbm.LGBMClassifier(**options).fit(HOLES, TWO), tools
    yield "lightgbm_three", lightgbm.LGBMClassifier(**options).fit(HOLES, THREE), tools
    yield (
        "lightgbm_forest",
        lightgbm.LGBMRegressor(boosting_type="rf", bagging_freq=1, bagging_fraction=0.7, **options).fit(
            HOLES, Y
        ),
        tools,
    )


def attempt(make):
    try:
        return make()
    except Exception as error:  # a converter that fails is part of the report
        return error


def models():
    """Yields `(name, source, model or the converter's error, input sets as arrays)`."""
    warnings.filterwarnings("ignore")
    container.make_node = python_numbers(container.make_node)
    source = f"scikit-learn {sklearn.__version__}, skl2onnx {skl2onnx.__version__}"
    for name, model, known, kind, sets, options in singles():
        types = [("X", kind([None, FEATURES]))]
        yield name, source, attempt(lambda: convert(model.fit(*known), types, options)), sets
    for name, model, types, sets in mixed():
        options = {"zipmap": False} if hasattr(model, "predict_proba") else {}
        yield name, source, attempt(lambda: convert(model, types, options)), sets
    types = [("X", ToolsFloat([None, FEATURES]))]
    for name, model, tools in boosted():
        library = name.split("_")[0]
        version = (xgboost if library == "xgboost" else lightgbm).__version__
        options = {} if library == "xgboost" or "regressor" in name or "forest" in name else {"zipmap": False}
        made = attempt(lambda: tools(model, initial_types=types, target_opset=15, **options))
        yield name, f"{library} {version}, onnxmltools {onnxmltools.__version__}", made, rows_of(HOLES)
