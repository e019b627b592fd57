"""Options: what several commands ask for, each said once. A name ends with what it is on a command line."""

from pathlib import Path
from typing import Annotated

import typer

RunOption = Annotated[
    Path | None,
    typer.Option("--run", envvar="ZIPMOE_RUN", help="Folder of the services' sockets.", show_default="/tmp/zipmoe-UID"),
]
ResidentOption = Annotated[
    str, typer.Option(help="Experts in memory: pack3, pack4, bf16, or what is smallest (auto).", metavar="FORM")
]
MemoryOption = Annotated[
    str,
    typer.Option(
        envvar="ZIPMOE_MEMORY",
        help="Memory for everything, all processes together: 6GiB, 800MB.",
        show_default="a container's limit, or 80 % of what is free",
    ),
]
KvTokensOption = Annotated[
    int | None,
    typer.Option(
        envvar="ZIPMOE_KV_TOKENS",
        help="Tokens that all sequences together may have in memory.",
        min=1,
        show_default="the context, at most 4096",
    ),
]
ModeOption = Annotated[
    str, typer.Option(help="fast, or reference: bit-identical to transformers' eager BF16.", metavar="MODE")
]
WorkersOption = Annotated[
    int | None, typer.Option(envvar="ZIPMOE_WORKERS", help="Decoding processes.", min=1, show_default="one a core")
]
ThreadsOption = Annotated[
    int | None, typer.Option(envvar="ZIPMOE_THREADS", help="Multiplying threads.", min=1, show_default="one a core")
]
ForecastOption = Annotated[
    int | None, typer.Option(help="Layers ahead to read what will probably be wanted.", show_default="as planned")
]
BatchOption = Annotated[int, typer.Option(envvar="ZIPMOE_BATCH", help="Most requests that run at once.", min=1)]
TemperatureOption = Annotated[float, typer.Option(help="0 is greedy.", min=0)]
TopPOption = Annotated[float, typer.Option(help="Keep the likeliest tokens up to this sum.")]
TopKOption = Annotated[int, typer.Option(help="Keep this many of the likeliest tokens; 0 is all.", min=0)]
SeedOption = Annotated[int | None, typer.Option(help="Equal seeds give equal text.")]
StopOption = Annotated[list[str] | None, typer.Option(help="End before this text. May be given often.")]
AddressOption = Annotated[
    str | None,
    typer.Option(envvar="ZIPMOE_ADDRESS", help="Of the inference service.", show_default="the socket of `up`"),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--certificate",
        envvar="ZIPMOE_TLS_CERTIFICATE",
        help="At host:port, expect TLS: the service's certificate or its authority's, a PEM file.",
        metavar="FILE",
        show_default="no TLS",
    ),
]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--token",
        envvar="ZIPMOE_TOKEN_FILE",
        help="Holds what clients at host:port must know.",
        metavar="FILE",
        show_default="nothing",
    ),
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A packed model's folder, or a Hugging Face id: org/name or org/name@revision. The first time, that is "
        "downloaded and packed.",
    ),
]
KeptArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A packed model's folder, or the Hugging Face id that it was packed from."),
]
