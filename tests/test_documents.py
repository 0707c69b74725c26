"""Every command in the documents is run: for real on small drawn data where that is affordable,
else as far as it can go without what is not here. What is changed for that stands in the tables."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
import types
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from bench.cli import main
from bench.data import dataset as dataset_module
from bench.data.dataset import prepare_dataset
from tests.conftest import REPOSITORY, CsvFolder
from tests.documents import DOCUMENTS, Command, commands_of
from tests.methods.test_chexzero import _state as upstream_state
from tests.test_readme import adapter

SMALL = "phantom:n=120,size=32"
STUDY = "phantom-tiny"


class Rule(NamedTuple):
    """How commands are tried: the first rule whose pattern is found in the command holds."""

    pattern: str
    how: str
    """`run`; `plan`: bench run becomes bench plan, which does all but train; `slow`: run in the
    slow suite, else parsed; `parse`: options and values only."""
    why: str = ""


RULES = (
    Rule(r"^bench run .*--weights (?!FILE --track)", "parse", "weights with terms of their own"),
    Rule(r"^bench run .*--test-data", "parse", "tests/runs/test_external.py runs it"),
    Rule(r"^bench run .*--(executor|jobs|device)", "parse", "tests/runs/test_{ray,slurm,local}.py"),
    Rule(r"^bench plan .*--device", "parse", "there may be no GPU"),
    Rule(r"^bench run", "plan", "trained in test_the_quick_start, test_readme and test_main_job"),
    Rule(r"^bench table .*--on", "parse", "tests/runs/test_external.py runs it"),
    Rule(r"^bench table --table 3", "parse", "rows of the ablation take minutes to train"),
    Rule(r"^bench (table|plan|power|status|methods|weights FILE|new-method)", "run"),
    Rule(r"^bench (report|figures)", "slow", "tests/report/test_{page,figures}.py run it"),
    Rule(r"^bench (export|import|predict)", "run"),
    Rule(r"^bench reproduce", "slow", "tests/runs/test_reproduce.py runs it"),
    Rule(r"^bench check .*--weights", "parse", "weights with terms of their own are not here"),
    Rule(r"^bench check", "slow", "test_readme.py checks an adapter"),
    Rule(r"^bench data prepare mimic-cxr-lt", "run"),
    Rule(r"^bench data prepare", "parse", "tests/data/readers reads trees in each format"),
    Rule(r"^bench data", "run"),
    Rule(r"^python -m tests\.parity cxrcml", "run"),
    Rule(r"^python -m tests\.(parity|perf|campaigns)", "parse", "minutes to hours, or upstream's"),
)

# What a document's words stand for in the folder that `world` makes.
PLACES = {
    "mimic-cxr-jpg/2.1.0": "published/mimic-cxr-jpg",
    "cxr-lt-2.0.0": "published/cxr-lt",
    "cxr-lt-multi-label-long-tailed-classification-on-chest-x-rays-2.0.0": "published/cxr-lt",
    "mimic-cxr-reports.zip": "published/reports",
    "csv:path/to/folder": "csv:scans",
    "csv:PATH": "csv:scans",
    "csv:openreal": "csv:scans",
    "mimic": "prepared",
    "mimic-cxr-lt": "mimic-cxr-lt:published/mimic-cxr-jpg,labels=published/cxr-lt",
    "NAME:DIR,KEY=VALUE": "mimic-cxr-lt:published/mimic-cxr-jpg,labels=published/cxr-lt",
    "A": "prepared",
    "STORE": "prepared",
    "phantom": SMALL,
    "FILE": "weights.pt",
    "FILE.npz": str(REPOSITORY / "tests/fixtures/cxrcml.npz"),
    "my.toml": str(REPOSITORY / "bench/studies/paper.toml"),
    "bench/studies/open-questions.toml": str(REPOSITORY / "bench/studies/open-questions.toml"),
    # The name that the small study has for everybody.
    "phantom-tiny.bundle.json": "phantom-tiny-folds2.bundle.json",
    "RESULTS/STUDY": f"results/{STUDY}",
    "METHOD:ROW": "cxrcml",
    "NAME": "my_method",
    "M": "chexzero",
    "key=value": "nu=4",
    "other.dcm": "other.png",
}
DATA = {"mimic", "mimic-cxr-lt", "A", "phantom"}  # after --data; elsewhere they are other things
# Larger data than a test needs.
SIZES = {
    "phantom:n=600,size=224": "phantom:n=60,size=32",
    "phantom:n=240,size=64,seed=1": "phantom:n=60,size=32,seed=1",
}


def tried(command: Command) -> list[str]:
    """The command's words with everything replaced that stands for something of the reader's."""
    words: list[str] = []
    for before, word in zip(("", *command.words), command.words, strict=False):
        word = SIZES.get(word, word)
        if word in PLACES and (word not in DATA or before == "--data"):
            word = PLACES[word]
        if before == "verify":
            word = "prepared"
        if before == "--method" and word == "my_method":  # NAME, of a method
            word = "chexzero"
        words.append(word)
    if words[:2] in (["bench", "run"], ["bench", "plan"]):
        if not {"--method", "--table", "--study"} & set(words):  # told of within a sentence
            words += ["--method", "cxrcml"]
        if "--data" not in words:
            words += ["--data", SMALL]
            if "--study" not in words:
                words += ["--study", STUDY, "--folds", "2"]
    if words[:3] == ["bench", "data", "show"]:
        words += ["--count", "2", "--size", "32"]
        if "--data" not in words:
            words += ["--data", SMALL]
    return words


def rule_of(command: Command) -> Rule:
    for rule in RULES:
        if re.search(rule.pattern, str(command)):
            return rule
    raise AssertionError(f"{command.document}: no rule in {__name__} says how to try `{command}`")


def bench(*words: str) -> Result:
    return CliRunner().invoke(main, words, catch_exceptions=False)


def parse_bench(words: Sequence[str]) -> None:
    """Reads the words as `bench` would, down to each option's value, and stops there."""
    command: click.Command = main
    context = None
    rest = list(words)
    while isinstance(command, click.Group):
        name, rest = rest[0], rest[1:]
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"there is no command '{name}'"
        command = found
    context = command.make_context(command.name, rest)
    context.close()


class Parsed(Exception):
    """Raised when a module has read its command line."""


def parse_module(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads the words as the module would; one without options has to exist."""
    name, *rest = words
    if name == "tests.parity":
        which, file = rest
        assert which == "my_method" or (REPOSITORY / f"tests/parity/{which}.py").is_file()
        assert file
        return
    assert find_spec(name) is not None, f"there is no module {name}"
    module = importlib.import_module(name)
    if "parse_args" not in Path(str(module.__file__)).read_text():
        assert not rest
        return

    def stop(parser: ArgumentParser, *_: object) -> None:
        unknown = parser.parse_known_args(rest)[1]
        assert not unknown, f"{name} has no {' '.join(unknown)}"
        raise Parsed

    monkeypatch.setattr(ArgumentParser, "parse_args", stop)
    with pytest.raises(Parsed):
        module.main()


def in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Trials without worker processes, which take seconds to start; test_main_job.py has them."""
    from bench.runs.executors import do_trial

    def here(specs, work, ended):  # type: ignore[no-untyped-def]
        for spec in specs:
            ended(spec, do_trial(spec, work))

    for module in ("launch", "reproduce"):
        patch.setattr(f"bench.runs.{module}.find_executor", lambda name: here)


@pytest.fixture(scope="module", autouse=True)
def _as_before() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the documents take to be there: a study, a store, a data set as published, images."""
    import torch

    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        index = [str(c) for c in commands_of(REPOSITORY / "docs/index.md") if c.copied]
        trained = [line for line in index if line.startswith("bench run")]
        assert len(trained) == 2
        for line in trained:
            words = [*line.split()[1:], "--data", SMALL, "--study", STUDY, "--folds", "2"]
            done = bench(*words, "--keep", "model")
            assert done.exit_code == 0, done.output
        assert bench("data", "export", "published", "--data", "phantom:n=60,size=32").exit_code == 0
        assert bench("table").exit_code == 0
    store, dataset = prepare_dataset("phantom:n=60,size=32", 32)
    shutil.copytree(store, folder / "prepared")
    for name in ("chest.png", "other.png"):
        Image.fromarray(dataset.pixels[0]).save(folder / name)
    CsvFolder(folder / "scans")
    (folder / "prototypes.py").write_text(adapter())
    torch.save(upstream_state(0), folder / "weights.pt")
    return folder


def names_only(command: Command) -> bool:
    """Whether a sentence speaks of a command without saying what to do with it."""
    group: click.Command | None = main
    for word in command.words[1:]:
        group = group.commands.get(word) if isinstance(group, click.Group) else None
        if group is None:
            return False
    return command.words[0] == "bench" and not command.copied


def attempt(command: Command, slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries a command as its rule says.

    Raises:
        AssertionError: it fails, or there is no rule.
        click.ClickException: it cannot be parsed.
    """
    words = tried(command)
    if names_only(command):
        assert bench(*command.words[1:], "--help").exit_code == 0
        return
    how = rule_of(command).how
    if how == "slow":
        how = "run" if slow else "parse"
    if words[0] == "bench":
        parse_bench(words[1:])
        if how == "plan":
            words[1] = "plan"
        if how != "parse":
            done = bench(*words[1:])
            assert done.exit_code == 0, f"as {' '.join(words)}\n{done.output}"
    elif how == "parse":
        with monkeypatch.context() as patch:
            parse_module(words[2:], patch)
    else:
        assert importlib.import_module(f"{words[2]}.__main__").main(words[3:]) == 0


def failures(document: Path, slow: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found = []
    for command in commands_of(document):
        try:
            attempt(command, slow, monkeypatch)
        except AssertionError as error:
            found.append(f"{command}: {error}")
        except click.ClickException as error:
            found.append(f"{command}: {error.format_message()}")
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_of_a_document_runs(
    document: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    assert failures(document, False, monkeypatch) == []


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_of_a_document_runs_for_longer(
    document: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    assert failures(document, True, monkeypatch) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bench rnu --method cxrcml", "no rule"),
        ("bench table --basline cxrcml", "--basline"),
        ("bench table --metric auc", "'auc' is not one of"),
        ("bench data prepare nih --size large", "'large' is not a valid integer"),
        ("bench table no-such-study", "Unknown study"),
        ("python -m tests.perf.towers --hours 14", "--hours"),
        ("python -m tests.perf.tower", "no module tests.perf.tower"),
    ],
)
def test_a_command_that_does_not_run_is_found(
    text: str, said: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    (tmp_path / "wrong.md").write_text(f"```bash\n{text}  # a comment\n```\n")
    (found,) = failures(tmp_path / "wrong.md", False, monkeypatch)
    assert said in found


def test_commands_are_found_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "all.md").write_text(
        "```\nX=1 bench run --set a=b \\\n    --runs 1 && bench table  # both\n```\n"
        "Or `bench\ntable --check`; not `bench/cli`.\n\n    bench status\n"
    )
    found = [(str(command), command.copied) for command in commands_of(tmp_path / "all.md")]
    assert found == [
        ("bench run --set a=b --runs 1", True),
        ("bench table", True),
        ("bench table --check", False),
        ("bench status", True),
    ]


def test_the_quick_start_is_read_in_two_minutes() -> None:
    words = (REPOSITORY / "docs/index.md").read_text().split()
    assert len(words) < 2 * 220


def test_the_reader_of_the_documents_is_prepared_and_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (REPOSITORY / "docs/adding-data.md").read_text()
    code, entry = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    module = types.ModuleType("bench.data.readers.st_marys")
    exec(compile(code, "st_marys.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    reader = eval(entry, {"Reader": dataset_module.Reader})
    monkeypatch.setattr(dataset_module, "READERS", (*dataset_module.READERS, reader))
    scans = CsvFolder(tmp_path / "scans")
    rows = [
        f"{row['image']},{row['patient_id']},{row['view']},{findings}"
        for row, findings in zip(
            scans.rows, ["effusion; nodule", "normal", "cyst"] * len(scans.rows), strict=False
        )
    ]
    table = "\n".join(["file,mrn,view,findings", *rows])
    (tmp_path / "scans/readings.csv").write_text(table)
    dataset = dataset_module.load_dataset(f"st-marys:{tmp_path / 'scans'}")
    assert dataset.classes == ("Pleural Effusion", "Nodule", "Normal")
    assert len(dataset) == 12  # the lateral half is left out
    assert dataset.labels[0].tolist() == [1, 1, 0]
    assert dataset.labels[1].tolist() == [0, 0, 0]
