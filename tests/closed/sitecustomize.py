"""With this folder on PYTHONPATH, Python and its notebook kernels reach nothing but the machine they run on."""

import sys


def close_the_network(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        to_address = event in ("socket.connect", "socket.sendto")
        address = arguments[1] if to_address else arguments[0]
        host = address[0] if isinstance(address, tuple) else address
        local = to_address and not isinstance(address, tuple)  # a socket in the file system
        if not local and host not in ("127.0.0.1", "::1", "localhost", "", None, b"127.0.0.1", "0.0.0.0"):
            raise PermissionError(f"the network is closed while chapters are checked, and this asks for {host!r}")


sys.addaudithook(close_the_network)
