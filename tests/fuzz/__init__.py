"""Bytes that nobody chose: what decodes messages and streams is held against an oracle."""
