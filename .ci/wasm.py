"""The shape of WebAssembly modules, as far as the scripts beside this file need it."""


def leb128(data, at):
    """An unsigned LEB128 integer of `data` at offset `at`, and the offset behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def sections(module):
    """Yields each section's number, its size in bytes and its contents."""
    at = 8  # behind the magic number and the version
    while at < len(module):
        size, body = leb128(module, at + 1)
        yield module[at], size, module[body:body + size]
        at = body + size
