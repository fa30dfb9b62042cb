"""ASGI layers around vLLM's app, one concern each, in the order a request meets them.

    routes -> models -> resolve -> adapter -> context -> citation -> vLLM's app

`resolve` parses the body once into a `Call`; `citation` dumps it once. What lies between reads and changes the `Call`.
Request ids are Serve's own: it takes the client's x-request-id or makes one, and returns it.
"""
