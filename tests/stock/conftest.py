from __future__ import annotations

import pytest

pytest.importorskip("tortoise", reason="tortoise-tts is not installed: make test-stock")
