from __future__ import annotations

import re
import shlex

from bench.cli import data
from bench.data.dataset import READERS, find_reader
from bench.data.mesh import RULES
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs/data.md").read_text()


def test_every_published_set_has_a_section_with_its_command_and_counts() -> None:
    for reader in READERS:
        if not reader.module.startswith("bench.data.readers.") or reader.name in {"phantom", "csv"}:
            continue
        _, _, section = PAGE.partition(f"\n## {reader.name}\n")
        section = section.partition("\n## ")[0]
        for part in ("**Access.**", "**Download.**", "**What you should see.**"):
            assert part in section, (reader.name, part)
        assert f"bench data prepare {reader.name} --root" in section


def test_every_command_of_the_page_has_the_options_it_names() -> None:
    blocks = re.findall(r"```\n(bench .*?)```", PAGE, re.DOTALL)
    commands = "".join(blocks).replace("\\\n", " ").splitlines()
    seen = set()
    for words in (shlex.split(re.sub(r"[][]|\.\.\.", "", line)) for line in commands):
        if words[1] != "data":
            continue
        command = data.commands[words[2]]
        context = command.make_context(words[2], words[3:])
        seen.add(words[2])
        if words[2] == "prepare" and words[3] != "NAME":
            given = {key for key in ("labels", "reports") if context.params[key]}
            given |= {pair.partition("=")[0] for pair in context.params["settings"]}
            assert given <= set(find_reader(words[3]).options), words
    assert seen == {"prepare", "verify", "show", "export"}


def test_the_page_shows_the_rules_that_are_used() -> None:
    for name, rules in RULES.items():
        phrases = "; ".join(f"`{rule.replace('|', ' or ')}`" for rule in rules)
        assert f"| {name} | {phrases} |" in PAGE
