"""HTTP/1.1 at the edge: messages, the server, upgraded connections."""
