"""Checkpoints: fetched over HTTP from a hub of our own, whole, once, and not before they are known to be of use."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub.conftest import NAME, SHARDS
from tests.hub.fake import TOKEN, FakeHub
from tests.pack.checkpoints import random_words, write
from tests.pack.heard import Heard
from zipmoe.cli import source
from zipmoe.errors import CorruptExpert, DiskFull, InvalidRequest, ServiceRestarting
from zipmoe.hub import checkpoints
from zipmoe.hub.checkpoints import Hub
from zipmoe.hub.failure import explain
from zipmoe.hub.name import Name
from zipmoe.pack.verify import verify

SMALL = Name(NAME)


def packed(name: Name = SMALL, destination: Path | None = None, free: bool = False) -> Path:
    return source.pack_from_hub(name, destination, "zstd", free)[0]


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_a_model_is_fetched_and_packed(hub: FakeHub, small: Path) -> None:
    pack = packed()
    assert verify(pack, small).tensors > 0
    assert (pack / "chat_template.jinja").read_text() == "{{ messages }}"
    assert hub.fetched(".safetensors") == SHARDS


def test_only_what_is_needed_is_fetched(hub: FakeHub) -> None:
    packed()
    asked = " ".join(hub.asked)
    assert not any(file in asked for file in ("README.md", "pytorch_model.bin", "consolidated.safetensors"))


def test_progress_is_of_the_bytes_that_are_fetched(hub: FakeHub, cache: Path) -> None:
    of = Hub(hub.address, cache)
    found = of.find(SMALL)
    files, heard = of.files(found), Heard()
    total = sum(file.size for file in files if not file.here)
    of.download(found, files, heard)
    assert heard.done == sorted(heard.done)
    assert heard.done[-1] == heard.total == total
    assert all(file.here for file in of.files(found))


def test_the_next_time_nobody_is_asked(hub: FakeHub) -> None:
    pack = packed()
    hub.asked.clear()
    assert source.model(NAME) == pack
    assert not hub.asked


def test_a_name_without_a_pack_gets_one(hub: FakeHub, small: Path) -> None:
    verify(source.model(NAME), small)
    assert hub.fetched(".safetensors") == SHARDS


def test_packed_again_what_is_there_is_used(hub: FakeHub, cache: Path, tmp_path: Path) -> None:
    packed()
    hub.asked.clear()
    assert packed(destination=tmp_path / "mine").is_dir()
    assert hub.fetched(".safetensors") == 0
    with pytest.raises(InvalidRequest, match=r"mine exists: remove it"):
        packed(destination=tmp_path / "mine")
    assert cache.is_dir()


def test_a_new_commit_is_a_new_pack_and_only_when_asked_for(hub: FakeHub, small: Path, tmp_path: Path) -> None:
    old = packed()
    first = hub.repository(NAME).refs["main"]
    newer = write(tmp_path / "newer", random_words(6), shards=SHARDS)
    hub.repository(NAME).commit(newer)
    assert source.model(NAME) == old
    new = packed()
    assert new != old
    verify(new, newer)
    assert source.model(NAME) == new
    assert source.model(f"{NAME}@{first}") == old
    verify(old, small)


def test_a_revision_is_a_model_of_its_own(hub: FakeHub, tmp_path: Path) -> None:
    other = write(tmp_path / "other", random_words(7))
    commit = hub.repository(NAME).commit(other, "v2")
    tagged = packed(Name(NAME, "v2"))
    verify(tagged, other)
    assert packed(Name(NAME, commit)) == tagged
    assert packed() != tagged


def test_offline_with_everything_here(
    hub: FakeHub, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed()
    offline(monkeypatch)
    hub.dead = True
    verify(packed(destination=tmp_path / "again"), small)


def test_offline_without_it(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch)
    with pytest.raises(InvalidRequest, match=rf"HF_HUB_OFFLINE is set, and .* lacks config\.json of {NAME}: unset it"):
        packed()
    assert not hub.asked


@pytest.mark.usefixtures("hub")
def test_offline_with_a_part_of_it(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed()
    for file in ("model-00002-of-00003.safetensors", "tokenizer.json"):
        next(cache.rglob(file)).unlink()
    offline(monkeypatch)
    with pytest.raises(
        InvalidRequest, match=r"lacks model-00002-of-00003\.safetensors, tokenizer\.json of org/small-moe"
    ):
        packed(destination=tmp_path / "again")


def test_a_connection_that_breaks_goes_on_where_it_was(
    hub: FakeHub, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    file = f"model-00001-of-0000{SHARDS}.safetensors"
    hub.cuts[file] = [3000, 2000]
    verify(packed(), small)
    assert hub.ranges[-2:] == ["bytes=3000-", "bytes=5000-"]


def test_a_hub_that_dies_leaves_what_was_fetched_whole(hub: FakeHub, small: Path) -> None:
    last = f"model-0000{SHARDS}-of-0000{SHARDS}.safetensors"
    hub.cuts[last], hub.dies_when_cut = [3000], True
    with pytest.raises(
        ServiceRestarting, match=r"org/small-moe cannot be fetched from .* HF_ENDPOINT .* fetched whole is kept"
    ):
        packed()
    hub.dead, hub.dies_when_cut = False, False
    hub.asked.clear()
    verify(packed(), small)
    assert hub.asked[f"GET {last}"] == 1
    assert hub.fetched(".safetensors") < SHARDS


def test_a_hub_that_comes_back_is_waited_for(hub: FakeHub, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last, paused = f"model-0000{SHARDS}-of-0000{SHARDS}.safetensors", []
    hub.cuts[last], hub.dies_when_cut = [3000, 3000], True

    def sleep(seconds: float) -> None:
        paused.append(seconds)
        hub.dead = False

    monkeypatch.setattr(checkpoints, "PAUSES_SECONDS", (1.0, 2.0, 3.0))
    monkeypatch.setattr(time, "sleep", sleep)
    verify(packed(), small)
    assert paused == [1.0, 2.0]


def test_a_disk_that_fills_up_is_not_the_networks_fault() -> None:
    for error in (OSError(28, "No space left on device"), RuntimeError("I/O error: No space left on device")):
        assert isinstance(explain(error, SMALL, "https://hub"), DiskFull)


def test_a_shard_that_was_damaged_comes_again(hub: FakeHub, small: Path) -> None:
    file = f"model-00001-of-0000{SHARDS}.safetensors"
    real = (small / file).read_bytes()
    hub.forged[file] = real[:-1] + bytes([real[-1] ^ 1])
    with pytest.raises(CorruptExpert, match=rf"{file} of {NAME} was damaged on its way"):
        packed()
    hub.forged.clear()
    verify(packed(), small)


def test_a_small_disk_is_said_before_a_shard_is_fetched(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "free_bytes", lambda _: 20_000)
    with pytest.raises(DiskFull, match=r"0\.1 MiB are needed, .* to fetch and about .* to pack, and 0\.0 MiB are free"):
        packed()
    assert hub.fetched(".safetensors") == 0


@pytest.mark.usefixtures("hub")
def test_an_unknown_id() -> None:
    with pytest.raises(InvalidRequest, match=r"org/none is no folder here, and no model at http.*check the spelling"):
        packed(Name("org/none"))
    with pytest.raises(InvalidRequest, match=r"org/small-moe has no revision 'v9'"):
        packed(Name(NAME, "v9"))


def test_what_is_only_looked_at_must_be_packed(hub: FakeHub) -> None:
    with pytest.raises(InvalidRequest, match=f"{NAME} is not packed here: zipmoe pack {NAME}"):
        source.kept(NAME)
    assert not hub.asked
    pack = packed()
    assert source.kept(NAME) == pack


@pytest.mark.usefixtures("hub")
def test_a_checkpoint_is_fetched_to_compare_with(small: Path) -> None:
    folder = source.checkpoint(NAME)
    assert (folder / "config.json").read_bytes() == (small / "config.json").read_bytes()
    assert source.shelf().find(SMALL) is None


def test_a_checkpoint_is_told_from_a_pack(small: Path) -> None:
    with pytest.raises(
        InvalidRequest, match=rf"{small} is a checkpoint; pack it first: zipmoe pack {small} small\d+\.zip"
    ):
        source.model(str(small))


def test_a_folder_goes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert source.model(NAME) == Path(NAME)


def test_neither_a_folder_nor_a_name() -> None:
    with pytest.raises(InvalidRequest, match=r"\./nowhere is no folder, and no hub id"):
        source.model("./nowhere")


@pytest.mark.parametrize("token", [None, "hf_stranger"])
def test_a_gated_model_says_how_to_get_in(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, token: str | None) -> None:
    hub.repository(NAME).gated = True
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(
        InvalidRequest, match=rf"is gated: accept its terms at {hub.address}/{NAME}, log in with `hf auth"
    ):
        packed()


def test_a_token_opens_what_is_gated_and_stays_with_the_hub(
    hub: FakeHub, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repository(NAME).gated = hub.repository(NAME).hidden = True
    with pytest.raises(InvalidRequest, match="if it is private, log in"):
        packed()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    verify(packed(), small)
    assert not hub.tokens_elsewhere


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, InvalidRequest, r"refuses org/small-moe \(401\): log in"),
        (403, InvalidRequest, r"refuses org/small-moe \(403\): log in"),
        (429, ServiceRestarting, "answers 429 for org/small-moe: wait"),
        (503, ServiceRestarting, "answers 503 for org/small-moe: wait"),
    ],
)
def test_a_hub_that_refuses(hub: FakeHub, status: int, kind: type[Exception], says: str) -> None:
    hub.status = status
    with pytest.raises(kind, match=says):
        packed()


def test_a_hub_that_is_away(hub: FakeHub) -> None:
    hub.dead = True
    with pytest.raises(ServiceRestarting, match=r"org/small-moe cannot be fetched from .*check network and proxy"):
        packed()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda folder: write(folder, random_words(8), model_type="gpt2"),
            "'gpt2' is not supported; supported are: olmoe",
        ),
        (lambda folder: (folder / "config.json").unlink(), r"has no config\.json: use a checkpoint for transformers"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "has neither model.safetensors nor model.safetensors.index",
        ),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"has no tokenizer\.json, and could be packed, not"),
        (lambda folder: half(folder), r"org/bad/model\.safetensors: .* is F16\. FP16 has no lossless split here yet"),
        (lambda folder: write(folder, random_words(8), num_hidden_layers=3), r"the checkpoint lacks model\.layers\.2"),
    ],
    ids=["family", "config", "weights", "tokenizer", "numbers", "layers"],
)
def test_what_cannot_be_packed_is_refused_before_a_shard_is_fetched(
    hub: FakeHub, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    spoil(write(tmp_path / "bad", random_words(8)))
    hub.repository("org/bad").commit(tmp_path / "bad")
    with pytest.raises(InvalidRequest, match=says):
        packed(Name("org/bad"))
    assert hub.fetched(".safetensors") == 0


def test_a_family_is_refused_before_a_shard_is_heard_of(hub: FakeHub, tmp_path: Path) -> None:
    hub.repository("org/bad").commit(write(tmp_path / "bad", random_words(8), model_type="gpt2"))
    with pytest.raises(InvalidRequest):
        packed(Name("org/bad"))
    assert not [what for what in hub.asked if "safetensors" in what]


def test_an_unknown_codec_is_said_before_anything_is_asked(hub: FakeHub) -> None:
    with pytest.raises(InvalidRequest, match="codec 'zip' is unknown"):
        source.pack_from_hub(SMALL, None, "zip", free=False)
    assert not hub.asked


def test_the_checkpoint_is_removed_if_that_is_asked_for(hub: FakeHub, cache: Path, small: Path) -> None:
    packed()
    assert list(cache.rglob("*.safetensors"))
    pack = packed(free=True)
    assert not list(cache.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) < 1000
    hub.asked.clear()
    assert source.model(NAME) == pack
    assert not hub.asked
    verify(pack, small)


def half(folder: Path) -> None:
    """The same in FP16."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"BF16"', b'"F16" '))
