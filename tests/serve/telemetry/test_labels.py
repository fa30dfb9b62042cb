from __future__ import annotations

from serve.telemetry.labels import LabelCap, PairCap


def test_the_first_values_keep_their_names_and_later_ones_share_one() -> None:
    cap = LabelCap(2)
    assert [cap.label(value) for value in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]


def test_nothing_takes_no_place() -> None:
    cap = LabelCap(1)
    assert [cap.label(value) for value in (None, "", "a")] == ["none", "none", "a"]


def test_a_second_label_keeps_its_name_in_the_first_pairs_only() -> None:
    cap = PairCap(2)
    pairs = [("m", "a"), ("n", "a"), ("m", "b"), ("m", None), ("m", "a")]
    assert [cap.label(*pair) for pair in pairs] == ["a", "a", "other", "none", "a"]
