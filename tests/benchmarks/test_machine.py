import argparse
import json

import pytest

from benchmarks.machine import at_least_one, median, ratio, seconds_side_by_side, write_result


def test_variants_take_turns_and_change_their_order():
    calls = []
    variants = {name: lambda name=name: calls.append(name) for name in "abc"}
    seconds = seconds_side_by_side(variants, rounds=3)
    assert "".join(calls) == "abc" + "abc" + "cba" + "abc"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_measurement_is_the_mean_of_its_calls(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("benchmarks.machine.time.perf_counter", lambda: clock[0])

    def work():
        clock[0] += 3.0

    assert seconds_side_by_side({"work": work}, rounds=2, calls=4) == {"work": [3.0, 3.0]}


def test_ratios_are_of_one_round():
    seconds = {"slow": [2.0, 40.0, 6.0], "fast": [1.0, 10.0, 2.0]}
    assert ratio(seconds, "slow", "fast") == {"median": 3.0, "lower_quartile": 2.5, "upper_quartile": 3.5}
    assert median(seconds["slow"]) == 6


def test_nothing_is_measured_in_no_rounds():
    with pytest.raises(ValueError, match="got 0 rounds of 1 calls"):
        seconds_side_by_side({}, rounds=0)


def test_options_of_less_than_one_are_refused():
    assert at_least_one("3") == 3
    with pytest.raises(argparse.ArgumentTypeError, match="got 0, expected at least 1"):
        at_least_one("0")


def test_results_are_written_where_asked_for(tmp_path):
    write_result({"a": 1}, None)
    write_result({"a": 1}, tmp_path / "new" / "result.json")
    assert json.loads((tmp_path / "new" / "result.json").read_text()) == {"a": 1}
