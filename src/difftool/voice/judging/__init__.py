"""Speech judged by what is heard: its words, whose voice it is, and how it sounds. Nothing in here is ever a condition
or a loss of a model, which would then please its judge."""
