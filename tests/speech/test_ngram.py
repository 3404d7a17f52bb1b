"""The language model of a corpus's sentences: a distribution, and what pocketsphinx reads it to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speech.judges.ngram import END, START, NGram

SENTENCES = ["the cat sat", "the dog sat on the cat", "a dog", "a cat sat on a mat", "on"]


def histories(model: NGram) -> list[tuple[str, ...]]:
    words = [START, *model.vocabulary, "unheard"]
    return [(), *((w,) for w in words), *((v, w) for v in words for w in words)]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_sum_to_one_after_any_history(order: int) -> None:
    model = NGram(SENTENCES, order)
    for history in histories(model):
        assert sum(model.probability(word, history) for word in model.vocabulary) == pytest.approx(1)
        assert all(model.probability(word, history) > 0 for word in model.vocabulary)
    assert model.probability("unheard", ("the",)) == 0


def test_estimates_are_witten_and_bells() -> None:
    """By hand: 'the' is followed by cat, dog, cat, so c = 3 and T = 2; 21 words and ends in all, of 8 kinds."""
    model = NGram(SENTENCES[:4], 2)
    total, kinds = 21, 8
    alone = (3 + kinds / kinds) / (total + kinds)
    assert model.probability("cat") == pytest.approx(alone)
    assert model.probability("cat", ("the",)) == pytest.approx((2 + 2 * alone) / (3 + 2))
    assert model.probability("cat", ("never", "heard", "the")) == pytest.approx((2 + 2 * alone) / (3 + 2))


def test_pocketsphinx_reads_the_same_from_the_arpa_file(tmp_path: Path) -> None:
    import pocketsphinx

    model = NGram(SENTENCES)
    path = tmp_path / "lm.arpa"
    path.write_text("\n".join(model.arpa()) + "\n")
    theirs = pocketsphinx.NGramModel.readfile(str(path))
    asked = [(word, h) for h in histories(model) if "unheard" not in h and END not in h for word in model.vocabulary]
    logs = [theirs.prob([word, *reversed(history)]) for word, history in asked]
    # Their logarithms are whole numbers to the base 1.0001.
    np.testing.assert_allclose(1.0001 ** np.array(logs), [model.probability(*a) for a in asked], rtol=5e-4)


def test_a_corpus_without_words_has_no_model() -> None:
    with pytest.raises(ValueError, match="needs a sentence"):
        NGram(["", " "])
