"""Every broken configuration gets its whole answer, all problems at once: the corpus in data/broken.txt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import config
from probes import registry

CORPUS = Path(__file__).parent / "data" / "broken.txt"


def cases() -> Iterator[tuple[str, str, list[str]]]:
    _, *parts = re.split(r"^==== ", CORPUS.read_text("utf-8"), flags=re.MULTILINE)
    for part in parts:
        title, _, rest = part.partition("\n")
        file, _, answer = rest.partition("----\n")
        yield title, file, answer.strip().split("\n")


def kinds_named(file: str) -> set[str]:
    return {name for name in re.findall(r'^kind = "(\w+)"', file, re.MULTILINE) if name in registry.KINDS}


def test_the_corpus_has_at_least_sixty_cases_with_titles_of_their_own() -> None:
    titles = [title for title, _, _ in cases()]
    assert len(titles) >= 60
    assert len(set(titles)) == len(titles)


@pytest.mark.usefixtures("sample_kinds")
@pytest.mark.parametrize(("file", "answer"), [pytest.param(file, answer, id=title) for title, file, answer in cases()])
def test_a_broken_configuration_names_every_problem(
    file: str, answer: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text(file, "utf-8")
    with pytest.raises(config.ConfigError) as caught:
        config.load(Path("config.toml"), {})
    assert [str(problem) for problem in caught.value.problems] == answer
