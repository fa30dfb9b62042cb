"""An adapter is loaded once by the real engine before it is published."""
