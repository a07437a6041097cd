"""nft's own library, in this process: a quarter of what spawning the program costs. Commands are nft's text; a call is a transaction.

The library's socket belongs to the network namespace of the thread that makes the context. Source: `libnftables(3)`, `libnftables-json(5)`.
"""

from __future__ import annotations

import ctypes
from typing import Any

import orjson

_LIBRARY = "libnftables.so.1"
_OUTPUT_JSON = 1 << 4


class NftError(Exception):
    """nft refused a transaction, and nothing of it has been done; or the library is missing."""


class Libnftables:
    """One context of the library. Calls block for some milliseconds, and must not overlap."""

    def __init__(self) -> None:
        """Raises NftError."""
        try:
            library = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise NftError(f"the library {_LIBRARY} is missing: run `apt-get install nftables`") from error
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        for function in (library.nft_ctx_get_output_buffer, library.nft_ctx_get_error_buffer):
            function.argtypes = [ctypes.c_void_p]
            function.restype = ctypes.c_char_p
        for function in (library.nft_ctx_buffer_output, library.nft_ctx_buffer_error, library.nft_ctx_free):
            function.argtypes = [ctypes.c_void_p]
        self._library = library
        self._context = library.nft_ctx_new(0)
        if not self._context:
            raise NftError("nft gives no context")
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)
        library.nft_ctx_output_set_flags(self._context, _OUTPUT_JSON)

    def run(self, commands: str) -> str:
        """Do all of `commands` or none; what they print, as JSON. Raises NftError."""
        failed = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
        errors: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if failed:
            reason = errors.decode(errors="replace").strip().splitlines()
            raise NftError(reason[0] if reason else "nft refused without a reason")
        return output.decode(errors="replace")

    def list(self, what: str) -> list[dict[str, Any]]:
        """The objects that `list WHAT` gives, each as `{kind: fields}`. Raises NftError."""
        output = self.run(f"list {what}")
        return orjson.loads(output)["nftables"] if output else []

    def close(self) -> None:
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None
