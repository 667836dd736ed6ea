"""Sentences as sequences of words: from files, from grammars, with and without labels."""
