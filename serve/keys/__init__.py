"""API keys: the file that holds their hashes, the check of a token, and how a replica follows changes of the file."""
