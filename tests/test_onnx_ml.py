"""Classical models and features (domain ai.onnx.ml). The reference is NumPy or `onnx.reference`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_nodes import model, real, refer, run

from tgc.frontends.onnx import load

ML = "ai.onnx.ml"
F = real(6, 4)
STUMP = {
    "nodes_treeids": [0, 0, 0, 1, 1, 1, 1, 1], "nodes_nodeids": [0, 1, 2, 0, 1, 2, 3, 4],
    "nodes_featureids": [1, 0, 0, 0, 2, 0, 0, 0], "nodes_values": [0.1, 0.0, 0.0, -0.2, 0.3, 0.0, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_GT", "BRANCH_LT", "LEAF", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 0, 1, 2, 0, 0, 0], "nodes_falsenodeids": [2, 0, 0, 4, 3, 0, 0, 0],
    "nodes_missing_value_tracks_true": [1, 0, 0, 0, 0, 0, 0, 0],
}  # fmt: skip
LEAVES = [(0, 1, 0, 0.5), (0, 2, 1, 0.25), (1, 2, 0, 1.5), (1, 3, 1, -1.0), (1, 4, 0, 2.0), (1, 4, 1, 0.125)]


def voting(kind: str, leaves: Sequence[tuple[int, int, int, float]]) -> dict[str, Any]:
    trees, nodes, ids, weights = zip(*leaves, strict=True)
    return {f"{kind}_treeids": trees, f"{kind}_nodeids": nodes, f"{kind}_ids": ids, f"{kind}_weights": weights}


CLASSICAL: dict[str, tuple[str, np.ndarray, int, dict[str, Any]]] = {
    "linear": ("LinearRegressor", F, 1, {"coefficients": real(8).tolist(), "intercepts": [1.0, 2.0], "targets": 2}),
    "scaler": ("Scaler", F, 1, {"offset": [0.5] * 4, "scale": [1.0, 2.0, 3.0, 4.0]}),
    "max": ("Normalizer", F, 1, {"norm": "MAX"}),
    "l1": ("Normalizer", F, 1, {"norm": "L1"}),
    "l2": ("Normalizer", F, 1, {"norm": "L2"}),
    "imputer": ("Imputer", np.where(F > 1, np.nan, F), 1, {
        "imputed_value_floats": [1.0, 2.0, 3.0, 4.0], "replaced_value_float": float("nan"),
    }),
    "one-hot": ("OneHotEncoder", np.array([[1, 5, 9], [9, 9, 2]]), 1, {"cats_int64s": [9, 1, 5]}),
    **{
        f"classes-{post}": ("LinearClassifier", F, 1, {
            "coefficients": real(12).tolist(), "intercepts": [0.5, 0.25, -1.0], "classlabels_ints": [3, 5, 9],
            "post_transform": post, "multi_class": 0,
        })
        for post in ("NONE", "SOFTMAX", "LOGISTIC")
    },
    "two-classes": ("LinearClassifier", F, 1, {
        "coefficients": real(4).tolist(), "intercepts": [0.1], "classlabels_ints": [0, 1], "post_transform": "LOGISTIC",
        "multi_class": 0,
    }),
    **{
        f"trees-{aggregate}": ("TreeEnsembleRegressor", F, 3, {
            **STUMP, **voting("target", LEAVES), "n_targets": 2, "aggregate_function": aggregate,
            "post_transform": "NONE",
        })
        for aggregate in ("SUM", "AVERAGE")
    },
    "tree-classes": ("TreeEnsembleClassifier", F, 3, {
        **STUMP, **voting("class", LEAVES), "classlabels_int64s": [4, 7], "post_transform": "SOFTMAX",
    }),
    "svr": ("SVMRegressor", F, 1, {
        "coefficients": [0.5, -1.0, 2.0], "support_vectors": real(12).tolist(), "n_supports": 3, "rho": [0.25],
        "kernel_type": "RBF", "kernel_params": [0.3, 0.0, 3.0], "post_transform": "NONE",
    }),
    "svr-poly": ("SVMRegressor", F, 1, {
        "coefficients": [0.5, -1.0, 2.0], "support_vectors": real(12).tolist(), "n_supports": 3, "rho": [0.25],
        "kernel_type": "POLY", "kernel_params": [0.3, 0.5, 3.0], "post_transform": "NONE", "one_class": 1,
    }),
    "svc": ("SVMClassifier", F, 1, {
        "coefficients": real(12).tolist(), "support_vectors": real(24).tolist(), "vectors_per_class": [2, 1, 3],
        "rho": [0.25, -0.5, 0.1], "kernel_type": "SIGMOID", "kernel_params": [0.3, 0.5, 3.0],
        "classlabels_ints": [2, 4, 6], "post_transform": "NONE",
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", CLASSICAL)
def test_classical_models(name: str) -> None:
    op, x, version, attrs = CLASSICAL[name]
    outputs = 2 if "Classifier" in op else 1
    got = run(op, [x], version, outputs=outputs, domain=ML, **attrs)
    want = refer(op, [x], version, outputs=outputs, domain=ML, **attrs)
    for y, w in zip(*((v if outputs == 2 else [v]) for v in (got, want)), strict=True):
        np.testing.assert_allclose(y, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weights", [[0.75, 0.25], [0.75, -0.5]])
def test_trees_that_vote_for_one_of_two_classes(weights: list[float]) -> None:
    """The other class has 1 - s where no weight is negative, else -s; missing values go where the node says."""
    x = np.array([[0, 0.0], [0, 0.2], [0, np.nan]], np.float32)
    stump = {key: column[:3] for key, column in STUMP.items()}
    votes = voting("class", [(0, 1, 1, weights[0]), (0, 2, 1, weights[1])])
    attrs = {**stump, **votes, "classlabels_strings": ["no", "yes"], "post_transform": "NONE"}
    label, scores = load(model("TreeEnsembleClassifier", [x], 3, outputs=2, domain=ML, **attrs))(x)
    yes = np.array([weights[0], weights[1], weights[0]], np.float32)
    np.testing.assert_allclose(scores, np.stack([1 - yes if min(weights) > 0 else -yes, yes], 1))
    assert label.tolist() == ["yes", "no", "yes"]


def test_labels() -> None:
    floats = np.array([1.5, np.nan, 2.5, 0.0], np.float32)
    attrs = {"keys_floats": [float("nan"), 2.5, 2.5, 1.5], "values_int64s": [7, 8, 9, 10]}
    assert run("LabelEncoder", [floats], 2, domain=ML, **attrs).tolist() == [10, 7, 9, -1]
    attrs = {"keys_floats": [2.5, 1.5], "values_strings": ["big", "small"], "default_string": "?"}
    assert load(model("LabelEncoder", [floats], 2, domain=ML, **attrs))(floats).tolist() == ["small", "?", "big", "?"]
    texts = np.array(["b", "c", "a"], object)
    attrs = {"cats_int64s": [5, 6], "cats_strings": ["a", "b"], "default_int64": 0}
    assert load(model("CategoryMapper", [texts], 1, domain=ML, **attrs))(texts).tolist() == [6, 0, 5]
    places = np.array([1, 7])
    assert load(model("LabelEncoder", [places], 1, domain=ML, classes_strings=["x", "y"]))(places).tolist() == [
        "y", "_Unused",
    ]  # fmt: skip
    hot = load(model("OneHotEncoder", [texts], 1, domain=ML, cats_strings=["a", "b"]))(texts)
    assert hot.tolist() == [[0, 1], [0, 0], [1, 0]]


def test_maps() -> None:
    m = load(model("ZipMap", [F], 1, domain=ML, classlabels_strings=list("abcd")))
    assert m(F)[1] == dict(zip("abcd", F[1].tolist(), strict=True))

    def of_map(op: str, value: Mapping[Any, Any], **attrs: Any) -> Any:
        key = TensorProto.INT64 if isinstance(next(iter(value)), int) else TensorProto.STRING
        kind = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        graph = helper.make_graph(
            [helper.make_node(op, ["x"], ["y"], domain=ML, **attrs)], "graph",
            [helper.make_value_info("x", kind)], [helper.make_empty_tensor_value_info("y")],
        )  # fmt: skip
        return load(helper.make_model(graph, opset_imports=[helper.make_opsetid(ML, 1)]))(value).tolist()

    assert of_map("DictVectorizer", {"a": 4.0, "c": 8.0}, string_vocabulary=["a", "c", "b", "z"]) == [4, 8, 0, 0]
    assert of_map("CastMap", {3: 1.5, 1: 2.5}) == [[2.5, 1.5]]
    assert of_map("CastMap", {3: 1.5, 1: 2.5}, map_form="SPARSE", max_map=5) == [[0, 2.5, 0, 1.5, 0]]
