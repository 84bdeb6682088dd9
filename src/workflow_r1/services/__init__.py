"""Common parts of the services behind operators: their failures, the patience of our requests, and the secrecy of errors."""
