from __future__ import annotations

from bench.data.dataset import READERS
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


def test_the_page_shows_the_rules_that_are_used() -> None:
    for name, rules in RULES.items():
        phrases = "; ".join(f"`{rule.replace('|', ' or ')}`" for rule in rules)
        assert f"| {name} | {phrases} |" in PAGE
