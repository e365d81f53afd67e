"""The networks of Tortoise (J. Betker 2023, arXiv:2305.07243), with the weights of tortoise-tts 3.0.0.

Text and a voice become codes (`autoregressive`), the codes are judged against the text (`clvp`), the winner's latents
become a mel spectrogram by diffusion (`diffusion`), and that becomes sound (`vocoder`). Sequences are (batch, time,
channels) inside, so that all of it is products of matrices. The residual stream and the norms stay in float32 whatever
the weights are in. The arguments of a class are the sizes of the official network unless said otherwise.
"""

from pathlib import Path

DATA = Path(__file__).parents[2] / "assets" / "tortoise"
"""The vocabulary of the text and the means of the mels, which are no weights."""
