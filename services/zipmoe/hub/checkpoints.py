"""Checkpoints: those of the hub, as folders on this device. They lie in Hugging Face's own cache, where every other
program finds them too.

What is wrong with a model is found out in the order of what it costs to know: its name, config.json, the headers of its
shards, the room on the disks. Only then are gigabytes fetched, and when they are here, their hashes are compared.
"""

import glob
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from huggingface_hub import HfApi, constants, hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from huggingface_hub.utils.tqdm import tqdm

from zipmoe.errors import CorruptExpert, InvalidRequest, ServiceRestarting
from zipmoe.hub.failure import explained
from zipmoe.hub.name import Name
from zipmoe.hub.need import File
from zipmoe.pack import shard
from zipmoe.pack.checkpoint import INDEX, SINGLE, check_words, read_json, shard_names
from zipmoe.pack.family import geometry, runs
from zipmoe.pack.geometry import Geometry
from zipmoe.pack.shard import Tensor
from zipmoe.pack.writer import SMALL_FILES, TOKENIZER

# (bytes done, of how many, what is done now)
Progress = Callable[[int, int, str], None]

# Until the hub is thought to be away. Bodies have a patience of their own, HF_HUB_DOWNLOAD_TIMEOUT.
PATIENCE_SECONDS: Final = 10.0
# Files at once. More are faster where each stream is slow; but a file that is interrupted begins anew.
STREAMS: Final = 2
# Between tries, if the hub goes away in the middle: nobody watches a download of an hour.
PAUSES_SECONDS: Final = (5.0, 15.0, 60.0, 180.0)
# Headers at once: small requests, all of them waiting.
HEADERS: Final = 8

_BYTES: Final = "huggingface_hub.snapshot_download"
_SHA256: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Found:
    """A model that the hub has and we can serve. `folder` is its checkpoint, once it is downloaded."""

    name: Name
    commit: str
    folder: Path
    geometry: Geometry


class Hub:
    """HF_ENDPOINT and the cache, unless others are given. Methods raise InvalidRequest for what a person can change,
    ServiceRestarting for what may be better the next time."""

    def __init__(self, endpoint: str | None = None, cache: Path | None = None) -> None:
        self.endpoint = endpoint or constants.ENDPOINT
        self.cache = cache or Path(constants.HF_HUB_CACHE)
        self.offline = constants.is_offline_mode()
        self._api = HfApi(endpoint=self.endpoint)

    def find(self, name: Name) -> Found:
        """The commit that a name stands for now, and its config.json: InvalidRequest if it is not one that we serve."""
        with explained(name, self.endpoint):
            if not self.offline:
                self._api.model_info(name.id, revision=name.revision, timeout=PATIENCE_SECONDS)
            try:
                path = Path(self._one(name, name.revision, "config.json"))
            except LocalEntryNotFoundError:
                if not self.offline:
                    raise
                raise self._absent(name, ["config.json"]) from None
        return Found(name, path.parent.name, path.parent, geometry(read_json(path)))

    def files(self, found: Found) -> tuple[File, ...]:
        """What packing needs of it, no other format of the same weights, and what of that is in the cache."""
        with explained(found.name, self.endpoint):
            try:
                shards = shard_names(Path(self._one(found.name, found.commit, INDEX)))
                index = [INDEX]
            except EntryNotFoundError:
                shards, index = [SINGLE], []
            wanted = [*SMALL_FILES, *index, *shards]
            files = self._cached(found, wanted) if self.offline else self._listed(found, wanted)
        names = {file.name for file in files}
        missing = sorted({*shards, TOKENIZER} - names)
        if missing and self.offline:
            raise self._absent(found.name, missing)
        if lacking := sorted(set(shards) - names):
            what = f"lacks {lacking[0]}, which its {INDEX} names" if index else f"has neither {SINGLE} nor {INDEX}"
            raise InvalidRequest(f"{found.name} {what}: use a repository with all weights in safetensors")
        if missing:
            raise InvalidRequest(
                f"{found.name} has no {TOKENIZER}, and could be packed, not served: use a repository with one, or save "
                "it with transformers' AutoTokenizer beside the weights in a folder, and pack that"
            )
        return files

    def check(self, found: Found, files: Iterable[File]) -> None:
        """InvalidRequest if headers already tell that the checkpoint cannot be packed."""
        shards = [file for file in files if file.is_shard]
        if self.offline or all(file.here for file in shards):
            return
        with explained(found.name, self.endpoint), ThreadPoolExecutor(HEADERS) as pool:
            headers = list(pool.map(lambda file: self._header(found, file), shards))
        tensors = {tensor.name: tensor for header in headers for tensor in header}
        for tensor in tensors.values():
            check_words(tensor)
        runs(tensors, found.geometry)

    def download(self, found: Found, files: Iterable[File], report: Progress) -> Path:
        """The checkpoint's folder, with every file in it. A connection that breaks goes on where it was; a hub that is
        away for longer is waited for, and the files that it had not sent whole begin anew."""
        files = tuple(files)
        missing = sum(file.size for file in files if not file.here)
        for pause in (*PAUSES_SECONDS, None):
            try:
                if missing:
                    self._download(found, files, report)
                break
            except ServiceRestarting:
                if pause is None:
                    raise
                report(0, missing, f"{found.name}, in {pause:.0f} s again")
                time.sleep(pause)
        return found.folder

    def prove(self, found: Found, files: Iterable[File], report: Progress) -> None:
        """CorruptExpert if a shard is not what the hub said of it; it is removed, and comes anew the next time. What it
        said is the name of the file that the cache links to; a cache without links does not tell."""
        shards = [file for file in files if file.is_shard]
        total, done = sum(file.size for file in shards), 0
        for file in shards:
            path = found.folder / file.name
            promised = Path(os.readlink(path)).name if path.is_symlink() else ""
            with path.open("rb") as opened:
                if _SHA256.fullmatch(promised) and hashlib.file_digest(opened, "sha256").hexdigest() != promised:
                    path.resolve().unlink()
                    path.unlink()
                    raise CorruptExpert(
                        f"{file.name} of {found.name} was damaged on its way, or since: it was removed, run the same "
                        "command again"
                    )
            done += file.size
            report(done, total, file.name)

    def free(self, found: Found) -> int:
        """Removes the checkpoint from the cache, except what another revision shares; how many bytes that were."""
        deletion = scan_cache_dir(self.cache).delete_revisions(found.commit)
        deletion.execute()
        return deletion.expected_freed_size

    def _download(self, found: Found, files: Sequence[File], report: Progress) -> None:
        files = tuple(replace(file, here=(found.folder / file.name).exists()) for file in files)
        total = sum(file.size for file in files if not file.here)
        with explained(found.name, self.endpoint):
            snapshot_download(
                found.name.id,
                revision=found.commit,
                endpoint=self.endpoint,
                cache_dir=self.cache,
                etag_timeout=PATIENCE_SECONDS,
                allow_patterns=[glob.escape(file.name) for file in files],
                max_workers=STREAMS,
                tqdm_class=_bar(lambda done: report(done, total, str(found.name))),
            )
        # Where the hub goes away between two requests, what is there is returned as if it were all.
        if missing := [file.name for file in files if not (found.folder / file.name).exists()]:
            raise ServiceRestarting(f"{found.name}: {', '.join(missing)} did not arrive; run the same command again")

    def _one(self, name: Name, revision: str, file: str) -> str:
        return hf_hub_download(
            name.id,
            file,
            revision=revision,
            endpoint=self.endpoint,
            cache_dir=self.cache,
            etag_timeout=PATIENCE_SECONDS,
            local_files_only=self.offline,
            tqdm_class=_bar(lambda _: None),
        )

    def _listed(self, found: Found, names: Iterable[str]) -> tuple[File, ...]:
        listed = snapshot_download(
            found.name.id,
            revision=found.commit,
            endpoint=self.endpoint,
            cache_dir=self.cache,
            etag_timeout=PATIENCE_SECONDS,
            allow_patterns=[glob.escape(name) for name in names],
            tqdm_class=_bar(lambda _: None),
            dry_run=True,
        )
        return tuple(File(file.filename, file.file_size or 0, not file.will_download) for file in listed)

    def _cached(self, found: Found, names: Iterable[str]) -> tuple[File, ...]:
        paths = {name: try_to_load_from_cache(found.name.id, name, self.cache, revision=found.commit) for name in names}
        return tuple(
            File(name, Path(path).stat().st_size, here=True) for name, path in paths.items() if isinstance(path, str)
        )

    def _header(self, found: Found, file: File) -> list[Tensor]:
        if file.here:
            return shard.tensors(found.folder / file.name)
        header = self._api.parse_safetensors_file_metadata(
            found.name.id, file.name, revision=found.commit, timeout=PATIENCE_SECONDS
        )
        place = Path(found.name.id) / file.name
        return [
            Tensor(name, tensor.dtype, tuple(tensor.shape), place, begin, end - begin)
            for name, tensor in header.tensors.items()
            for begin, end in (tensor.data_offsets,)
        ]

    def _absent(self, name: Name, files: Iterable[str]) -> InvalidRequest:
        return InvalidRequest(
            f"HF_HUB_OFFLINE is set, and {self.cache} lacks {', '.join(sorted(files))} of {name}: unset it, or bring "
            f"the cache from a machine where `hf download {name.id}` was run"
        )


def _bar(hear: Callable[[int], None]) -> type[Any]:
    """What huggingface_hub takes for a progress bar: it shows nothing, and tells how many bytes have been written."""
    lock = threading.Lock()

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._heard = options.get("name") == _BYTES
            self._done = 0
            super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, count: float | None = 1) -> None:
            with lock:
                self._done += int(count or 0)
                if self._heard:
                    hear(self._done)

    return Bar
