"""ASGI layers around vLLM's app, one concern each, in the order a request meets them.

    telemetry -> errors -> health -> authenticate -> routes -> admin -> load -> models
        -> resolve -> quota -> lifetime -> admission -> embeddings
        -> search -> retrieve -> adapter -> context -> citation -> refusal -> engine -> vLLM's app

`resolve` parses the body once into a `Call`; `engine` dumps it once. What lies between reads and changes the `Call`.
Request ids are Serve's own: it takes the client's x-request-id or makes one, and returns it. The scope is one object
from the first layer to `engine`, so that what a later one attaches is seen by those before it.
"""
