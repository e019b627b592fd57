"""zipmoe: pack a model, serve it, talk to it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from zipmoe.cli.options import (
    AddressOption,
    BatchOption,
    CertificateOption,
    ForecastOption,
    KeptArgument,
    KvTokensOption,
    MemoryOption,
    ModelArgument,
    ModeOption,
    ResidentOption,
    RunOption,
    SeedOption,
    StopOption,
    TemperatureOption,
    ThreadsOption,
    TokenOption,
    TopKOption,
    TopPOption,
    WorkersOption,
)
from zipmoe.errors import ZipMoEError

cli = typer.Typer(
    name="zipmoe",
    help="Serve Mixture-of-Experts models larger than memory on one device, losslessly.\n\n"
    "`zipmoe up allenai/OLMoE-1B-7B-0924` downloads a model, packs it and serves it; the next time it starts at once. "
    "Then `zipmoe generate` or `zipmoe chat`. Models of your own: `zipmoe pack` them first.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@cli.command()
def pack(
    source: Annotated[
        str,
        typer.Argument(
            help="A checkpoint: a folder of safetensors and config.json, or a Hugging Face id: org/name or "
            "org/name@revision, a branch, a tag or a commit."
        ),
    ],
    destination: Annotated[
        Path | None,
        typer.Argument(
            help="The packed model, a folder to be made.", show_default="for a Hugging Face id, one in the cache"
        ),
    ] = None,
    codec: Annotated[
        str,
        typer.Option(
            help="How exponents are stored: zstd (smallest), pack3 or pack4 (no decoding: for fast disks), lz4, raw.",
            metavar="CODEC",
        ),
    ] = "zstd",
    free: Annotated[
        bool, typer.Option("--free", help="Then remove the downloaded checkpoint from Hugging Face's cache.")
    ] = False,
) -> None:
    """Compress a checkpoint losslessly. Interrupted, the same command goes on where it was.

    Of a Hugging Face id, config.json comes first, and what cannot be served or does not fit on the disk is refused
    before a shard is downloaded. The checkpoint goes into Hugging Face's cache (HF_HOME), the pack into $ZIPMOE_CACHE
    or ~/.cache/zipmoe, one for each commit, where the id finds it. Asked again, it looks for a newer commit.

    Gated and private models need `hf auth login` or HF_TOKEN. HF_ENDPOINT names a mirror; HF_HUB_OFFLINE=1 keeps to
    what is in the cache.
    """
    from zipmoe.cli.pack import pack

    pack(source, destination, codec, free)


@cli.command()
def verify(
    packed: KeptArgument,
    against: Annotated[
        str | None,
        typer.Option(
            help="Compare with this checkpoint, a folder or a Hugging Face id, bit by bit.",
            show_default="recorded hashes",
        ),
    ] = None,
) -> None:
    """Prove that every tensor of a packed model is the checkpoint's, bit by bit."""
    from zipmoe.cli.pack import verify

    verify(packed, against)


@cli.command()
def up(
    packed: ModelArgument,
    memory: MemoryOption = "",
    arena_size: Annotated[
        str | None,
        typer.Option(
            envvar="ZIPMOE_ARENA_SIZE",
            help="Instead, memory for experts alone: 6GiB, 300MB, or a share of the experts in BF16.",
            show_default="what is left of the memory",
        ),
    ] = None,
    resident: ResidentOption = "auto",
    mode: ModeOption = "fast",
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    listen: Annotated[
        str | None,
        typer.Option(
            envvar="ZIPMOE_LISTEN",
            help="host:port for clients, beside the socket in the run folder.",
            show_default="nowhere else",
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(envvar="ZIPMOE_TLS_CERTIFICATE", help="TLS at host:port, by this PEM file.", metavar="FILE"),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(envvar="ZIPMOE_TLS_KEY", help="The certificate's key, a PEM file.", metavar="FILE")
    ] = None,
    token: TokenOption = None,
    forecast: ForecastOption = None,
    kv_tokens: KvTokensOption = None,
    batch: BatchOption = 16,
    run: RunOption = None,
) -> None:
    """Start the three services, keep them running, stop them with Ctrl-C or SIGTERM.

    A Hugging Face id stands for the pack that was made of it, and no network is needed; only if there is none, it is
    downloaded and packed, as `zipmoe pack` does. A newer commit is served after `zipmoe pack` was told to look for it.
    """
    from zipmoe.cli.source import model
    from zipmoe.cli.start import Wish
    from zipmoe.cli.up import Ask, Door, up

    wish = Wish(model(packed), memory, arena_size, resident, workers, threads, forecast, kv_tokens)
    up(Ask(wish, mode, batch, Door(listen, tls_certificate, tls_key, token)), run)


@cli.command()
def env(
    packed: ModelArgument,
    memory: MemoryOption = "",
    resident: ResidentOption = "auto",
    mode: ModeOption = "fast",
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    forecast: ForecastOption = None,
    kv_tokens: KvTokensOption = None,
    batch: BatchOption = 16,
) -> None:
    """Print the plan as an environment file, for services that are started by others: compose, systemd.

    `zipmoe env MODEL --memory 6GiB > .env` in the folder of compose.yaml. Each container gets a limit, and together the
    limits are the one number.
    """
    from zipmoe.cli.env import env
    from zipmoe.cli.source import model
    from zipmoe.cli.start import Wish

    env(Wish(model(packed), memory, None, resident, workers, threads, forecast, kv_tokens), mode, batch)


@cli.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from standard input.")],
    max_tokens: Annotated[int, typer.Option(help="Most tokens to write.", min=1)] = 128,
    temperature: TemperatureOption = 0.0,
    top_p: TopPOption = 1.0,
    top_k: TopKOption = 0,
    seed: SeedOption = None,
    stop: StopOption = None,
    address: AddressOption = None,
    certificate: CertificateOption = None,
    token: TokenOption = None,
    run: RunOption = None,
) -> None:
    """Continue a text, streamed as it is written.

    The text goes to standard output. A line on standard error says how fast it came, and how many of the experts it
    used were in memory.
    """
    from zipmoe.cli.generate import generate
    from zipmoe.cli.where import where

    options = _sampling(max_tokens, temperature, top_p, top_k, seed, stop)
    text = sys.stdin.read() if prompt == "-" else prompt
    generate(text, options, where(address, run, certificate, token))


@cli.command()
def chat(
    system: Annotated[
        str | None, typer.Option(help="What the model is told before the first line.", show_default="nothing")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Most tokens of an answer.", min=1, show_default="until the context is full")
    ] = None,
    temperature: TemperatureOption = 0.7,
    top_p: TopPOption = 0.95,
    top_k: TopKOption = 0,
    seed: SeedOption = None,
    stop: StopOption = None,
    address: AddressOption = None,
    certificate: CertificateOption = None,
    token: TokenOption = None,
    run: RunOption = None,
) -> None:
    """Talk with a model that has a chat template.

    Each line is a message, and the model sees the whole conversation. Ctrl-C stops an answer, what was written of it is
    kept; Ctrl-D ends. Lines can also be piped in: answers go to standard output, all else to standard error.
    """
    from zipmoe.cli.chat import chat
    from zipmoe.cli.where import where

    options = _sampling(max_tokens, temperature, top_p, top_k, seed, stop)
    chat(system, options, where(address, run, certificate, token))


def _sampling(
    max_tokens: int | None, temperature: float, top_p: float, top_k: int, seed: int | None, stop: list[str] | None
) -> dict[str, Any]:
    options = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "top_k": top_k, "seed": seed}
    return {**options, "stop": tuple(stop or ())}


@cli.command()
def status(run: RunOption = None) -> None:
    """Show the cache: slots, states, hit rate, bytes read, leases."""
    from zipmoe.cli.status import status

    status(run)


@cli.command()
def synth(
    out: Annotated[Path, typer.Argument(help="The checkpoint folder to be made, or with --measure, to be measured.")],
    like: Annotated[
        str | None,
        typer.Option(help="olmoe-1b-7b, qwen1.5-moe, deepseek-v2-lite, or tiny (a few MB).", metavar="MODEL"),
    ] = None,
    layers: Annotated[
        int | None, typer.Option(help="Only so many layers.", min=1, show_default="as many as the model")
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal bytes.", min=0)] = 0,
    measure: Annotated[
        bool, typer.Option("--measure", help="Run OUT on random tokens and compare its routing with published ones.")
    ] = False,
    requests: Annotated[int, typer.Option(help="With --measure: requests.", min=1)] = 64,
    tokens: Annotated[int, typer.Option(help="With --measure: tokens of a request.", min=1)] = 64,
) -> None:
    """Make a checkpoint of random weights in a real model's shape, for benchmarks without a download.

    Real are names, shapes, config.json, BF16, and near enough the entropy of the exponents and, for olmoe-1b-7b and
    tiny, the statistics of the routing: how unequal experts are used, over all requests and within one, and how many
    of its experts a token shares with the one before it. Nothing published says that of OLMoE: the figures are those
    of DeepSeek-V2-Lite, and of Qwen3-30B-A3B for neighbours. Not real is everything else: the model knows nothing,
    what it writes means nothing, its tokenizer was never trained, which experts go together is chance, and all layers
    are alike. Neighbours share less in tiny than they should. The routing of qwen1.5-moe and deepseek-v2-lite was not
    measured, and the attention of the latter does not prefer near tokens.
    """
    from zipmoe.cli.synth import measure as run_measure
    from zipmoe.cli.synth import synth as run_synth

    if measure:
        run_measure(out, requests, tokens)
    elif like is None:
        raise typer.BadParameter("say which model: --like olmoe-1b-7b, for example", param_hint="--like")
    else:
        run_synth(like, layers, seed, out)


@cli.command()
def simulate(
    packed: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A packed model that was served, its folder or Hugging Face id: its own routing.",
            show_default="made-up routing",
        ),
    ] = None,
    like: Annotated[str, typer.Option(help="olmoe-1b-7b or deepseek-v2-lite.", metavar="MODEL")] = "olmoe-1b-7b",
    memory: Annotated[
        list[float], typer.Option(help="Memory for experts, in percent of them in BF16. May be given again.", min=1)
    ] = [25, 40, 60, 80],  # noqa: B006
    batch: Annotated[int, typer.Option(help="Sequences that are decoded at once.", min=1)] = 1,
    layers: Annotated[int, typer.Option(help="Layers made up: more take longer, and say the same.", min=1)] = 4,
    tokens: Annotated[int, typer.Option(help="Tokens made up, in requests of a hundred.", min=100)] = 600,
    bits: Annotated[float, typer.Option(help="Bits of a made-up weight, in memory and on disk.", min=8, max=16)] = 11.2,
    disk: Annotated[float, typer.Option(help="GB/s of a made-up disk.", min=0.001)] = 1.0,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal routing.", min=0)] = 0,
) -> None:
    """Judge cache policies in seconds: what each would read from disk, on routing like that of real models.

    The policies are the scheduler's own code. With a packed model that `up` has served on this device, routing is that
    of the tokens it decoded, and times are predicted from the device's profile. Without, real is how unequally experts
    are used, over all requests and within one, and how many of its experts a token shares with the one before; the rest
    of the routing is chance, and times are those of reading alone.
    """
    from zipmoe.cli.simulate import made_up, recorded
    from zipmoe.cli.source import kept

    budgets = [share / 100 for share in memory]
    if packed is not None:
        recorded(kept(packed), budgets, batch)
    else:
        made_up(like, budgets, batch, layers, tokens, bits, disk, seed)


@cli.command()
def plan(
    packed: ModelArgument,
    memory: MemoryOption = "",
    resident: ResidentOption = "auto",
    kv_tokens: KvTokensOption = None,
    prompt: Annotated[int, typer.Option(help="Tokens of the prompt that TTFT is of.", min=1)] = 256,
) -> None:
    """Show what a packed model would need and how fast it would be, before anything is loaded.

    Computed from the device's profile, measured once, and from how tokens were routed as `up` served the model; before
    it has, from published statistics of another one.
    """
    from zipmoe.cli.plan import plan
    from zipmoe.cli.source import model

    plan(model(packed), memory, resident, kv_tokens, prompt)


@cli.command()
def profile(
    packed: ModelArgument,
    again: Annotated[bool, typer.Option("--again", help="Measure anew, though there is a profile.")] = False,
) -> None:
    """Show what this device does with a packed model: reading, decoding, multiplying, a miss; measured in seconds.

    It is measured once and kept for `up`, in $ZIPMOE_CACHE or ~/.cache/zipmoe, until the device or the pack is another.
    """
    from zipmoe.cli.profile import profile
    from zipmoe.cli.source import model

    profile(model(packed), again)


def app() -> None:
    """The command's entry. An error that is a person's act is one line and exit code 1."""
    try:
        cli()
    except ZipMoEError as error:
        typer.secho(f"zipmoe: {error}", err=True, fg=typer.colors.RED)
        sys.exit(1)
