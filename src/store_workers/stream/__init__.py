"""The stored form: spans, frames, seek table, the cut, the codecs."""
