"""Numbers as a careful reader says them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftool.voice.numbers import read

PLAIN = [
    ("0", "zero"),
    ("7", "seven"),
    ("21", "twenty-one"),
    ("100", "one hundred"),
    ("105 pages", "one hundred five pages"),
    ("1,234", "one thousand, two hundred thirty-four"),
    ("1,234,567", "one million, two hundred thirty-four thousand, five hundred sixty-seven"),
    ("0.025 of it", "zero point zero two five of it"),
    ("0.25", "zero point two five"),
    (".5", "point five"),
    ("2.05", "two point zero five"),
    ("3.14", "three point one four"),
    ("2.50", "two point five zero"),
    ("1,234.5 litres", "one thousand, two hundred thirty-four point five litres"),
    ("agent 007", "agent zero zero seven"),
    ("00123", "zero zero one two three"),
    ("It is 5.", "It is five."),
    ("12 and １２ and ١٢", "twelve and twelve and twelve"),
    ("1 000 000 drops", "one million drops"),
    ("12 500 people", "twelve thousand, five hundred people"),
    ("1\u00a0000\u00a0000", "one million"),
    ("1\u2009000", "one thousand"),
    ("1\u202f234\u202f567", "one million, two hundred thirty-four thousand, five hundred sixty-seven"),
    ("1.234.567", "one million, two hundred thirty-four thousand, five hundred sixty-seven"),
    ("1.234,56", "one thousand, two hundred thirty-four point five six"),
    ("1.234", "one point two three four"),
    ("pages 1,2,3", "pages one, two, three"),
    ("12,34", "twelve, thirty-four"),
    ("In 2020 100 people came", "In twenty twenty one hundred people came"),
]
AMOUNTS = [
    ("2.05%", "two point zero five percent"),
    ("50 %", "fifty percent"),
    ("5-10%", "five to ten percent"),
    ("3,5 %", "three point five percent"),
    ("3 ‰", "three per thousand"),
    ("$1.5 million", "one point five million dollars"),
    ("$2 billion", "two billion dollars"),
    ("$100k more", "one hundred thousand dollars more"),
    ("£3.5m", "three point five million pounds"),
    ("$1.5M", "one point five million dollars"),
    ("$10.5", "ten dollars fifty cents"),
    ("$10.50", "ten dollars fifty cents"),
    ("$ 50 for two", "fifty dollars for two"),
    ("7$.", "seven dollars."),
    ("20€ 3 times", "twenty euros three times"),
    ("5€.", "five euros."),
    ("10£ once", "ten pounds once"),
    ("£1", "one pound"),
    ("$1.01", "one dollar one cent"),
    ("$0.05", "five cents"),
    ("£0.01", "one penny"),
    ("$0", "zero dollars"),
    ("$.50", "fifty cents"),
    ("$3.499", "three point four nine nine dollars"),
    ("$1,234.50", "one thousand, two hundred thirty-four dollars fifty cents"),
    ("€3,50", "three euros fifty cents"),
    ("2.000,50 €", "two thousand euros fifty cents"),
    ("¥10", "ten yen"),
    ("¥10.5", "ten point five yen"),
    ("₹10.50", "ten rupees fifty paise"),
    ("-$5", "minus five dollars"),
    ("$-5", "minus five dollars"),
    ("−$5", "minus five dollars"),
    ("US$5", "five US dollars"),
    ("A$7", "seven Australian dollars"),
    ("5 USD", "five dollars"),
    ("EUR 20", "twenty euros"),
    ("$5-10", "five to ten dollars"),
    ("$5-$10", "five to ten dollars"),
    ("$1.5-2 million", "one point five to two million dollars"),
    ("£3m-£4m", "three million pounds to four million pounds"),
    ("a $5 bill", "a five dollar bill"),
    ("$5/month", "five dollars per month"),
    ("50¢", "fifty cents"),
]
TIMES = [
    ("10:05", "ten oh five"),
    ("7:00", "seven o'clock"),
    ("7:00 p.m. and", "seven o'clock p.m. and"),
    ("9am.", "nine a.m."),
    ("11 PM", "eleven p.m."),
    ("9:30 p.m. on", "nine thirty p.m. on"),
    ("7.30 p.m.", "seven thirty p.m."),
    ("14:30", "fourteen thirty"),
    ("14:00", "fourteen hundred hours"),
    ("12:00", "twelve o'clock"),
    ("0:00", "midnight"),
    ("10:05:30", "ten oh five and thirty seconds"),
    ("16:9", "sixteen to nine"),
    ("1:1000", "one to one thousand"),
    ("2026-11-29", "November twenty-ninth, twenty twenty-six"),
    ("2026-11-29T10:05", "November twenty-ninth, twenty twenty-six ten oh five"),
    ("11/29/2026", "November twenty-ninth, twenty twenty-six"),
    ("29/11/2026", "the twenty-ninth of November, twenty twenty-six"),
    ("3/4/2026", "three slash four slash twenty twenty-six"),
    ("29.11.2026", "the twenty-ninth of November, twenty twenty-six"),
    ("on 29 Nov 2026", "on the twenty-ninth of November, twenty twenty-six"),
    ("the 29 November", "the twenty-ninth of November"),
    ("Nov. 29, 2026,", "November twenty-ninth, twenty twenty-six,"),
    ("July 4th", "July fourth"),
    ("the 4th of July", "the fourth of July"),
    ("Sept. 2026", "September twenty twenty-six"),
    ("May 5 people come?", "May five people come?"),
    ("in 1999", "in nineteen ninety-nine"),
    ("1984 was", "nineteen eighty-four was"),
    ("1905, 1900, 2000, 2005, 2010", "nineteen oh five, nineteen hundred, two thousand, two thousand five, twenty ten"),
    ("in 1066", "in ten sixty-six"),
    ("the 1999 elections", "the nineteen ninety-nine elections"),
    ("1234 people", "one thousand, two hundred thirty-four people"),
    ("1001 nights", "one thousand one nights"),
    ("2345 in all", "two thousand, three hundred forty-five in all"),
    ("the 1990s", "the nineteen nineties"),
    ("the 1990's", "the nineteen nineties"),
    ("the '90s", "the nineties"),
    ("her 20s", "her twenties"),
    ("the 1900s", "the nineteen hundreds"),
    ("the 2010s", "the twenty tens"),
    ("1914-1918", "nineteen fourteen to nineteen eighteen"),
    ("1914–18", "nineteen fourteen to eighteen"),
    ("2024/25", "twenty twenty-four to twenty-five"),
]
OTHERS = [
    ("1st, 2nd, 3rd", "first, second, third"),
    ("12th 20th 22nd 101st", "twelfth twentieth twenty-second one hundred first"),
    ("1,000th", "one thousandth"),
    ("1/2", "one half"),
    ("3/4", "three quarters"),
    ("2 1/2", "two and a half"),
    ("½ and 2½", "one half and two and a half"),
    ("8/10", "eight out of ten"),
    ("24/7", "twenty-four seven"),
    ("9/11", "nine eleven"),
    ("10-20", "ten to twenty"),
    ("10–20", "ten to twenty"),
    ("10 – 20", "ten to twenty"),
    ("5-3=2", "five minus three=two"),
    ("call 555-0123", "call five five five, zero one two three"),
    ("(555) 123-4567", "five five five, one two three, four five six seven"),
    ("555 123 4567", "five five five, one two three, four five six seven"),
    ("+44 20 7946 0958", "plus four four, two zero, seven nine four six, zero nine five eight"),
    ("call 911", "call nine one one"),
    ("500-1000 people", "five hundred to one thousand people"),
    ("4-4-2", "four four two"),
    ("Python 3.11", "Python three point eleven"),
    ("version 2.0.10", "version two point zero point ten"),
    ("192.168.0.1", "one hundred ninety-two point one hundred sixty-eight point zero point one"),
    ("0.5 kg, 1 kg, 5km", "zero point five kilograms, one kilogram, five kilometers"),
    ("20°C to -5°", "twenty degrees Celsius to minus five degrees"),
    ("6 ft. tall", "six feet tall"),
    ("He is 6 ft. He", "He is six feet. He"),
    ("in 20min.", "in twenty minutes."),
    ("60 km/h", "sixty kilometers per hour"),
    ("5 m²", "five square meters"),
    ("a 5km run", "a five kilometer run"),
    ("5km-10km", "five kilometers to ten kilometers"),
    ("5'10\"", "five foot ten"),
    ("-5 degrees, or −5", "minus five degrees, or minus five"),
    ("±5, ~5, <5, ≥5", "plus or minus five, about five, less than five, at least five"),
    ("10⁶ and 10^6", "ten to the power of six and ten to the power of six"),
    ("10⁻³", "ten to the power of minus three"),
    ("x² and x³", "x squared and x cubed"),
    ("word¹", "word"),
    ("H₂O", "H two O"),
    ("3x", "three times"),
    ("3x4 and 3×4", "three by four and three times four"),
    ("100k and 4K", "one hundred thousand and four K"),
    ("No. 5, no. 6, pp. 5-7, №5", "Number five, number six, pages five to seven, number five"),
    ("A4, B12, Covid-19, F-16", "A four, B twelve, Covid-nineteen, F-sixteen"),
    ("3D, 10-year-old", "three D, ten-year-old"),
]


@pytest.mark.parametrize(("written", "spoken"), [*PLAIN, *AMOUNTS, *TIMES, *OTHERS])
def test_numbers(written: str, spoken: str) -> None:
    assert read(written) == spoken


@pytest.mark.parametrize(
    "number", ["9" * 40, "$" + "9" * 5000, "9" * 5000 + "/2", "9" * 5000 + "th", "1:" + "9" * 5000]
)
def test_a_number_without_a_name(number: str) -> None:
    with pytest.raises(ValueError, match="too large to be spoken"):
        read(number)


@settings(max_examples=40)
@given(st.text(alphabet="abXK $€£%.,:;/-–−'\"()0123456789²½ °m\u00a0stndrh\n", max_size=40))
def test_no_digit_is_left(text: str) -> None:
    assert not any(char.isdecimal() for char in read(text))


@settings(max_examples=40)
@given(st.text(alphabet="abcXYZ .,;:!?'\"-—…()\n", max_size=80))
def test_a_text_without_numbers_stays_as_it_is(text: str) -> None:
    assert read(text) == text
