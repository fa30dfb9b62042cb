"""Which replica a request goes to: the decision (`choose`), what it knows (`view`), and Ray Serve's hook (`router`)."""
