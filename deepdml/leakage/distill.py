"""distill: embeddings or texts with less of the treatment in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.labels import in_order, labels_of
from deepdml.errors import DataError, OptionError, refuse_no_whole, unknown_option
from deepdml.leakage.concept import Concept, Float, folds_of, read_matrix, read_treatment, strength_of
from deepdml.leakage.erasure import inlp, leace, salience
from deepdml.leakage.passages import Split, flagged, read_passages, similarity

Method = Literal["leace", "inlp", "salient", "similarity", "classifier"]

OF_EMBEDDINGS = ("leace", "inlp", "salient")
OF_TEXTS = ("similarity", "classifier")


def distill(
    data: pd.DataFrame | pd.Series,
    treatment: Any,
    method: Method,
    strength: float,
    *,
    given: Any = None,
    learn_on: Any = None,
    cross_fit: int = 0,
    rounds: int = 8,
    encoder: Any = None,
    about: str | Sequence[str] | None = None,
    split: Split | None = None,
    seed: int = 0,
) -> pd.DataFrame | pd.Series:
    """Remove what reveals the treatment, with a strength from 0 (nothing) to 1.

    Parameters
    ----------
    data : DataFrame, (n, p), or Series of n str
        Embeddings for the first three methods, texts for the other two; texts are to be embedded again.
    treatment : (n,) array or Series
        Up to ten distinct values are levels.
    method : {"leace", "inlp", "salient", "similarity", "classifier"}
        "leace": no linear predictor is left at strength 1; at s the variance of the treatment that a linear predictor
        explains is 1 - s of what it was. "inlp": s times `rounds` rounds of classifying the treatment and projecting
        the classifier out, the plainest sign first. "salient": the share s of the columns that say most to a linear
        classifier is dropped. "similarity": the share s of all passages that are nearest to `about` is cut.
        "classifier": the share s of all passages that a cross-fitted classifier of the treatment flags most is cut.
        Every text keeps one passage.
    strength : float
        From 0 to 1.
    given : (n, q) array or frame, optional
        Confounders that are known beside the text, for the methods of embeddings: what they explain of the treatment
        (linearly) is left in, so that the erasure takes leakage and not their confounding.
    learn_on : (n,) array of bool, optional
        Rows on which an erasure is fitted, to estimate on the others; by default all.
    cross_fit : int
        With "leace" and "inlp", the folds in which a row's erasure is fitted without that row; 0 fits one.
    rounds : int
        Of "inlp" at strength 1.
    encoder : str or callable
        Of passages: a model of `deepdml.embed.text`, or a function from a list of m texts to an (m, q) array.
    about : str or sequence of str
        What "similarity" compares with: descriptions of the treatment.
    split : callable, optional
        From a text to its passages; by default sentences and lines.
    seed : int
        Of folds and of the noise that an incomplete "leace" adds.

    Returns
    -------
    DataFrame or Series
        With the index, and but for "salient" the columns, of `data`.

    Raises
    ------
    DataError
        For rows that do not match, missing values or empty texts.
    OptionError
        For a strength outside 0 to 1, or options that do not belong to the method.

    Notes
    -----
    Linear erasures follow what predicts the treatment, and confounders predict it, too. "leace" takes them out together
    with the leak, "inlp" one direction after the other, so that few rounds take a strong leak and leave much of the
    confounding; `given` names confounding that is to stay.

    An erasure fitted on all rows has seen each row's treatment: in the sample the covariance with the treatment becomes
    exactly zero, so that rows left out of a fold correlate negatively with what the others say. With `cross_fit`
    the maps of the folds differ, and between them tell again what each left out, of the order of sqrt(p / n). Only rows
    that no erasure has seen, `learn_on`, are free of both. docs/leakage.md measures the three.

    References
    ----------
    Belrose et al., "LEACE: Perfect linear concept erasure in closed form" (NeurIPS 2023). Ravfogel et al., "Null It
    Out" (ACL 2020). Daoud, Johansson & Jerzak, "Detecting and Mitigating Treatment Leakage in Text-Based Causal
    Inference" (2025), for the other methods and for the point that the strength is a trade-off.

    Examples
    --------
    >>> import numpy as np
    >>> import deepdml as dd
    >>> sim = dd.simulate.leaky_text(n=500, seed=1)
    >>> embeddings, treatment = sim.data.filter(like="emb_"), sim.data["t"]
    >>> clean = dd.leakage.distill(embeddings, treatment, "leace", 1)
    >>> bool(abs(np.cov(clean["emb_0"], treatment)[0, 1]) < 1e-6)
    True
    """
    strength = strength_of(strength)
    refuse_no_whole("seed", seed, 0)
    refuse_no_whole("rounds", rounds, 1)
    if method not in OF_EMBEDDINGS + OF_TEXTS:
        raise unknown_option("method", method, OF_EMBEDDINGS + OF_TEXTS)
    labels = labels_of(data)
    concept = read_treatment(in_order("the treatment", treatment, labels), len(data))
    if method in OF_TEXTS:
        if given is not None or learn_on is not None or cross_fit:
            raise OptionError(
                f"given=, learn_on= and cross_fit= do not belong to method={method!r}, which cuts passages."
            )
        return _cut(data, concept, method, strength, encoder, about, split, seed)
    if encoder is not None or about is not None or split is not None:
        raise OptionError(f"encoder=, about= and split= do not belong to method={method!r}, which takes embeddings.")
    if not isinstance(data, pd.DataFrame):
        raise DataError(f"method={method!r} takes a frame of embeddings; for texts use 'similarity' or 'classifier'.")
    x = read_matrix("the embeddings", data)
    known, learned = in_order("given", given, labels), in_order("learn_on", learn_on, labels)
    task = _Task(x, concept, _given(known, len(x)), _rows(learned, len(x), cross_fit))
    if method == "salient":
        if cross_fit:
            raise OptionError("method='salient' drops the same columns from every row; cross_fit= does not apply.")
        return _drop(data, task, strength)
    erased = _erase(task, method, strength, rounds, cross_fit, seed)
    frame = pd.DataFrame(erased.astype(np.float32), index=data.index, columns=data.columns)
    frame.attrs = dict(data.attrs)
    return frame


@dataclass(frozen=True, slots=True)
class _Task:
    """What is erased from what: embeddings (n, p), the treatment, known confounders, and the rows to learn on (n,)."""

    x: Float
    concept: Concept
    given: Float | None
    learn: NDArray[np.bool_]

    def target(self, rows: NDArray[np.bool_]) -> Float:
        """Return the treatment (m, k) of some rows, or what is left of it beyond known confounders."""
        z = self.concept.values[rows]
        if self.given is None:
            return z
        given = self.given[rows]
        return np.asarray(z - given @ np.linalg.lstsq(given, z, rcond=None)[0])


def _given(given: Any, n: int) -> Float | None:
    if given is None:
        return None
    matrix = read_matrix("the known confounders", given)
    if len(matrix) != n:
        raise DataError(f"the known confounders have {len(matrix):,} rows and the embeddings {n:,}.")
    return np.column_stack([np.ones(n), matrix])


def _rows(learn_on: Any, n: int, cross_fit: int) -> NDArray[np.bool_]:
    if learn_on is None:
        return np.ones(n, bool)
    if cross_fit:
        raise OptionError("learn_on= and cross_fit= are two ways to keep rows unseen; pass one.")
    rows = np.asarray(learn_on)
    if rows.dtype != bool or rows.shape != (n,) or not rows.any():
        raise DataError(f"learn_on= needs {n:,} booleans, some of them true; it is {rows.dtype} of shape {rows.shape}.")
    return rows


def _erase(task: _Task, method: str, strength: float, rounds: int, cross_fit: int, seed: int) -> Float:
    """Return erased embeddings (n, p), each fold's fitted without it where there are folds."""
    n, rng = len(task.x), np.random.default_rng(seed)
    folds = folds_of(n, cross_fit, seed, task.concept.codes) if cross_fit else np.zeros(n, np.intp)
    erased = np.empty_like(task.x)
    for k in range(folds.max() + 1):
        held = folds == k
        learn = ~held if cross_fit else task.learn
        x, z = task.x[learn], task.target(learn)
        erasure = leace(x, z, strength) if method == "leace" else inlp(x, z, strength, rounds)
        erased[held] = erasure(task.x[held], rng)
    return erased


def _drop(data: pd.DataFrame, task: _Task, strength: float) -> pd.DataFrame:
    p = task.x.shape[1]
    count = round(strength * p)
    if count == p:
        raise OptionError(f"strength={strength!r} drops all {p} columns; take less.")
    dropped = np.argsort(-salience(task.x[task.learn], task.target(task.learn)), kind="stable")[:count]
    return data.drop(columns=data.columns[dropped])


def _cut(
    data: Any,
    concept: Concept,
    method: str,
    strength: float,
    encoder: Any,
    about: Any,
    split: Split | None,
    seed: int,
) -> pd.Series:
    if isinstance(data, pd.DataFrame):
        raise DataError(f"method={method!r} takes a Series of texts; for embeddings use 'leace', 'inlp' or 'salient'.")
    passages = read_passages(data, split)
    if method == "similarity":
        scores = similarity(passages, about, encoder)
    else:
        scores = flagged(passages, concept, encoder, 5, seed)
    texts = pd.Series(data)
    return pd.Series(passages.without(scores, strength), index=texts.index, name=texts.name)
