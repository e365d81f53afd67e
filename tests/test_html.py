"""Pages from templates."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest

from difftool import html

PAGES = [path.name for path in html.TEMPLATES.glob("*.html") if path.name != "base.html"]


def test_a_value_that_is_not_given_leaves_no_page(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError):
        html.write(tmp_path / "page.html", "training.html", title="Run", subtitle="")
    assert not [*tmp_path.iterdir()]


def test_each_page_is_the_base_page() -> None:
    assert PAGES
    for name in PAGES:
        text = (html.TEMPLATES / name).read_text(encoding="utf-8")
        assert text.startswith('{% extends "base.html" %}\n')
        assert not re.search(r"<style|\bsafe\b", text)


def test_the_template_engine_is_imported_with_the_first_page_only() -> None:
    code = "import sys, difftool.html; print('jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
