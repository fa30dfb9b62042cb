"""Measures servers of the OpenAI API side by side: what is sent, how fast the answers come, what that says."""
