"""Stores the tokens that f5-tts makes of some texts, with its own word segmenter and with the earlier one, jieba:

.venv-f5/bin/python -m pip install jieba
.venv-f5/bin/python tests/stock/make_f5_tokens.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jieba
import rjieba

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

import original_f5  # noqa: E402, F401
from f5_tts.model import utils  # noqa: E402

TEXTS = """
Hello.
Hello, world! It's me.
I don't know;he does.
one,two, three
ok...fine
Wait... what?
a.b e.g. i.e. U.S.A. K.F.C.
follow-up
a well-known state-of-the-art follow-up.
example.com and foo/bar or foo_bar
user@example.com, C:\\temp
3.14 and 3.14% and 10%-20%
v1.2.3 of 2025-11-28 at 10:05
$5,000.00 (five) [four] {three}
AT&T and C++ or c++, C# or c#, BC++D
R&D, B&B, rock&roll
#1 + #2 = 3; a+b
"Quoted" 'words' and “curly” ‘ones’—dash
it's "so,so" good:very good
x-y_z.w-1%
100%sure 5%a
...
--
 two  spaces x
tab\\there\\r\\nnew
größer Übung schön äh
déjà vu, naïve café
Œuvre coûteuse
señor ¿qué? ¡sí!
Привет, мир! как дела
Γειά σου Κόσμε
שלום עולם
مرحبا بالعالم
नमस्ते दुनिया
สวัสดีครับ
こんにちは、せかい。
カタカナ・テスト！
안녕하세요, 세계.
ㄅㄆㄇ ㈱ ㌔
emoji 🎉party🎉
50€ — 20°C
a…b
½ ² № ™
tls1.3-based,ssl-v3.0
你好，世界。
我们今天去公园玩了一会儿。
长城很长，银行行长重庆人重要。
一个一百 一样 不是 不好 不对
你好吗？很好！
这是AI的follow-up测试
卡拉OK和T恤
iPhone15 Pro发布了v2.1版
他说“你好”，然后走了；真的。
中文 English 中文english123
〇二〇二五年三月
3.5公斤，50%的人
老师好，小姐您好，可以
上海话里的“侬好”
𠀀字和㐀字
日本語の漢字とかな
漢字한글
""".strip("\n")


def tokens(text: str, segmenter: Any) -> list[str]:
    utils.rjieba = segmenter
    return utils.convert_char_to_pinyin([text])[0]


rows = []
for line in TEXTS.split("\n"):
    text = line.replace("\\t", "\t").replace("\\r", "\r").replace("\\n", "\n")
    rows.append({"text": text, "rjieba": tokens(text, rjieba), "jieba": tokens(text, jieba)})
lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
(TESTS / "golden" / "f5_tokens.json").write_text(f"[\n{lines}\n]\n")
