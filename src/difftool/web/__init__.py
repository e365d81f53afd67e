"""The local page of `difftool studio` and its API.

Every job is a command line of difftool, run in a process of its own; the server itself imports no torch.
"""
