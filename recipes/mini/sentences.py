"""Sentences that the voice is judged by. They were written before it was trained, and it is never trained on them."""

SENTENCES = """The ferry leaves the harbour at a quarter to nine.
Could you hand me the scissors from the second drawer?
Heavy rain fell on the roof for most of the night.
She planted tomatoes along the southern wall of the barn.
Nobody in the office knew how to open the safe.
A small brown dog followed us all the way home.
The museum is closed on Mondays, except in July.
He poured the milk slowly into a tall glass.
Our train was late, so we missed the beginning of the concert.
The mechanic listened to the engine and shook his head.
Why did you paint the bathroom ceiling purple?
Fresh snow covered the path between the two cabins.
My grandmother keeps her recipes in a blue tin box.
They measured the temperature of the water every hour.
The lawyer read the contract twice before she signed it.
Please switch off the lamp when you go to bed.
Seven geese flew over the frozen lake in silence.
The baker wrapped the warm loaf in clean white paper.
I have never seen such a bright star in the evening sky.
It takes about forty minutes to walk to the lighthouse.""".splitlines()
SPEAKERS, EACH = 20, 5
"""Speakers to judge by, mixes that are never trained on, and sentences that each says."""
REFERENCES = 2
"""Sentences of a reference, of the grammar, from number FIRST on."""
FIRST = 600_000
SEED = 0


def of_speaker(k: int) -> list[str]:
    """The sentences of speaker k."""
    return [SENTENCES[(k * EACH + j) % len(SENTENCES)] for j in range(EACH)]
