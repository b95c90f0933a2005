import re
from pathlib import Path

import pytest

from benchmarks import peers
from benchmarks.marked import write

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [page for page in sorted(DOCS.glob("*.md")) if "<!-- python -m " in page.read_text(encoding="utf-8")]
MARK = re.compile(r"<!-- (python -m [^>]*) -->\n(.*?)\n<!-- end -->", re.DOTALL)


@pytest.fixture
def page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# é\n<!-- a -->\nold\n<!-- end -->\nkept\n<!-- b (1) -->\n<!-- end -->\n", encoding="utf-8")
    return page


def test_the_text_of_one_mark_is_replaced_and_nothing_else(page):
    write(page, "b (1)", "new \\1\nlines")
    write(page, "a", "")
    assert page.read_text(encoding="utf-8") == (
        "# é\n<!-- a -->\n\n<!-- end -->\nkept\n<!-- b (1) -->\nnew \\1\nlines\n<!-- end -->\n"
    )


def test_a_mark_that_is_missing_or_there_twice_is_named(page):
    before = page.read_bytes()
    with pytest.raises(SystemExit, match="has 0 places <!-- c -->"):
        write(page, "c", "new")
    assert page.read_bytes() == before
    page.write_bytes(before * 2)
    with pytest.raises(SystemExit, match="has 2 places <!-- a -->"):
        write(page, "a", "new")
    assert page.read_bytes() == before * 2


@pytest.mark.parametrize("source", PAGES, ids=lambda page: page.name)
def test_writing_what_a_page_holds_changes_nothing(source, tmp_path):
    page, held = tmp_path / source.name, source.read_text(encoding="utf-8")
    page.write_text(held, encoding="utf-8")
    marks = MARK.findall(held)
    assert len(marks) == held.count("<!-- end -->")
    for command, _text in marks:
        write(page, command, "other")
    assert page.read_text(encoding="utf-8") != held
    for command, text in marks:
        write(page, command, text)
    assert page.read_text(encoding="utf-8") == held


def test_peers_write_each_table_where_it_stands(monkeypatch, tmp_path):
    page, held = tmp_path / "peers.md", peers.PAGE.read_text(encoding="utf-8")
    page.write_text(held, encoding="utf-8")
    texts = {command.rpartition(" ")[2]: text.strip("\n") for command, text in MARK.findall(held)}
    assert set(texts) == set(peers.TABLES)
    monkeypatch.setattr("sys.argv", ["peers"])
    monkeypatch.setattr(peers, "PAGE", page)
    monkeypatch.setattr(peers, "TABLES", {name: lambda name=name: texts[name].replace("|", "¦") for name in texts})
    peers.main()
    assert page.read_text(encoding="utf-8") != held
    monkeypatch.setattr(peers, "TABLES", {name: lambda name=name: texts[name] for name in texts})
    peers.main()
    assert page.read_text(encoding="utf-8") == held
