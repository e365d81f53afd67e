"""Sentences to train on: made by a small grammar over common words, with rarer words of a pronouncing lexicon mixed in.

`sentence(k)` depends on nothing but k and the words given.
"""

from __future__ import annotations

import random
from collections.abc import Sequence


def _listed(text: str) -> list[str]:
    """The phrases of a text, which stand between bars or on lines of their own."""
    return [phrase.strip() for phrase in text.strip().replace("\n", "|").split("|")]


PEOPLE = _listed(
    """
    my brother|your sister|the old captain|our neighbour|Mister Brown|Doctor Young|the children|her mother|his uncle
    a tall stranger|the new teacher|two farmers|the night nurse|Anna|Peter|Thomas|Julia|Maria|George|Charlotte|Henry
    Oliver|Sophie|the judge|nobody|everybody|the young painter|three sailors|a quiet man|the woman next door
    my oldest friend|the shopkeeper|someone|the driver|an engineer|the whole family|the queen|the boy with the drum
    grandfather|a visitor
    """
)
THINGS = _listed(
    """
    the letter|a wooden box|the yellow coat|his bicycle|a glass of water|the morning paper|an apple|the heavy door
    a pair of shoes|the last ticket|some fresh bread|the blue vase|a large umbrella|the broken clock|her violin
    a map of the city|the photograph|a cup of coffee|the green bottle|an old book|the spare key|a basket of cherries
    the radio|a thick blanket|the small engine|a piece of chalk|his favourite song|the garden gate|a silver ring
    the kitchen table|the answer|a good idea|the truth|nothing at all|their luggage|the first page|a bowl of soup
    the wheel|six eggs|the picture on the wall|a warm jacket
    """
)
PLACES = _listed(
    """
    in the garden|on the bridge|at the station|behind the church|near the river|under the stairs|in a small village
    by the window|outside the theatre|across the road|at the edge of the forest|in the middle of the square
    on the roof|beside the fire|along the shore|between the houses|in the north of the country|at school
    in the back of the shop|upstairs|over the hills|in the dark|beyond the mountains|next to the hospital
    on the third floor|aboard the ship|in the barn
    """
)
TIMES = _listed(
    """
    yesterday|this morning|every evening|at half past seven|on Thursday|last winter|before breakfast|after the storm
    in the year nineteen forty|at noon|two weeks ago|by the end of June|during the night|in early spring
    on the ninth of March|for a long time|once again|as usual|long before dawn|within an hour|from time to time
    next Wednesday|all summer|just now
    """
)
PAST = _listed(
    """
    found|carried|forgot|painted|bought|sold|hid|showed me|threw away|looked for|asked about|wanted|lost|repaired
    broke|brought|remembered|pushed|noticed|left|borrowed|kept|chose|washed|described|gave up|picked up|measured
    opened|returned|laughed at|thought of
    """
)
PLAIN = _listed(
    """
    find|carry|forget|paint|buy|sell|hide|show me|throw away|look for|ask about|want|lose|repair|break|bring|remember
    push|notice|leave|borrow|keep|choose|wash|describe|give up|pick up|measure|open|return|use|reach|catch|join|change
    """
)
DOING = _listed(
    """
    sleeping|singing|waiting|working|reading|arguing|running|cooking|playing chess|writing letters|telling stories
    dreaming|watching the birds|feeding the horses|cleaning the windows|thinking|laughing|speaking very softly|moving
    dancing|fishing
    """
)
KINDS = _listed(
    """
    quiet|cold|strange|bright|empty|heavy|cheap|beautiful|dangerous|simple|perfect|narrow|huge|gentle|rough|smooth
    familiar|wet|hungry|proud|curious|ancient|fragile|honest|lazy|nervous|polite|serious|sharp|thin|useful|warm|young
    wise|foolish|true|busy|calm|dusty|early|late|far away|worth it|afraid|ready|sorry|tired|very tall|a little worried
    almost finished|pure white
    """
)
SUBJECTS = _listed(
    """
    the weather|the road|this house|the music|the water|her voice|the sky|that story|the train|the moon|the market
    the coffee|the old tower|his plan|the river|the room|the ice|this chair|the question|the first chapter|the journey
    the wind|everything|the snow|the village|the noise|our boat|the bread|the work|the result|the horse|the picture
    the tea
    """
)
JOINS = _listed("and|but|so|because|although|while|until|as if|and then|or|when|since|unless")
ASKING = _listed("Why did|When did|Where did|How did|Did|Didn't|What if")
SAYING = _listed("he said|she answered|I thought|they shouted|said the guard|the letter said|she whispered")
EXCLAMATIONS = _listed(
    """
    Oh no!|Good morning.|Thank you very much.|Wait a moment.|Be careful!|Well, well.|Of course.|Never mind.
    What a pity!|Yes.|No, not yet.|Good night.|Please sit down.|How wonderful!|Listen.|Hello there.|Excuse me.
    That's right.|I don't think so.|Look at that!|Maybe.|Come in!
    """
)
NUMBERS = _listed(
    """
    one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen
    eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety
    """
)
LARGE = _listed("hundred|thousand")
UNITS = _listed("miles|pounds|minutes|days|people|degrees|pages|steps|dollars|years|boxes|metres")
MODALS = _listed("can|could|will|would|should|might|must|never|always|don't|shouldn't|usually")
PRONOUNS = _listed("I|you|we|they")
NAMING = _listed("They call it|Say|The name was|Have you heard of")
OFTEN = _listed("not|still|always|hardly|never|quite")
BEFORE = _listed("if|when|before|after")
CONSONANTS = _listed(
    """
    b|bl|br|ch|cl|cr|d|dr|f|fl|fr|g|gl|gr|h|j|k|l|m|n|p|pl|pr|qu|r|s|sh|sk|sl|sm|sn|sp|st|str|sw|t|th|tr|v|w|y|z
    """
)
VOWELS = _listed("a|e|i|o|u|ai|ay|ea|ee|oa|oi|oo|ou|ow|ar|er|or|ir")
ENDS = _listed(
    """
    b|ck|d|ff|ft|g|ld|lk|ll|lp|lt|m|mp|n|nd|ng|nk|nt|p|r|rd|rk|rm|rn|rt|s|sh|sk|ss|st|t|tch|th|ve|x|zz
    """
)


def sentence(k: int, words: Sequence[str]) -> str:
    """Sentence number k. `words`: rarer words of the lexicon, for a third of the sentences."""
    draw = random.Random(f"sentence {k}")
    kind = draw.random()
    if kind < 0.06:
        text = " ".join(draw.sample(EXCLAMATIONS, 2))
    elif kind < 0.12:
        text = _enumeration(draw, words)
    elif kind < 0.17:
        text = f"{draw.choice(NAMING)} {_made_up(draw)} {_made_up(draw)}."
    else:
        text = _statement(draw, words)
        if kind > 0.62:
            join = draw.choice([", " + draw.choice(JOINS), ", " + draw.choice(JOINS), ";", ":"])
            text = f"{text}{join} {_statement(draw, words)}"
        text = _finished(draw, text)
    return text[0].upper() + text[1:]


def _statement(draw: random.Random, words: Sequence[str]) -> str:
    """A clause in small letters without a full stop, or a question."""
    one = draw.choice
    rare = one(words) if draw.random() < 0.35 else None
    kind = draw.randrange(10)

    def thing(article: str) -> str:
        return f"{article} {rare}" if rare else one(THINGS)

    if kind == 0:
        return f"{one(SUBJECTS)} was {one(KINDS)}" + (f", {one(KINDS)} and {one(KINDS)}" if draw.random() < 0.3 else "")
    if kind == 1:
        return f"{one(PEOPLE)} {one(PAST)} {thing('the')} {one(PLACES)}"
    if kind == 2:
        return f"{one(TIMES)}, {one(PEOPLE)} {one(PAST)} {thing('a certain')}"
    if kind == 3:
        return f"{one(PRONOUNS)} {one(MODALS)} {one(PLAIN)} {thing('any')} {one(TIMES)}"
    if kind == 4:
        return f"{one(PEOPLE)} kept {one(DOING)} {one(PLACES)}"
    if kind == 5:
        return f"there were {_number(draw)} {one(UNITS)} left" + (f", and one {rare}" if rare else "")
    if kind == 6:
        return f"it is {one(KINDS)} {one(PLACES)}" + (f", not {rare}" if rare else "")
    if kind == 7:
        return f"{one(ASKING)} {one(PEOPLE)} {one(PLAIN)} {thing('the')}?"
    if kind == 8:
        return f"{one(SUBJECTS)} {one(PLACES)} is {one(OFTEN)} {one(KINDS)}"
    clause = f"{one(BEFORE)} {one(PRONOUNS)} {one(PLAIN)} {one(THINGS)}"
    return f"{clause}, {one(PRONOUNS)} {one(MODALS)} {one(PLAIN)} {one(THINGS)}"


def _finished(draw: random.Random, text: str) -> str:
    """A sentence with its mark at the end, now and then as direct speech."""
    if text.endswith("?"):
        return text
    text = text.replace("?", "")  # of a question before it
    if draw.random() < 0.12:
        return f"{text}, {draw.choice(SAYING)}."
    return text + draw.choices([".", "!", "...", "?"], [82, 8, 4, 6])[0]


def _enumeration(draw: random.Random, words: Sequence[str]) -> str:
    """Three to six words, or as many numbers."""
    items = draw.sample(words, draw.randint(3, 6))
    if draw.random() < 0.4:
        items = [_number(draw) for _ in items]
    return f"{', '.join(items[:-1])} and {items[-1]}."


def _number(draw: random.Random) -> str:
    """A number in words."""
    kind = draw.randrange(3)
    tens, ones = draw.choice(NUMBERS[19:]), draw.choice(NUMBERS[:9])
    if kind == 0:
        return draw.choice(NUMBERS)
    if kind == 1:
        return f"{tens} {ones}"
    return f"{draw.choice(NUMBERS[:9])} {draw.choice(LARGE)} and {tens} {ones}"


def _made_up(draw: random.Random) -> str:
    """A pronounceable word that does not exist."""
    syllables = [draw.choice(CONSONANTS) + draw.choice(VOWELS) for _ in range(draw.randint(1, 3))]
    return "".join(syllables) + draw.choice(["", draw.choice(ENDS)])
