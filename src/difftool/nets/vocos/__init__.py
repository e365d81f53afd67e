"""Vocos (Siuzdak 2023, arXiv:2306.00814): from a mel spectrogram to sound, with the weights of vocos-mel-24khz."""
