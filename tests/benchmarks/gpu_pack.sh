#!/usr/bin/env bash
# Packs what a machine with a GPU and without a network lacks, into .gpu (ignored by git).
#
#   tests/benchmarks/gpu_pack.sh wheels   # .gpu/whl: what cxrserve needs beside torch, with cxrserve's own wheel
#   tests/benchmarks/gpu_pack.sh ort      # .gpu/ort.0 …: onnxruntime-gpu in pieces of PIECE_MB
#
# The machine is taken to have what torch's users have: numpy, OpenCV, Pillow, onnx, onnxruntime, torch, torchvision,
# timm, Lightning, typer, rich, pytest. PYTHON_VERSION and PYTHON name its Python and the one that packs.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
PYTHON_VERSION=${PYTHON_VERSION:-3.12}
PIECE_MB=${PIECE_MB:-55}
PACKAGES=(pydantic pydantic-core pydantic-settings annotated-types typing-inspection python-dotenv pydicom
  python-gdcm pyjpegls pylibjpeg-openjpeg fastapi starlette uvicorn python-multipart highdicom zstandard)

# A wheel for the other machine, in the version that was tested here.
fetch() {
  local platform platforms=()
  for platform in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux1; do
    platforms+=(--platform "${platform}_x86_64")
  done
  "$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version "$PYTHON_VERSION" --implementation cp "${platforms[@]}" --dest "$1" "${@:2}"
}

pin() {
  grep -E "^${1//-/[-_]}==" deploy/constraints.txt || { echo "deploy/constraints.txt does not pin $1" >&2; return 1; }
}

case "${1:-}" in
  wheels)
    rm -rf .gpu/whl && mkdir -p .gpu/whl
    pins=()
    for package in "${PACKAGES[@]}"; do pins+=("$(pin "$package")"); done
    fetch .gpu/whl "${pins[@]}"
    "$PYTHON" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir .gpu/whl .
    ;;
  ort)
    rm -rf .gpu/ort.* .gpu/large && mkdir -p .gpu/large
    version=$(pin onnxruntime)
    fetch .gpu/large "onnxruntime-gpu==${version#*==}"
    (cd .gpu/large && sha256sum -- *.whl) >.gpu/ort.sha256
    split --bytes="${PIECE_MB}M" --numeric-suffixes --suffix-length=1 .gpu/large/*.whl .gpu/ort.
    rm -r .gpu/large
    ;;
  *)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
du --apparent-size --block-size=KB .gpu/*
