"""What one key may take: requests and tokens in a minute, streams at once."""
