"""Numbers in Chinese text."""

from __future__ import annotations

import pytest

from difftool.voice.engines.f5.hanzi import cardinal, numbers_in_hanzi


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (0, "零"),
        (10, "十"),
        (12, "十二"),
        (20, "二十"),
        (105, "一百零五"),
        (110, "一百一十"),
        (1_001, "一千零一"),
        (10_005, "一万零五"),
        (100_000, "十万"),
        (102_000_000, "一亿零二百万"),
        (100_001_000, "一亿零一千"),
        (1_000_000_001_000, "一万亿零一千"),
        (1_200_000_005, "十二亿零五"),
        (10**16, "一" + "零" * 16),
    ],
)
def test_cardinals(number: int, wanted: str) -> None:
    assert cardinal(number) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("今天是2025年3月15日。", "今天是二零二五年三月十五日。"),
        ("我有2个苹果，12本书和2,000元", "我有两个苹果，十二本书和二千元"),
        ("只有3.50公斤，50%的人", "只有三点五零公斤，百分之五十的人"),
        ("电话：13800138000，房间007", "电话：一三八零零一三八零零零，房间零零七"),
        ("第 2 章", "第 二 章"),
        ("第2名和2.5个", "第二名和二点五个"),
        ("I said 你好 3 times, 5 in all", "I said 你好 3 times, 5 in all"),
        ("iPhone15和v2.1版，10:05开始，2025-11-28", "iPhone15和v2.1版，10:05开始，2025-11-28"),
        ("It is 20 past 7.", "It is 20 past 7."),
    ],
)
def test_numbers_beside_chinese(text: str, wanted: str) -> None:
    assert numbers_in_hanzi(text) == wanted
