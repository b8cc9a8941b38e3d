#!/usr/bin/env bash
# Packs what a machine with a GPU and without a network lacks, into .gpu (ignored by git).
#
#   tests/benchmarks/gpu_pack.sh site     # .gpu/site.tar.xz: what cxrserve needs beside torch, and its entry points
#   tests/benchmarks/gpu_pack.sh ort      # .gpu/ort.0 …: onnxruntime-gpu in pieces of PIECE_MB
#
# The machine is taken to have what torch's users have (THERE). PYTHON_VERSION and PYTHON name its Python and the one that
# packs. The first step there needs the working tree and site.tar.xz: more than CARRY_MB of both is an error.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
PYTHON_VERSION=${PYTHON_VERSION:-3.12}
PIECE_MB=${PIECE_MB:-55}
CARRY_MB=${CARRY_MB:-34}
PACKAGES=(pydantic pydantic-core pydantic-settings annotated-types typing-inspection python-dotenv pydicom
  python-gdcm pyjpegls pylibjpeg-openjpeg fastapi starlette uvicorn python-multipart highdicom zstandard
  anyio annotated-doc opentelemetry-api click h11 idna typing-extensions)
THERE=(numpy pillow opencv-python-headless onnx onnxruntime torch torchvision timm lightning typer rich prometheus-client
  packaging pytest)

platforms=(--only-binary=:all: --python-version "$PYTHON_VERSION" --implementation cp)
for platform in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux1; do
  platforms+=(--platform "${platform}_x86_64")
done

# pip COMMAND … for the other machine, without what the packages ask for.
pip_for_there() { "$PYTHON" -m pip "$1" --quiet --disable-pip-version-check --no-deps "${platforms[@]}" "${@:2}"; }

pin() {
  grep -E "^${1//-/[-_]}==" deploy/constraints.txt || { echo "deploy/constraints.txt does not pin $1" >&2; return 1; }
}

case "${1:-}" in
  site)
    rm -rf .gpu/whl .gpu/site .gpu/site.tar.xz && mkdir -p .gpu/whl
    pins=()
    for package in "${PACKAGES[@]}"; do pins+=("$(pin "$package")"); done
    "$PYTHON" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir .gpu/whl .
    pip_for_there install --no-compile --target .gpu/site "${pins[@]}" .gpu/whl/*.whl
    # Unpacked and compressed as one they take half of what the wheels take. The working tree has these two.
    rm -r .gpu/site/cxrserve .gpu/site/training
    tar --create --xz --sort=name --owner=0 --group=0 --file .gpu/site.tar.xz --directory .gpu/site .
    rm -r .gpu/whl .gpu/site
    tree=$(git ls-files -z --cached --others --exclude-standard | xargs -0 stat --format=%s -- | awk '{s += $1} END {print s}')
    site=$(stat --format=%s .gpu/site.tar.xz)
    echo "the first step carries $(((tree + site) / 1000)) kB: $((tree / 1000)) of working tree, $((site / 1000)) of packages"
    ((tree + site <= CARRY_MB * 1000000)) || { echo "that is more than $CARRY_MB MB" >&2; exit 1; }
    ;;
  ort)
    rm -rf .gpu/ort.* .gpu/large && mkdir -p .gpu/large
    version=$(pin onnxruntime)
    pip_for_there download --dest .gpu/large "onnxruntime-gpu==${version#*==}"
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
