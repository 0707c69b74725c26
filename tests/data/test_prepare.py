"""Preparation of files: restart, exclusion, what is found and listed, and where it is written."""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import ExifTags, Image

from bench.cli import main
from bench.data import build, decode, load_dataset
from bench.data.build import held, make_pixels
from bench.data.checks import LEAK, NO_ROW, TWICE, TWO_LABELS, TWO_PATIENTS
from bench.data.dataset import DataSpec, cache_folder, find_reader, prepare_dataset
from bench.data.prepare import prepare_files
from bench.errors import DataError, UsageError
from tests.conftest import CsvFolder


def bench(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def prepared(folder: CsvFolder, out: Path | None = None) -> Path:
    spec = DataSpec.parse(folder.spec)
    return prepare_files(find_reader("csv"), spec, 32, out=out)


def problems(store: Path) -> dict[str, list[str]]:
    return json.loads((store / "problems.json").read_text())


def _drawing(item: int, size: int, notes: list[str]) -> tuple[np.ndarray, decode.Box]:
    """Item 3 of every ten has no picture."""
    if item % 10 == 3:
        raise DataError(f"no picture of {item}")
    rng = np.random.default_rng(item)
    return rng.integers(0, 255, (size, size)).astype(np.uint8), (0, 0, size, size)


class Killed(BaseException):
    pass


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "PART", 8)


@pytest.mark.parametrize("stop", [1, 12, 29])
def test_a_killed_preparation_goes_on_with_what_is_finished(
    tmp_path: Path, small_parts: None, stop: int
) -> None:
    calls: list[int] = []

    def until(item: int, size: int, notes: list[str]) -> tuple[np.ndarray, decode.Box]:
        if len(calls) == stop:
            raise Killed
        calls.append(item)
        return _drawing(item, size, notes)

    whole = make_pixels(tmp_path / "whole", range(40), _drawing, 16, plan="a")
    with pytest.raises(Killed):
        make_pixels(tmp_path / "cut", range(40), until, 16, plan="a")
    again: list[int] = []

    def counted(item: int, size: int, notes: list[str]) -> tuple[np.ndarray, decode.Box]:
        again.append(item)
        return _drawing(item, size, notes)

    resumed = make_pixels(tmp_path / "cut", range(40), counted, 16, plan="a")
    assert len(again) == 40 - stop // 8 * 8
    assert resumed.kept.tolist() == whole.kept.tolist()
    assert resumed.reasons == whole.reasons == {i: f"no picture of {i}" for i in (3, 13, 23, 33)}
    first, second = (np.load(tmp_path / name / "pixels.npy") for name in ("whole", "cut"))
    assert first.shape == (36, 16, 16)
    assert (first == second).all()


@pytest.mark.parametrize("appended", [0, 1, 3, 5])
def test_killed_while_the_parts_are_put_together_nothing_is_lost(
    tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch, appended: int
) -> None:
    unlink, done = Path.unlink, [0]

    def last_time(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".bin":
            if done[0] == appended:
                raise Killed
            done[0] += 1
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", last_time)
    if appended < 5:
        with pytest.raises(Killed):
            make_pixels(tmp_path / "s", range(40), _drawing, 16, plan="a")
    monkeypatch.setattr(Path, "unlink", unlink)
    resumed = make_pixels(tmp_path / "s", range(40), _drawing, 16, plan="a")
    expected = [_drawing(i, 16, [])[0] for i in range(40) if i % 10 != 3]
    assert (np.load(tmp_path / "s" / "pixels.npy") == np.stack(expected)).all()
    assert len(resumed.boxes) == 36
    again = make_pixels(tmp_path / "s", range(40), _drawing, 16, plan="a")
    assert (np.load(tmp_path / "s" / "pixels.npy") == np.stack(expected)).all()
    assert again.reasons == resumed.reasons


def test_parts_of_another_plan_are_not_used(tmp_path: Path, small_parts: None) -> None:
    make_pixels(tmp_path / "s", range(40), _drawing, 16, plan="a")
    other = make_pixels(tmp_path / "s", range(100, 110), _drawing, 16, plan="b")
    assert list(other.reasons.values()) == ["no picture of 103"]
    assert len(np.load(tmp_path / "s" / "pixels.npy")) == 9


def test_more_processes_make_the_same_store(
    tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    alone = make_pixels(tmp_path / "one", range(40), _drawing, 16, plan="a")
    both = make_pixels(
        tmp_path / "two", range(40), _drawing, 16, plan="a", jobs=2, tell=told.append
    )
    assert both.reasons == alone.reasons
    first, second = ((tmp_path / name / "pixels.npy").read_bytes() for name in ("one", "two"))
    assert first == second


def test_progress_says_the_rate_and_the_time_left(
    tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.data import progress

    monkeypatch.setattr(progress, "_EVERY", 0.0)
    told: list[str] = []
    make_pixels(tmp_path / "s", range(40), _drawing, 16, plan="a", tell=told.append)
    assert "of 40 images" in told[0]
    assert "a s" in told[0]
    assert "left" in told[0]


def test_a_full_disk_is_said_and_finished_parts_stay(
    tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, left = os.fsync, [5]

    def full(file: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        fsync(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"No space left on device.*finished parts are kept"):
        make_pixels(tmp_path / "s", range(40), _drawing, 16, plan="a")
    assert (tmp_path / "s" / "work" / "00001.json").exists()


def test_too_small_a_disk_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(DataError, match=r"0\.0 GB free"):
        make_pixels(tmp_path / "s", range(40), _drawing, 16, plan="a")
    assert not list((tmp_path / "s" / "work").glob("*.json"))


def test_a_second_preparation_waits_for_the_first(tmp_path: Path) -> None:
    told: list[str] = []

    def second() -> None:
        with held(tmp_path / "s", told.append):
            told.append("second")

    waiting = Thread(target=second)
    with held(tmp_path / "s", None):
        waiting.start()
        waiting.join(0.3)
        told.append("first")
    waiting.join(10)
    assert told == [
        f"Another process is preparing {tmp_path / 's'}; waiting for it.",
        "first",
        "second",
    ]


def test_of_many_preparations_one_at_a_time_holds_the_folder(tmp_path: Path) -> None:
    """Three wait, come and go; nobody takes the lock file away from those who wait for it."""
    inside: list[str] = []
    most: list[int] = []

    def prepare(name: str) -> None:
        for _ in range(15):
            with held(tmp_path / "s", None):
                inside.append(name)
                most.append(len(inside))
                time.sleep(0.001)
                inside.remove(name)

    threads = [Thread(target=prepare, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 45
    assert max(most) == 1
    assert (tmp_path / "s" / ".lock").exists()


def test_with_a_short_side_the_central_square_is_kept(
    csv_folder: CsvFolder, tmp_path: Path
) -> None:
    words = ["data", "prepare", "csv", "--root", str(csv_folder.root), "--out", "square"]
    made = bench(*words, "--short-side", "32")
    assert made.exit_code == 0, made.output
    square = load_dataset("square")
    assert square.size == 32
    assert (square.boxes == [0, 0, 32, 32]).all()
    whole = Image.open(csv_folder.root / square.images[0])
    assert whole.size == (50, 40)
    centre = whole.resize((40, 32), Image.Resampling.BICUBIC).crop((4, 0, 36, 32))
    assert np.abs(square.pixels[0].astype(int) - np.asarray(centre)).max() <= 1
    assert bench("data", "verify", "square").exit_code == 0
    again = bench(*words, "--size", "32")
    assert again.exit_code == 2
    assert "holds something else" in again.output
    assert bench(*words, "--short-side", "32").exit_code == 0


def _spoil(folder: CsvFolder) -> dict[str, str]:
    """Every kind of file that is no X-ray, in place of the frontal images -> what is said of it."""
    root = folder.root / "images"
    good = (root / "p0_0.png").read_bytes()
    grey = Image.open(root / "p1_0.png").copy()
    grey.save(root / "whole.jpg")
    jpeg = (root / "whole.jpg").read_bytes()
    names = [f"images/p{i}_0.png" for i in range(9)]
    (root / "p0_0.png").unlink()
    (root / "p1_0.png").write_bytes(good[: len(good) // 2])
    (root / "p2_0.png").write_bytes(b"")
    (root / "p3_0.png").write_bytes(b"<html>404</html>")
    grey.convert("CMYK").save(root / "p4_0.png", format="JPEG")
    coloured = grey.convert("P")
    coloured.putpalette([value for i in range(256) for value in (i, 255 - i, 40)])
    coloured.save(root / "p5_0.png")
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    (root / "p6_0.png").write_bytes(
        good[:12] + header + struct.pack(">I", zlib.crc32(header)) + good[33:]
    )
    Image.new("L", (40, 50), 128).save(root / "p7_0.png")
    (root / "p8_0.png").write_bytes(jpeg[: len(jpeg) // 2] + bytes(len(jpeg) // 2))
    (root / "whole.jpg").unlink()
    said = (
        "no such file", "not a readable image", "the file is empty", "not a readable image",
        "CMYK", "false colours", "absurdly large", "constant: every pixel is 128",
        "without its end marker",
    )  # fmt: skip
    return dict(zip(names, said, strict=True))


def test_every_kind_of_bad_file_is_named_with_its_reason_and_left_out(
    csv_folder: CsvFolder,
) -> None:
    bad = _spoil(csv_folder)
    dataset = load_dataset(csv_folder.spec, 32, skip_unreadable=True)
    assert set(dataset.unreadable) == set(bad)
    for name, said in bad.items():
        assert said in dataset.unreadable[name], name
    assert len(dataset) == len(dataset.pixels) == 3
    assert not set(dataset.images) & set(bad)
    assert dataset.pixels.max(axis=(1, 2)).min() > 0


def test_what_can_be_read_right_is_and_is_listed(csv_folder: CsvFolder) -> None:
    root = csv_folder.root / "images"
    grey = Image.open(root / "p0_0.png").copy()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    grey.rotate(180).save(root / "p0_0.png", exif=exif)
    grey.convert("P").save(root / "p1_0.png")
    Image.fromarray(np.asarray(grey, np.uint16) * 16).save(root / "p2_0.png")
    store = prepared(csv_folder)
    dataset = load_dataset(csv_folder.spec, 32)
    rows = [dataset.images.index(f"images/p{i}_0.png") for i in range(3)]
    upright, palette, deep = (dataset.pixels[row].astype(int) for row in rows)
    assert (upright == palette).all()
    span = int(upright.max()) - int(upright[dataset.boxes[0][0] + 1 : -6].min())
    assert np.corrcoef(upright.ravel(), deep.ravel())[0, 1] > 0.99
    assert span > 50
    found = problems(store)
    assert found["converted: turned as its EXIF says"] == ["images/p0_0.png"]
    assert found["converted: palette of greys"] == ["images/p1_0.png"]
    assert found["converted: more than 8 bits, scaled by its own range"] == ["images/p2_0.png"]


def test_the_same_picture_under_two_patients_is_a_leak(csv_folder: CsvFolder) -> None:
    root = csv_folder.root / "images"
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (8, 8)).astype(np.uint8)).resize((60, 60))
    smooth.save(root / "p0_0.png")
    smooth.save(root / "p5_0.png")
    smooth.save(root / "p7_0.png", format="JPEG", quality=80)
    csv_folder.rows[6]["image"] = "images/again.png"
    csv_folder.rows[6]["patient_id"] = "p0"
    smooth.save(root / "again.png")
    csv_folder.write()
    found = problems(prepared(csv_folder))
    assert found[TWICE] == ["images/p0_0.png = images/again.png"]
    assert found[LEAK] == [
        "images/p0_0.png (patient p0) = images/p5_0.png (patient p5)",
        "images/p0_0.png (patient p0) ~ images/p7_0.png (patient p7)",
    ]


def test_studies_that_contradict_themselves_are_listed(csv_folder: CsvFolder) -> None:
    for row in csv_folder.rows:
        row["study_id"] = row["image"]
    csv_folder.rows[0]["study_id"] = csv_folder.rows[2]["study_id"] = "s0"  # patients p0 and p1
    csv_folder.write()
    found = problems(prepared(csv_folder))
    assert found[TWO_LABELS] == ["s0"]
    assert found[TWO_PATIENTS] == ["s0"]


def test_images_without_a_row_are_listed(csv_folder: CsvFolder) -> None:
    (csv_folder.root / "images" / "p0_0.png").rename(csv_folder.root / "stray.PNG")
    store = prepared(csv_folder)
    assert problems(store)[NO_ROW] == ["stray.PNG"]  # lateral images have a row, though unused


def test_nothing_is_written_outside_the_store(csv_folder: CsvFolder, tmp_path: Path) -> None:
    def state() -> dict[str, int]:
        return {
            str(path): path.stat().st_mtime_ns
            for path in tmp_path.rglob("*")
            if "out" not in path.parts
        }

    cache = sorted(cache_folder().glob("csv-*"))
    (tmp_path / "out").mkdir()
    before = state()
    assert prepared(csv_folder, tmp_path / "out") == tmp_path / "out"
    assert state() == before
    assert sorted(cache_folder().glob("csv-*")) == cache
    assert not (tmp_path / "out" / "work").exists()


def test_a_folder_with_something_else_in_it_is_not_touched(
    csv_folder: CsvFolder, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pixels.npy").write_text("my own")
    with pytest.raises(UsageError, match=r"holds something else already \(pixels.npy\)"):
        prepared(csv_folder, tmp_path / "mine")
    assert (tmp_path / "mine" / "pixels.npy").read_text() == "my own"
    prepared(csv_folder, tmp_path / "out")
    csv_folder.rows[0]["Hernia"] = "0"
    csv_folder.write()
    with pytest.raises(UsageError, match="holds something else already"):
        prepared(csv_folder, tmp_path / "out")


def test_a_prepared_folder_is_opened_by_its_path(csv_folder: CsvFolder, tmp_path: Path) -> None:
    done = bench(
        "data", "prepare", "csv", "--root", str(csv_folder.root), "--size", "32",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "12 images of 12 patients" in done.output
    assert "left out: 12 images, lateral view" in done.output
    by_path = load_dataset(str(tmp_path / "out"))
    assert by_path.fingerprint == load_dataset(f"store:{tmp_path / 'out'}").fingerprint
    assert by_path.fingerprint == load_dataset(csv_folder.spec, 32).fingerprint
    assert prepare_dataset(str(tmp_path / "out"), 999)[0] == tmp_path / "out"
    done = bench("data", "prepare", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert "is prepared already" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prepare", "cvs", "--root", "."], "Did you mean 'csv'"),
        (["prepare", "csv", "--root", ".", "--option", "view=all"], "Did you mean 'views'"),
        (["prepare", "csv", "--root", ".", "--labels", "."], "Unknown option of 'csv' 'labels'"),
        (["prepare", "nih"], "Where is it?"),
        (["prepare", "phantom", "--root", "."], "no --root, --out"),
        (["export", "x", "--data", "phantom:m=3"], "takes key=value options"),
        (["show", "--data", "."], "is a folder, but no prepared data set"),
        (["export", ".", "--data", "phantom:n=60,size=32"], "not an empty folder"),
    ],
)
def test_wrong_use_is_said(csv_folder: CsvFolder, words: list[str], said: str) -> None:
    done = bench("data", *words)
    assert done.exit_code == 2, done.output
    assert said in done.output


def test_an_image_that_was_mended_is_used_by_the_next_run(csv_folder: CsvFolder) -> None:
    image = csv_folder.root / "images" / "p0_0.png"
    content = image.read_bytes()
    image.write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        load_dataset(csv_folder.spec, 32)
    image.write_bytes(content)
    assert len(load_dataset(csv_folder.spec, 32)) == 12


def test_when_no_image_can_be_read_the_first_reason_is_said_and_the_next_run_tries_again(
    csv_folder: CsvFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(path: Path, size: int, notes: list[str], *, cropped: bool) -> None:
        raise DataError("no program for this compression")

    with monkeypatch.context() as patch:
        patch.setattr(decode, "read_square", unreadable)
        said = r"None of the 12 images .*images/p0_0.png: no program .*and 11 more"
        with pytest.raises(DataError, match=said):
            load_dataset(csv_folder.spec, 32, skip_unreadable=True)
    assert len(load_dataset(csv_folder.spec, 32)) == 12


def test_a_size_that_is_none_is_refused(csv_folder: CsvFolder) -> None:
    with pytest.raises(UsageError, match="16 to 2048"):
        load_dataset(csv_folder.spec, 8)
