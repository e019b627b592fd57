"""Arguments: how far inference looks ahead is said on the command line or in the environment, and checked."""

import sys

import pytest

from zipmoe.inference.__main__ import InferenceConfig


def forecast(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["inference", "--pack", "demo.zipmoe", *arguments])
    return InferenceConfig.from_arguments().forecast


def test_nothing_is_forecast_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZIPMOE_FORECAST", raising=False)
    assert forecast(monkeypatch) == 0
    assert forecast(monkeypatch, "--forecast", "2") == 2


def test_the_command_line_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIPMOE_FORECAST", "1")
    assert forecast(monkeypatch) == 1
    assert forecast(monkeypatch, "--forecast", "0") == 0


@pytest.mark.parametrize("wrong", ["-1", "far", "1.5", ""])
def test_what_is_no_number_of_layers_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    monkeypatch.setenv("ZIPMOE_FORECAST", wrong)
    with pytest.raises(SystemExit):
        forecast(monkeypatch)
    assert f"{wrong!r} (or ZIPMOE_FORECAST) must be a number of layers" in capsys.readouterr().err
