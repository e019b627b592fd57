"""Source: where a model comes from, a folder or the hub. What is on the hub becomes a pack in the cache, once."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from zipmoe.errors import InvalidRequest
from zipmoe.hub.name import Name, parse
from zipmoe.hub.need import Disk, Need, check_room, size
from zipmoe.hub.shelf import Shelf
from zipmoe.pack import writer
from zipmoe.pack.codec import codec as codec_named
from zipmoe.pack.disk import free_bytes
from zipmoe.pack.manifest import MANIFEST, Manifest
from zipmoe.profile.kept import cache_folder

if TYPE_CHECKING:
    from zipmoe.hub.checkpoints import Found, Hub

Report = Callable[[int, int, str], None]


def model(text: str) -> Path:
    """The pack that a person means: a folder, or that of a hub id, which is made if there is none yet."""
    match chosen(text):
        case Name() as name if shelf().find(name) is None:
            return pack_from_hub(name, None, "zstd", free=False)[0]
        case _:
            return kept(text)


def kept(text: str) -> Path:
    """The pack that a person means, if there is one."""
    match chosen(text):
        case Path() as folder:
            if (folder / "config.json").exists() and not (folder / MANIFEST).exists():
                raise InvalidRequest(
                    f"{folder} is a checkpoint; pack it first: zipmoe pack {folder} {folder.resolve().name}.zipmoe"
                )
            return folder
        case Name() as name:
            pack = shelf().find(name)
            if pack is None:
                raise InvalidRequest(f"{name} is not packed here: zipmoe pack {name}")
            if not name.is_commit:
                _say(f"{name}: commit {pack.name[:7]}; zipmoe pack {name} looks for a newer one")
            return pack


def checkpoint(text: str) -> Path:
    """The checkpoint that a person means: a folder, or that of a hub id, which is downloaded if it is not here."""
    match chosen(text):
        case Path() as folder:
            return folder
        case Name() as name:
            from zipmoe.hub.checkpoints import Hub

            hub = Hub()
            return _fetched(hub, hub.find(name))


def chosen(text: str) -> Path | Name:
    """A folder that exists goes before a hub id."""
    if (folder := Path(text).expanduser()).exists():
        return folder
    if (name := parse(text)) is None:
        raise InvalidRequest(f"{text} is no folder, and no hub id: those are org/name or org/name@revision")
    return name


def shelf() -> Shelf:
    return Shelf(cache_folder() / "packs")


def pack_from_hub(name: Name, destination: Path | None, codec: str, free: bool) -> tuple[Path, Manifest | None]:
    """The pack, and its manifest if it was made now. Without a destination it is kept, and the name stands for it."""
    from zipmoe.hub.checkpoints import Hub

    codec_named(codec)
    hub = Hub()
    found = hub.find(name)
    target = destination or shelf().place(name, found.commit, codec)
    made = None
    if destination is not None or not target.exists():
        if target.exists():
            raise InvalidRequest(f"{target} exists: remove it, or pack to another destination")
        folder = _fetched(hub, found, target, codec)
        with progress("packing") as report:
            made = writer.pack(folder, target, codec, report)
    if destination is None:
        shelf().name(name, target)
    if free:
        _say(f"{name}: {size(hub.free(found))} of the checkpoint were removed from {hub.cache}")
    return target, made


def _fetched(hub: "Hub", found: "Found", target: Path | None = None, codec: str | None = None) -> Path:
    """The checkpoint's folder. Before anything large is downloaded, it is sure to be of use and to fit, the pack at
    `target` included."""
    files = hub.files(found)
    hub.check(found, files)
    need = Need.of(files, codec, _packed(target) if target else 0)
    cache, packs = _disk(hub.cache), _disk(target or hub.cache)
    check_room(need, cache, packs)
    _say(
        f"{found.name} at {found.commit[:7]}: {size(need.fetch)} to fetch, {size(need.here)} are here"
        + (f"; about {size(need.pack)} to pack" if target else "")
        + f"; {size(cache.free)} are free"
    )
    with progress("fetching") as report:
        folder = hub.download(found, files, report)
    with progress("checking") as report:
        hub.prove(found, files, report)
    return folder


def _packed(target: Path) -> int:
    """Bytes that are there of an interrupted pack."""
    partial = target.with_name(target.name + ".partial")
    return sum(file.stat().st_size for file in partial.iterdir()) if partial.exists() else 0


def _disk(folder: Path) -> Disk:
    """Of a folder that may have to be made."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return Disk(there, os.stat(there).st_dev, free_bytes(there))


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(text, highlight=False, markup=False)


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """A bar of bytes, gone when it is full."""
    columns = (TextColumn("{task.description:<32}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total, name: bar.update(task, completed=done, total=total, description=f"{what} {name}")
