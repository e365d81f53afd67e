"""English words for what is written beside numbers: currencies, units, months and fractions."""

from __future__ import annotations

SCALES = {
    **{word: word for word in ("hundred", "thousand", "million", "billion", "trillion")},
    **dict.fromkeys(("k", "K"), "thousand"),
    **dict.fromkeys(("m", "M", "mn"), "million"),
    **dict.fromkeys(("b", "B", "bn"), "billion"),
    "tn": "trillion",
}
COINS = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₽": ("ruble", "rubles", "kopeck", "kopecks"),
    "₩": ("won", "won", "", ""),
    "₺": ("lira", "lira", "", ""),
    "₪": ("shekel", "shekels", "", ""),
    "₿": ("bitcoin", "bitcoins", "", ""),
}
"""By sign: singular and plural of a currency, and of its hundredths."""
CODES = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹"}
COUNTRIES = {
    "US": "US",
    "A": "Australian",
    "AU": "Australian",
    "C": "Canadian",
    "CA": "Canadian",
    "HK": "Hong Kong",
    "NZ": "New Zealand",
    "S": "Singapore",
}
UNITS = {
    "km/h": "kilometer per hour",
    "m/s": "meter per second",
    "m/s²": "meter per second squared",
    "mph": "mile per hour",
    "km²": "square kilometer",
    "m²": "square meter",
    "cm²": "square centimeter",
    "ft²": "square foot",
    "m³": "cubic meter",
    "cm³": "cubic centimeter",
    "km": "kilometer",
    "cm": "centimeter",
    "mm": "millimeter",
    "µm": "micrometer",
    "nm": "nanometer",
    "m": "meter",
    "mi": "mile",
    "yd": "yard",
    "ft": "foot",
    "kg": "kilogram",
    "mg": "milligram",
    "µg": "microgram",
    "g": "gram",
    "lb": "pound",
    "lbs": "pound",
    "oz": "ounce",
    "ml": "milliliter",
    "mL": "milliliter",
    "cl": "centiliter",
    "l": "liter",
    "L": "liter",
    "ms": "millisecond",
    "s": "second",
    "sec": "second",
    "min": "minute",
    "mins": "minute",
    "h": "hour",
    "hr": "hour",
    "hrs": "hour",
    "Hz": "hertz",
    "kHz": "kilohertz",
    "MHz": "megahertz",
    "GHz": "gigahertz",
    "kB": "kilobyte",
    "KB": "kilobyte",
    "MB": "megabyte",
    "GB": "gigabyte",
    "TB": "terabyte",
    "W": "watt",
    "kW": "kilowatt",
    "MW": "megawatt",
    "kWh": "kilowatt hour",
    "V": "volt",
    "dB": "decibel",
    "px": "pixel",
    "kcal": "kilocalorie",
    "°C": "degree Celsius",
    "°F": "degree Fahrenheit",
    "°": "degree",
    "%": "percent",
    "‰": "per thousand",
}
"""Symbols of units and their singular names."""
IRREGULAR = {"foot": "feet", "square foot": "square feet"}
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8"}
PARTS = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth", 9: "ninth"}
PARTS |= {16: "sixteenth", 32: "thirty-second", 64: "sixty-fourth"}
IDIOMS = {"24/7": "twenty-four seven", "9/11": "nine eleven", "50/50": "fifty-fifty", "20/20": "twenty-twenty"}
LABELS = {"no": "number", "nos": "numbers", "p": "page", "pp": "pages", "vol": "volume", "ch": "chapter"}
