"""The program that holds a pod's namespaces open, assembled here because the user's machine need not have a compiler.

It is an ELF executable of one segment, with no libc and no heap, in under 400 bytes. As process 1 of the sandbox it does what upstream's
`pause` does:

1. `rt_sigaction(SIGCHLD, SIG_IGN with SA_NOCLDWAIT)`: with a shared process namespace it inherits orphans, and the kernel reaps them.
2. `rt_sigprocmask(SIG_BLOCK, {SIGINT, SIGTERM})`: for process 1 a signal with the default action is dropped unless it is blocked.
3. `rt_sigtimedwait({SIGINT, SIGTERM}, no time limit)`, again if it is interrupted.
4. `exit_group(0)`.

Source: System V ABI (ELF64), the instruction encodings of the Intel and Arm manuals, the kernel's system call tables.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

_Assembler = Callable[[int, int], bytes]
"""Gives the code for the address that it starts at and the address of the data."""

_BASE = 0x400000
_HEADERS_BYTES = 64 + 56

_SIGINT, _SIGTERM, _SIGCHLD = 2, 15, 17
_SIG_IGN, _SA_NOCLDWAIT = 1, 2
_SIGSET_BYTES = 8

_ACTION = struct.pack("<QQQQ", _SIG_IGN, _SA_NOCLDWAIT, 0, 0)
_MASK = struct.pack("<Q", 1 << (_SIGINT - 1) | 1 << (_SIGTERM - 1))
_DATA = _ACTION + _MASK

_EM_X86_64, _EM_AARCH64 = 62, 183

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The machines (`uname -m`) that a pause program exists for, and an image's name for each."""


def pause_program(machine: str) -> bytes:
    """The executable for `machine`, `x86_64` or `aarch64`. Raises ValueError for another."""
    if machine == "x86_64":
        return _executable(_EM_X86_64, _x86_64)
    if machine == "aarch64":
        return _executable(_EM_AARCH64, _aarch64)
    raise ValueError(f"no pause program for the architecture {machine!r}: known are {', '.join(ARCHITECTURES)}")


def _executable(elf_machine: int, assemble: _Assembler) -> bytes:
    """Headers, code, data. The code's length does not depend on the addresses in it, so a first pass measures it."""
    start = _BASE + _HEADERS_BYTES
    length = len(assemble(start, start))
    padding = -length % 8
    code = assemble(start, start + length + padding) + bytes(padding)
    size = _HEADERS_BYTES + len(code) + len(_DATA)
    identification = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
    elf = struct.pack("<16sHHIQQQIHHHHHH", identification, 2, elf_machine, 1, start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    read_and_execute = 5
    segment = struct.pack("<IIQQQQQQ", 1, read_and_execute, 0, _BASE, _BASE, size, size, 0x10000)
    return elf + segment + code + _DATA


def _x86_64(start: int, data: int) -> bytes:
    """System call number in eax, arguments in edi, esi, edx, r10d. Addresses are below 4 GiB: 32-bit moves suffice."""
    action, mask = data, data + len(_ACTION)

    def mov(opcode: bytes, value: int) -> bytes:
        return opcode + struct.pack("<I", value)

    eax, edi, esi, r10d = b"\xb8", b"\xbf", b"\xbe", b"\x41\xba"
    zero_edi, zero_esi, zero_edx, syscall = b"\x31\xff", b"\x31\xf6", b"\x31\xd2", b"\x0f\x05"
    prologue = (
        mov(eax, 13) + mov(edi, _SIGCHLD) + mov(esi, action) + zero_edx + mov(r10d, _SIGSET_BYTES) + syscall
        + mov(eax, 14) + zero_edi + mov(esi, mask) + zero_edx + mov(r10d, _SIGSET_BYTES) + syscall
    )  # fmt: skip
    wait = mov(eax, 128) + mov(edi, mask) + zero_esi + zero_edx + mov(r10d, _SIGSET_BYTES) + syscall
    test_eax, jump_if_sign = b"\x85\xc0", b"\x78"
    again = test_eax + jump_if_sign + struct.pack("<b", -(len(wait) + 4))
    return prologue + wait + again + mov(eax, 231) + zero_edi + syscall


def _aarch64(start: int, data: int) -> bytes:
    """System call number in x8, arguments in x0 to x3; every instruction has four bytes."""
    action, mask = data, data + len(_ACTION)
    code = bytearray()

    def movz(register: int, value: int) -> None:
        code.extend(struct.pack("<I", 0xD2800000 | value << 5 | register))

    def adr(register: int, address: int) -> None:
        offset = address - (start + len(code))
        code.extend(struct.pack("<I", 0x10000000 | (offset & 3) << 29 | (offset >> 2 & 0x7FFFF) << 5 | register))

    def system_call(number: int) -> None:
        movz(8, number)
        code.extend(struct.pack("<I", 0xD4000001))

    movz(0, _SIGCHLD)
    adr(1, action)
    movz(2, 0)
    movz(3, _SIGSET_BYTES)
    system_call(134)
    movz(0, 0)
    adr(1, mask)
    movz(2, 0)
    movz(3, _SIGSET_BYTES)
    system_call(135)
    wait = len(code)
    adr(0, mask)
    movz(1, 0)
    movz(2, 0)
    movz(3, _SIGSET_BYTES)
    system_call(137)
    back = (wait - len(code)) >> 2 & 0x3FFF
    test_sign_bit_and_branch = 0xB7000000 | 31 << 19 | back << 5
    code.extend(struct.pack("<I", test_sign_bit_and_branch))
    movz(0, 0)
    system_call(94)
    return bytes(code)
