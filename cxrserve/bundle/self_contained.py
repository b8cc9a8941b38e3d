"""Check that an ONNX file holds all of its own data.

ONNX allows a tensor to name another file for its values (`external_data`, onnx.proto). No hash in the bundle
covers such a file, and OpenVINO resolves its name against the working directory and loads it, even where it
was given bytes and no path. So every tensor of a graph is checked before an engine sees the graph.

The walk reads protobuf's wire format along the fields of onnx.proto that can hold a tensor. It builds nothing
and copies nothing; depth and number of fields are bounded.
"""

from __future__ import annotations

from typing import Final

from cxrserve.errors import BundleError

_MAX_DEPTH: Final = 64  # subgraphs within subgraphs; exports of networks have none
_MAX_FIELDS: Final = 4_000_000  # a full-size DenseNet121 has some 20,000

# Message -> field number -> message of that field: the part of onnx.proto below which tensors lie.
_FIELDS: Final[dict[str, dict[int, str]]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
_EXTERNAL_DATA: Final = 13  # TensorProto.external_data
_DATA_LOCATION: Final = 14  # TensorProto.data_location: 0 DEFAULT, 1 EXTERNAL

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_self_contained(model: bytes, name: str) -> None:
    """Refuse an ONNX file with a tensor whose values lie in another file.

    Args:
        model: the bytes of the file.
        name: how the error names it.

    Raises:
        BundleError: a tensor names another file, or the bytes are not the wire format of protobuf.
    """
    try:
        _walk(memoryview(model), name)
    except (IndexError, ValueError) as error:
        raise BundleError(f"{name} is no ONNX file: {error}. Export it again.") from None


def _walk(model: memoryview, name: str) -> None:
    stack: list[tuple[str, int, int]] = [("ModelProto", 0, len(model))]  # message, position, end
    fields = 0
    while stack:
        fields += 1
        if fields > _MAX_FIELDS:
            raise ValueError(f"it has more than {_MAX_FIELDS} fields")
        message, position, end = stack.pop()
        if position == end:
            continue
        key, position = _varint(model, position, end)
        number, wire_type = key >> 3, key & 7
        if message == "TensorProto":
            _check_tensor(model, number, wire_type, position, end, name)
        start, after = _extent(model, wire_type, position, end)
        stack.append((message, after, end))
        child = _FIELDS[message].get(number)
        if child is not None and wire_type == _BYTES:
            if len(stack) > _MAX_DEPTH:
                raise ValueError(f"its graphs are nested more than {_MAX_DEPTH} messages deep")
            stack.append((child, start, after))


def _check_tensor(model: memoryview, number: int, wire_type: int, position: int, end: int, name: str) -> None:
    external = number == _EXTERNAL_DATA or (
        number == _DATA_LOCATION and (wire_type != _VARINT or _varint(model, position, end)[0] != 0)
    )
    if external:
        raise BundleError(
            f"{name} has a tensor whose values lie in another file (ONNX external data). No hash of the "
            "bundle covers that file, so it is not loaded: export the network with its weights inside."
        )


def _extent(model: memoryview, wire_type: int, position: int, end: int) -> tuple[int, int]:
    """Start and end of a field's value; both equal for a varint, which holds no message."""
    if wire_type == _BYTES:
        length, start = _varint(model, position, end)
        after = start + length
    elif wire_type == _VARINT:
        start = after = _varint(model, position, end)[1]
    elif wire_type in (_FIXED64, _FIXED32):
        start = position
        after = position + (8 if wire_type == _FIXED64 else 4)
    else:  # groups: ONNX has none
        raise ValueError(f"wire type {wire_type} at byte {position}")
    if after > end:
        raise ValueError(f"a field ends at byte {after}, beyond the end of its message at {end}")
    return start, after


def _varint(model: memoryview, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise ValueError(f"a number is cut off at byte {position}")
        byte = model[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"a number has more than ten bytes at byte {position}")
