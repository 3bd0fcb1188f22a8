"""Weights that an ONNX file keeps in files beside it, as torch writes them, put into its content."""

from pathlib import Path, PurePosixPath
from typing import Any

from sparring.core.errors import LoadError
from sparring.core.files import is_there
from sparring.graph.onnx_session import tensors

LARGEST = 2**31 - 1
"""Bytes that a network may have: protobuf, in which ONNX files are written, holds no more in one message."""


def with_external_data(content: bytes, path: Path) -> bytes:
    """Return the content of an ONNX file with all its weights.

    Only regular files in the folder of the network are read, at the places that the file names.

    Args:
        content: The unpacked content of the file.
        path: Where the file lies.

    Raises:
        LoadError: Where a file of weights is missing, too short, a link, or outside the folder, and where everything together is too large.
    """
    if b"location" not in content:  # the key under which the name of every such file stands
        return content
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise LoadError("reading ONNX files needs onnx: pip install 'sparring[onnx]'") from error
    try:
        proto = onnx.load_from_string(content)
    except DecodeError:
        return content  # who reads it says what is wrong
    outside = [one for one in tensors(proto) if one.data_location == onnx.TensorProto.EXTERNAL]
    if not outside:
        return content
    room = LARGEST - len(content)
    for tensor in outside:
        data = _read(tensor, path, room)
        room -= len(data)
        tensor.raw_data = data
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return proto.SerializeToString()


def _read(tensor: Any, path: Path, room: int) -> bytes:
    """The bytes of one tensor from its file."""
    entries = {one.key: one.value for one in tensor.external_data}
    location, said = entries.get("location", ""), f"{path}: the weight {tensor.name[:80]!r}"
    written = PurePosixPath(location.replace("\\", "/"))
    if not location or written.is_absolute() or ".." in written.parts or ":" in location:
        raise LoadError(f"{said} is kept in {location[:80]!r}, outside the folder of the network: save the network again")
    file = path.parent / written
    if not is_there(file):
        raise LoadError(f"{said} is kept in {location[:80]!r}, which does not exist: copy it beside the network")
    if file.is_symlink() or not file.resolve().is_relative_to(path.parent.resolve()):
        raise LoadError(f"{said} is kept in {location[:80]!r}, which leads out of the folder of the network: copy the file there")
    if not file.is_file():
        raise LoadError(f"{said} is kept in {location[:80]!r}, which is no file: copy it beside the network")
    try:
        start, size = int(entries.get("offset") or 0), file.stat().st_size
        length = int(entries["length"]) if entries.get("length") else size - start
    except ValueError as error:
        raise LoadError(f"{said} has no place in {location[:80]!r} ({error}): save the network again") from error
    if start < 0 or length < 0 or start + length > size:
        raise LoadError(f"{said} is said to take bytes {start} to {start + length} of {location[:80]!r}, which has {size}: copy the file again")
    if length > room:
        raise LoadError(f"{path} and the files of its weights hold more than 2 GB: such networks are not read, give the torch module")
    with file.open("rb") as stream:
        stream.seek(start)
        return stream.read(length)
