"""The stored form: spans, frames, seek table, cutting, manifests, codecs."""
