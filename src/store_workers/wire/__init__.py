"""The wire contract: messages and events as types, the reader of stdin, the writer of stdout."""
