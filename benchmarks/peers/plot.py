"""Plot: the picture that matters, milliseconds a token over memory, and what each mechanism is worth; PNG and SVG.

On a white ground of its own, so that it can be read on a dark page, too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.gguf_file import peer
from benchmarks.peers.ablation import OURS, RAW, WORDS
from benchmarks.peers.case import ACCELERATE, LIMITED, LIMITS, LLAMACPP, NONE
from benchmarks.peers.report import by_place
from benchmarks.peers.result import Result

SHOWN: Final = {
    LLAMACPP: ("llama.cpp, mapped", "#d1495b", "s"),
    ACCELERATE: ("transformers + accelerate", "#8d6a9f", "^"),
    RAW: ("raw BF16 slots, LRU", "#edae49", "D"),
    OURS: ("ZipMoE", "#00798c", "o"),
}
COLOURS: Final = ("#00798c", "#66a5ad", "#c4dfe6")


def tpot(results: Sequence[Result], model: str, path: Path) -> None:
    """Saves it as `path`.png and .svg."""
    figure, axes = _figure()
    found, places = by_place(results), range(len(LIMITS))
    for name, (words, colour, marker) in SHOWN.items():
        times = [1e3 * one.tpot if (one := found.get((name, limit))) and one.tpot else None for limit in LIMITS]
        known = [(place, time) for place, time in zip(places, times, strict=True) if time is not None]
        if known:
            axes.plot(*zip(*known, strict=True), color=colour, marker=marker, linewidth=2.2, label=words)
            for place, time in known if name in (OURS, LLAMACPP) else ():
                below = name == OURS
                axes.annotate(
                    f"{time:.0f}" if time >= 10 else f"{time:.1f}",
                    (place, time),
                    textcoords="offset points",
                    xytext=(0, -15 if below else 8),
                    ha="center",
                    color=colour,
                    fontsize=9,
                )
    roofs = [
        (place, 1e3 * one.roofline.seconds)
        for place, limit in enumerate(LIMITS)
        if (one := found.get((OURS, limit))) and one.roofline
    ]
    if roofs:
        axes.plot(
            *zip(*roofs, strict=True), color="#555555", linestyle=":", marker="_", label="what ZipMoE's bytes permit"
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xticks(places, ["no limit" if limit == NONE else f"{limit} %" for limit in LIMITS])
    axes.set_xlabel("memory limit, of the checkpoint's BF16 bytes; page cache counts")
    axes.set_ylabel("milliseconds a token, median (log)")
    axes.set_title(f"{model}, one sequence: the same tokens, losslessly", fontsize=11)
    axes.margins(y=0.12)
    axes.legend(frameon=False, fontsize=9)
    _save(figure, path)


def ladder(results: Sequence[Result], model: str, path: Path) -> None:
    """Milliseconds a token with one mechanism more at a time."""
    figure, axes = _figure()
    found, width = by_place(results), 0.27
    for place, (limit, colour) in enumerate(zip(LIMITED, COLOURS, strict=True)):
        times = [1e3 * (one.tpot or 0) if (one := found.get((name, limit))) else 0 for name in WORDS]
        rows = [row + (place - 1) * width for row in range(len(WORDS))]
        axes.barh(rows, times, width, color=colour, label=f"{limit} %")
        for row, time in ((row, time) for row, time in zip(rows, times, strict=True) if time):
            axes.annotate(f"{time:.0f}", (time, row), textcoords="offset points", xytext=(3, -3), fontsize=7)
    axes.set_yticks(range(len(WORDS)), WORDS.values())
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds a token, median")
    axes.set_title(f"{model}: what each mechanism is worth, by memory limit", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    _save(figure, path)


def _figure() -> tuple[Any, Any]:
    peer("matplotlib").use("agg")
    figure, axes = peer("matplotlib.pyplot").subplots(figsize=(7.6, 4.6), layout="constrained")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    for kind in ("png", "svg"):
        # Without a date in it, equal results make equal files.
        about = {"Date": None} if kind == "svg" else None
        figure.savefig(path.with_name(f"{path.name}.{kind}"), dpi=160, facecolor="white", metadata=about)
    peer("matplotlib.pyplot").close(figure)
