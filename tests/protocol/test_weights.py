"""Weights are read strictly, from every format, and nothing in a file is run."""

from __future__ import annotations

import argparse
import hashlib
import io
import pathlib
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.errors import MethodError, UsageError
from bench.protocol.weights import fit_of, load_checkpoint, load_strictly, misfit

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
RAN = Path("ran")


def _equal(state: Any, expected: dict[str, Tensor] = STATE) -> bool:
    return list(state) == list(expected) and all(
        torch.equal(state[key], value) for key, value in expected.items()
    )


def _npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **{key: value.numpy() for key, value in STATE.items()})


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("w.pt", lambda path: torch.save(STATE, path)),
        ("w.pth", lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False)),
        ("pytorch_model.bin", lambda path: torch.save(STATE, path)),
        ("w.safetensors", lambda path: save_file(STATE, path)),
        ("w.npz", _npz),
        ("misnamed.bin", lambda path: save_file(STATE, path)),
    ],
)
def test_every_format_gives_the_same_tensors(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    write(tmp_path / name)
    checkpoint = load_checkpoint(name)
    assert _equal(dict(sorted(checkpoint.state.items(), reverse=True)))
    assert checkpoint.digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert (checkpoint.folder, checkpoint.name, checkpoint.named) == (tmp_path, name, False)


def test_containers_and_the_prefix_of_data_parallel_are_taken_off() -> None:
    inside = {f"module.{key}": value for key, value in STATE.items()}
    for content in (
        {"epoch": 3, "state_dict": inside, "optimizer": {"state": {}}},
        {"model": inside, "config": {"lr": 1e-4}},
        {"model": {"state_dict": inside}},
    ):
        torch.save(content, "w.pt")
        assert _equal(load_checkpoint("w.pt").state)


def test_a_key_that_begins_with_module_among_others_is_kept() -> None:
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(state, "w.pt")
    assert _equal(load_checkpoint("w.pt").state, state)


def test_plain_values_beside_the_weights_are_allowed_by_a_list() -> None:
    """As SLIP's files have them: settings in a Namespace, with a path, and a numpy number."""
    settings = argparse.Namespace(lr=3e-3, output=pathlib.PosixPath("/out"))
    content = {"state_dict": STATE, "args": settings, "best_acc1": np.float64(37.1)}
    for zipped in (True, False):
        torch.save(content, "w.pt", _use_new_zipfile_serialization=zipped)
        assert _equal(load_checkpoint("w.pt").state)


class _Hostile:
    """Runs code when a careless reader unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({str(RAN)!r}, 'w').close()",))


class _HostileNamespace(argparse.Namespace):
    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, (f"open({str(RAN)!r}, 'w').close()",))


def _torchscript(path: Path, replace_pickle: bytes | None = None) -> dict[str, Tensor]:
    """A TorchScript archive, its `data.pkl` replaced where asked; gives its state_dict."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
            self.scale = nn.Parameter(torch.randn(3).half())
            self.register_buffer("input_resolution", torch.tensor(224))

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images)

    traced = torch.jit.trace(Model().eval(), torch.zeros(1, 1, 4, 4))
    traced.save(str(path))
    if replace_pickle is not None:
        with zipfile.ZipFile(path) as old:
            members = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path, "w") as new:
            for name, content in members.items():
                new.writestr(name, replace_pickle if name.endswith("/data.pkl") else content)
    return dict(traced.state_dict())


def _hostile_files() -> dict[str, Callable[[Path], Any]]:
    bare = pickle.dumps({"state_dict": {"a": _Hostile()}})

    def object_array(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, a=np.array([_Hostile()], dtype=object))

    return {
        "zip.pt": lambda p: torch.save({"state_dict": STATE, "x": _Hostile()}, p),
        "old.pt": lambda p: torch.save({"x": _Hostile()}, p, _use_new_zipfile_serialization=False),
        "namespace.pt": lambda p: torch.save({"m": STATE, "args": _HostileNamespace()}, p),
        "bare.bin": lambda p: p.write_bytes(bare),
        "script.pt": lambda p: _torchscript(p, bare),
        "objects.npz": object_array,
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit is how such files are made
@pytest.mark.parametrize("name", list(_hostile_files()))
def test_a_hostile_file_runs_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    _hostile_files()[name](path)
    with pytest.raises(MethodError, match=name) as refused:
        load_checkpoint(name)
    assert not RAN.exists()
    if name in ("zip.pt", "old.pt", "script.pt"):
        assert "exec" in str(refused.value)  # what pickle calls inside for a class's __reduce__
    if name == "zip.pt":  # the same file does harm where it is read carelessly
        torch.load(path, weights_only=False)
        assert RAN.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit is how such files are made
def test_a_torchscript_archive_gives_its_tensors(tmp_path: Path) -> None:
    expected = _torchscript(tmp_path / "ViT-B-32.pt")
    state = load_checkpoint("ViT-B-32.pt").state
    assert set(state) == set(expected)
    assert all(torch.equal(state[key], value) for key, value in expected.items())
    assert state["scale"].dtype == torch.float16


def test_a_torchscript_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    """A stride of zero would make gigabytes of four bytes."""

    class Storage:
        pass

    class Writer(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            told = ("storage", torch.FloatStorage, "0", "cpu", 1)
            return told if isinstance(thing, Storage) else None

    stream = io.BytesIO()
    rebuild = torch._utils._rebuild_tensor_v2

    class Huge:
        def __reduce__(self) -> tuple[Any, ...]:
            return (rebuild, (Storage(), 0, (2**40,), (0,), False, {}))

    Writer(stream, protocol=2).dump(Huge())
    _torchscript(tmp_path / "huge.pt", stream.getvalue())
    with pytest.raises(MethodError, match="larger than its storage"):
        load_checkpoint("huge.pt")


def _cut(path: Path, write: Callable[[Path], Any]) -> None:
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda p: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda p: p.write_text("\n<!DOCTYPE html><html>quota exceeded</html>"), "is a web page"),
        (lambda p: p.write_text("<html><head>Virus scan warning</head>"), "is a web page"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_bytes(b"\x00garbage" * 99), "cannot be read as weights"),
        (lambda p: _cut(p, lambda q: torch.save(STATE, q)), "cut short"),
        (
            lambda p: _cut(p, lambda q: torch.save(STATE, q, _use_new_zipfile_serialization=False)),
            "cut short",
        ),
        (lambda p: _cut(p, lambda q: save_file(STATE, q)), "cut short"),
        (lambda p: torch.save([1, 2], p), "holds a list"),
        (lambda p: torch.save({"epoch": 1, "towers": {"a": STATE}}, p), "entries are: epoch"),
    ],
)
def test_what_is_not_weights_is_said_with_what_to_do(
    write: Callable[[Path], Any], said: str, tmp_path: Path
) -> None:
    write(tmp_path / "w.bin")
    with pytest.raises(MethodError, match=said) as caught:
        load_checkpoint("w.bin")
    assert "w.bin" in str(caught.value)


def test_a_zip_of_files_names_the_file_inside(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "pytorch_model.bin")
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.write(tmp_path / "pytorch_model.bin", "vit/pytorch_model.bin")
    with pytest.raises(MethodError, match=r"name the file inside: vit/pytorch_model\.bin"):
        load_checkpoint("w.zip")


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        load_checkpoint(str(tmp_path))
    with pytest.raises(UsageError, match="there is no such file"):
        load_checkpoint("none.pt")
    with pytest.raises(UsageError, match="there is no folder"):
        load_checkpoint("local-dir:none")


def _folder(path: Path, content: bytes = b"{}") -> str:
    path.mkdir()
    (path / "config.json").write_bytes(content)
    save_file(STATE, path / "model.safetensors")
    (path / "README.md").write_text(str(path))
    return f"local-dir:{path}"


def test_a_folder_is_told_by_its_files_wherever_it_lies(tmp_path: Path) -> None:
    first, second, other = (
        load_checkpoint(_folder(tmp_path / name, content)).digest
        for name, content in (("a", b"{}"), ("b", b"{}"), ("c", b"[]"))
    )
    assert first == second != other


def test_a_hub_model_is_fetched_into_the_cache_and_is_then_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    local = _folder(tmp_path / "snapshot")
    asked = {}

    def fetch(name: str, **options: Any) -> str:
        asked[name] = options["revision"]
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    checkpoint = load_checkpoint("hf-hub:owner/name@v2")
    assert asked == {"owner/name": "v2"}
    assert (checkpoint.named, checkpoint.state) == (True, {})
    assert checkpoint.digest == load_checkpoint(local).digest


def test_without_network_it_says_what_to_fetch_and_where_to_put_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_: Any, **__: Any) -> None:
        raise LocalEntryNotFoundError("Cannot reach the Hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(MethodError, match="hf download owner/name --local-dir name") as caught:
        load_checkpoint("hf-hub:owner/name")
    assert "--weights local-dir:name" in str(caught.value)


def test_strict_loading_names_what_does_not_fit() -> None:
    module = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(1, 1)})
    state = STATE | {"a.bias": torch.ones(5), "c.weight": torch.ones(1)}
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(MethodError) as caught:
        load_strictly(module, state, where="w.pt")
    said = str(caught.value)
    assert "2 missing keys (b.weight, b.bias)" in said
    assert "1 unexpected key (c.weight)" in said
    assert "1 misshapen key (a.bias: 5, 2)" in said
    assert "bench weights w.pt" in said
    assert _equal(module.state_dict(), before)


def test_half_precision_becomes_the_modules_own_and_harmless_keys_are_dropped() -> None:
    module = nn.ModuleDict({"a": nn.Linear(3, 2)})
    state = {key: value.half() for key, value in STATE.items()}
    state["x.position_ids"] = torch.arange(4)
    load_strictly(module, state, where="w.pt", harmless=("*.position_ids",))
    assert _equal(module.state_dict())
    assert module["a"].weight.dtype == torch.float32


def test_a_fit_counts_what_strict_loading_would_meet() -> None:
    expected = {"a.weight": torch.empty(2, 3, device="meta"), "z": torch.empty(1, device="meta")}
    fit = fit_of(expected, STATE, sizes="small", harmless=("*.bias",))
    assert (fit.missing, fit.unexpected, fit.harmless) == (("z",), (), ("a.bias",))
    assert not fit.exact
    assert misfit(fit) == "1 missing key (z)"


def test_a_long_list_of_keys_is_cut() -> None:
    expected = {f"k{i}": torch.empty(1) for i in range(30)}
    said = misfit(fit_of(expected, {}, sizes=""))
    assert said.startswith("30 missing keys (k0, ")
    assert said.endswith("k7, ...)")


def test_a_changed_file_has_another_digest(tmp_path: Path) -> None:
    torch.save(STATE, "a.pt")
    first = load_checkpoint("a.pt").digest
    shutil.copy("a.pt", "b.pt")
    assert load_checkpoint("b.pt").digest == first
    torch.save(STATE | {"more": torch.ones(1)}, "a.pt")
    assert load_checkpoint("a.pt").digest != first
