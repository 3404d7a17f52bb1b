"""Recognisers that are networks: tiny random ones on disk, loaded and decoded as their own libraries do it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchaudio.pipelines import Wav2Vec2ASRBundle

from respeak.judges.phoneme_judge import phoneme_judge
from respeak.judges.recognisers import recogniser
from speech.audio.waveforms import encode_audio
from speech.errors import UserError
from speech.judges import ctc, torchaudio_bundles
from speech.judges.cache import Recording
from speech.judges.ctc import LexiconDecoder, greedy, spell
from speech.judges.huggingface import HuggingFaceCTC, Whisper
from speech.judges.ngram import END, START, NGram
from speech.judges.settings import ASR, Phonemes
from speech.phonemes import PHONES, from_ipa
from speech.text import normalise_text

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINSHRC'"]
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def noise(samples: int = 16_000, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def heard(wave: np.ndarray) -> Recording:
    return Recording(encode_audio(wave, "wav"), "noise")


def write_ctc(folder: Path, kind: str = "Wav2Vec2", between: str = "|", letters: Sequence[str] = LETTERS) -> Path:
    import transformers

    torch.manual_seed(0)
    folder.mkdir()
    tokens = [between if token == "|" else token for token in letters]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), word_delimiter_token=between).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    config = getattr(transformers, f"{kind}Config")(vocab_size=len(tokens), pad_token_id=0, **SIZES)
    model = getattr(transformers, f"{kind}ForCTC")(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)  # or one token is the best in every frame
    model.save_pretrained(folder)
    return folder


def test_a_phoneme_model_says_what_transformers_says(tmp_path: Path) -> None:
    import transformers

    letters = ["<pad>", "<s>", "</s>", "<unk>", "n", "s", "ɪ", "oːɹ", "tʃ", "aɪɚ", "ɡ", "ᵻ", "n̩"]
    folder = write_ctc(tmp_path / "model", letters=letters)
    judge = phoneme_judge(Phonemes("ctc", str(folder)))
    assert judge is not None
    answer = judge(heard(noise()), "one fire")
    assert answer["phones_said"] == "W AH N F AY ER"
    tokenizer = transformers.Wav2Vec2PhonemeCTCTokenizer(str(folder / "vocab.json"), do_phonemize=False)
    model = HuggingFaceCTC(folder)
    theirs = tokenizer.decode(model.emissions(heard(noise()).wave).argmax(1)).split()
    wanted = from_ipa(sound for sound in theirs if sound not in letters[:4])
    assert len(set(wanted)) > 3
    assert answer["phones_heard"].split() == wanted
    assert set(answer["phones_heard"].split()) <= set(PHONES)
    with pytest.raises(
        UserError, match=r"evaluate\.phonemes\.model: facebook/x: no such folder.*huggingface.co/facebook/x"
    ):
        phoneme_judge(Phonemes("ctc", "facebook/x"))
    with pytest.raises(ValueError, match="judge ctc needs the name of a model"):
        Phonemes("ctc")


@pytest.mark.parametrize(("kind", "between"), [("Wav2Vec2", "|"), ("Hubert", "_")])
def test_a_hugging_face_ctc_model_says_what_transformers_says(tmp_path: Path, kind: str, between: str) -> None:
    import transformers

    folder = write_ctc(tmp_path / "model", kind, between)
    theirs = transformers.pipeline("automatic-speech-recognition", model=str(folder))
    judge = recogniser(ASR("ctc", "open", str(folder)), ["a text"])
    for seed in range(3):
        wave = noise(seed=seed)
        said = re.sub("<[^>]*>", "", theirs({"raw": wave, "sampling_rate": 16_000})["text"])
        # Through 16 bits and back, as every recording here goes.
        assert judge(heard(wave))["hypothesis"] == normalise_text(said) != ""
    model = HuggingFaceCTC(folder)
    assert model.tokens[4] == "|" and model.special == LETTERS[:4]
    np.testing.assert_allclose(np.exp(model.emissions(noise(300))).sum(axis=1), 1, rtol=1e-5)


def tiny_bundle() -> Wav2Vec2ASRBundle:
    from torchaudio.pipelines import WAV2VEC2_ASR_BASE_960H as base

    layers = [(8, 10, 5), (8, 3, 2), (8, 3, 2), (8, 3, 2), (8, 3, 2), (8, 2, 2), (8, 2, 2)]
    sizes = {
        "extractor_conv_layer_config": layers,
        "encoder_embed_dim": 16,
        "encoder_num_layers": 1,
        "encoder_num_heads": 2,
        "encoder_ff_interm_features": 16,
        "encoder_pos_conv_kernel": 16,
        "encoder_pos_conv_groups": 4,
    }
    params = {**base._params, **sizes}
    return Wav2Vec2ASRBundle("tiny.pth", params, 16_000, True, base._model_type, base._labels, base._remove_aux_axis)


def write_bundle(bundle: Wav2Vec2ASRBundle, path: Path) -> torch.nn.Module:
    """Published files hold three rows more, which torchaudio drops."""
    from torchaudio.models import wav2vec2_model

    torch.manual_seed(0)
    model = wav2vec2_model(**bundle._params).eval()
    state = model.state_dict()
    for name in ("aux.weight", "aux.bias"):
        state[name] = 20 * state[name]
        rows = list(state[name])
        for at in bundle._remove_aux_axis:
            rows.insert(at, torch.zeros_like(rows[0]))
        model.state_dict()[name].copy_(state[name])
        state[name] = torch.stack(rows)
    torch.save(state, path)
    return model


def test_a_bundle_says_what_torchaudios_tutorial_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle()
    model = write_bundle(bundle, tmp_path / "tiny.pth")
    monkeypatch.setattr(torchaudio_bundles, "recogniser_bundle", lambda name: bundle)
    monkeypatch.setenv("RESPEAK_CACHE", str(tmp_path))
    judge = recogniser(ASR("torchaudio", "open", "TINY"), ["a text"])
    labels = bundle.get_labels()
    for seed in range(3):
        recording = heard(noise(seed=seed))
        wave = torch.from_numpy(recording.wave)[None]
        with torch.no_grad():
            emissions, _ = model(torch.nn.functional.layer_norm(wave, wave.shape))
        best = torch.unique_consecutive(torch.argmax(emissions[0], dim=-1))
        said = "".join(labels[i] for i in best if i != 0).replace("|", " ")
        assert judge(recording)["hypothesis"] == normalise_text(said) != ""
    words = recogniser(ASR("torchaudio", "words", "TINY"), ["see the tea"])(heard(noise()))["hypothesis"]
    assert set(words.split()) <= {"see", "the", "tea"}


def test_absent_and_damaged_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESPEAK_CACHE", str(tmp_path))
    settings = ASR("torchaudio", "open", "WAV2VEC2_ASR_BASE_960H")
    name = "wav2vec2_fairseq_base_ls960_asr_ls960.pth"
    with pytest.raises(UserError, match=rf"{tmp_path}/{name}: not found; get https://download.pytorch.org/.*{name}"):
        recogniser(settings, ["a text"])
    (tmp_path / name).write_bytes(b"no weights")
    first = recogniser(settings, ["a text"])
    with pytest.raises(UserError, match=f"{name}: not the weights"):
        first(heard(noise()))
    (tmp_path / "other.pth").write_bytes(b"others")
    other = recogniser(ASR("torchaudio", "open", "WAV2VEC2_ASR_BASE_960H", str(tmp_path / "other.pth")), ["a text"])
    assert other.identity != first.identity
    with pytest.raises(UserError, match="'WAV2VEC2' is no recogniser of torchaudio's; known are HUBERT_ASR_LARGE"):
        recogniser(ASR("torchaudio", "open", "WAV2VEC2"), ["a text"])
    for kind in ("ctc", "whisper"):
        with pytest.raises(UserError, match=r"nobody/nothing: no such folder.*https://huggingface.co/nobody/nothing"):
            recogniser(ASR(kind, "open", "nobody/nothing"), ["a text"])  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"{tmp_path}: holds no model"):
        HuggingFaceCTC(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("whisper", "lm", "x"), "judge whisper has no mode lm, only open"),
        (("ctc", "sentences", "x"), "judge ctc has no mode sentences, only open, lm, words"),
        (("ctc", "open"), "judge ctc needs the name of a model"),
        (("pocketsphinx", "open", "x"), "pocketsphinx brings its own model"),
    ],
)
def test_impossible_settings_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ASR(*arguments)


TOKENS = ["-", "|", "a", "b", "t"]


def emissions(seed: int, frames: int = 6) -> np.ndarray:
    """Random log-probabilities that end in a word's end."""
    scores = 2 * np.random.default_rng(seed).standard_normal((frames, len(TOKENS)))
    scores[-1, 1] += 30
    return (scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))).astype(np.float32)


def paths(length: int) -> list[tuple[tuple[int, ...], list[str]]]:
    """Every path through the emissions, with the words it spells."""
    found = []
    for path in itertools.product(range(len(TOKENS)), repeat=length):
        letters = [TOKENS[token] for token, _ in itertools.groupby(path) if token != 0]
        found.append((path, "".join(letters).split("|")))
    return found


@pytest.mark.parametrize("with_lm", [False, True])
def test_lexicon_decoding_finds_the_best_of_all_paths(with_lm: bool) -> None:
    texts = ["a tab", "at a bat", "bat at"]
    model = NGram(texts)
    decode = LexiconDecoder(texts, TOKENS, 0, with_lm)
    known = {"a", "tab", "at", "bat", ""}
    possible = [(path, [w for w in words if w]) for path, words in paths(6) if not words[-1] and known >= set(words)]
    for seed in range(6):
        scores = emissions(seed)

        def value(candidate: tuple[tuple[int, ...], list[str]], scores: np.ndarray = scores) -> float:
            path, words = candidate
            total = float(scores[range(6), path].sum()) + ctc.WORD_SCORE * len(words)
            history: tuple[str, ...] = (START,)
            for word in [*words, END] if with_lm else []:
                total += ctc.LM_WEIGHT * float(np.log10(model.probability(word, history)))
                history = (*history, word)[-2:]
            return total

        assert decode(scores) == " ".join(max(possible, key=value)[1])


def test_greedy_decoding_joins_repetitions_and_drops_blanks() -> None:
    best = [TOKENS.index(token) for token in "bb--aa|-|tt-t"]
    scores = np.eye(len(TOKENS))[best]
    tokens = greedy(scores, TOKENS, 0)
    assert tokens == list("ba||tt")
    assert spell(tokens) == "ba tt"
    assert spell(["<s>", "a", "<unk>"], ["<s>", "<unk>"]) == "a"


def test_letters_that_spell_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="spell no word of the corpus; use open"):
        LexiconDecoder(["zoo"], TOKENS, 0, with_lm=False)


def write_whisper(folder: Path) -> Path:
    import transformers

    torch.manual_seed(0)
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>"]
    special += ["<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    times = [f"<|{0.02 * index:.2f}|>" for index in range(1501)]
    ids = {token: index for index, token in enumerate([*"abcdefghijklmnopqrstuvwxyzĠ", *special, *times])}
    transformers.WhisperTokenizer(vocab=ids, merges=[]).save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    model = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            vocab_size=len(ids),
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            max_target_positions=48,
            pad_token_id=end,
            bos_token_id=end,
            eos_token_id=end,
            decoder_start_token_id=start,
        )
    )
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight[:26].mul_(50)  # or it says nothing but times
    settings = model.generation_config
    settings._from_model_config = False
    settings.is_multilingual, settings.lang_to_id = True, {"<|en|>": ids["<|en|>"]}
    settings.task_to_id = {name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")}
    settings.no_timestamps_token_id, settings.prev_sot_token_id = ids["<|notimestamps|>"], ids["<|startofprev|>"]
    settings.suppress_tokens, settings.begin_suppress_tokens = [ids[token] for token in special[1:]], [end]
    settings.max_length = 32
    model.save_pretrained(folder)
    return folder


def test_whisper_says_what_transformers_says(tmp_path: Path) -> None:
    import transformers

    folder = write_whisper(tmp_path)
    theirs = transformers.pipeline("automatic-speech-recognition", model=str(folder))
    judge = Whisper(folder)
    for seconds in (1, 31):
        wave = noise(16_000 * seconds)
        how = {"generate_kwargs": {"language": "en", "num_beams": 1}, "return_timestamps": seconds > 30}
        said = theirs({"raw": wave, "sampling_rate": 16_000}, **how)["text"]
        assert judge.transcribe(wave) == normalise_text(said) != ""
