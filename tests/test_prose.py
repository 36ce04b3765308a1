"""README and tutorials are for readers in a second language: short sentences, and a short README."""

import re
from statistics import median

import pytest
from small_runs import ROOT

PAGES = [
    "README.md",
    *(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs" / "tutorials").glob("*.md"))),
]
LONGEST_MEDIAN = 16


def sentences(markdown: str) -> list[str]:
    """The sentences of paragraphs and lists; code, tables, headings and pictures are none."""
    text = re.sub(r"^```.*?^```", "\n", markdown, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(#|\||!\[).*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)", "]", text)  # where links lead
    text = re.sub(r"^\s*[-*] ", "\n\n", text, flags=re.MULTILINE)
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        found += re.split(r"(?<=[.!?])\s+(?=[^a-z])", " ".join(paragraph.split()))
    return [each for each in found if len(each.split()) > 1]


def words(sentence: str) -> int:
    return len(re.findall(r"[\w`][^\s]*", sentence))


@pytest.mark.parametrize("page", PAGES)
def test_half_of_the_sentences_have_sixteen_words_or_fewer(page: str) -> None:
    found = sentences((ROOT / page).read_text(encoding="utf-8"))
    assert len(found) > 10
    longest = sorted(found, key=words)[-5:]
    assert median(map(words, found)) <= LONGEST_MEDIAN, longest


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_what_a_sentence_is() -> None:
    text = """# No sentence

One is here. Another
runs on, see [that page](a.md).

| a | b |

- A third one
- A fourth

```
no code here
```
"""
    assert sentences(text) == ["One is here.", "Another runs on, see [that page].", "A third one", "A fourth"]
    assert [words(each) for each in sentences(text)] == [3, 6, 3, 2]
