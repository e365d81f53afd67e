"""The networks of F5-TTS (Chen et al. 2024, arXiv:2410.06885), with the weights of f5-tts.

A text is spread over the frames of the speech and embedded (`text`), and a transformer turns noise into the mel
spectrogram of the speech along a flow (`dit`), which Vocos makes audible. Sequences are (batch, time, channels), at
93.75 frames a second. The residual stream, the norms, the times and the rotations stay in float32 whatever the weights
are in.
"""
