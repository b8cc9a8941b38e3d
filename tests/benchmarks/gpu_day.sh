#!/usr/bin/env bash
# Measures the GPU engines on a machine with a GPU and without a network, one step a call; gpu_pack.sh packs for it.
#
#   tests/benchmarks/gpu_day.sh engine    # doctor, full-size bundle, fp16, torch engine: its gate, its tests, images/s
#   tests/benchmarks/gpu_day.sh torch     # images/s beside torch eager and compiled, 256 and 512
#   tests/benchmarks/gpu_day.sh packages  # AOTInductor packages, as many as BUILD_S seconds allow; images/s beside the graph
#   tests/benchmarks/gpu_day.sh ort       # ONNX Runtime's CUDA: joins .gpu/ort.*, its gate, images/s
#   tests/benchmarks/gpu_day.sh whole     # whole answers/s with 16 decoders, batches, where the time goes
#
# Each step writes what it printed (.txt), and card, driver and versions (.json), into OUT (runs/gpu). Nothing else is kept but
# in STATE, where the next step finds the bundle, or makes it again. RECIPE=demo, SITE=none and SECONDS_EACH=0.2
# rehearse it on a machine without a GPU: then the engines run on the CPU, and what needs a GPU says so.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
RECIPE=${RECIPE:-xclassifier}
SECONDS_EACH=${SECONDS_EACH:-2}
OUT=${OUT:-runs/gpu}
STATE=${STATE:-${TMPDIR:-/tmp}/cxrserve-gpu}
SITE=${SITE:-.gpu/site.tar.xz}
STEP=${1:-}
mkdir -p "$OUT" "$STATE"
OUT=$(realpath "$OUT")
# Built engines and kernels; the folder of engines has to be this user's alone.
export XDG_CACHE_HOME=$STATE/cache PYTHONUNBUFFERED=1
GPU=$("$PYTHON" -c 'import torch; print("yes" if torch.cuda.is_available() else "")')
BUNDLE=$STATE/$RECIPE

cxrserve() { "$PYTHON" -c 'from cxrserve.cli.main import main; main()' "$@"; }

# cxrserve SECONDS …, ended after that time, which is no error.
cxrserve_for() {
  local status=0
  timeout "$1" "$PYTHON" -c 'from cxrserve.cli.main import main; main()' "${@:2}" || status=$?
  ((status == 0 || status == 124)) || return "$status"
}

unpack_site() {
  if [[ $SITE != none && ! -d $STATE/site ]]; then
    "$PYTHON" -m tarfile --filter data --extract "$SITE" "$STATE/site.part"
    mv "$STATE/site.part" "$STATE/site"
  fi
  # The packed distribution of cxrserve names its commands; its packages are those of the working tree.
  export PYTHONPATH=$PWD:$STATE/site${PYTHONPATH:+:$PYTHONPATH}
}

# Takes the place of the machine's own onnxruntime.
install_ort() {
  cat .gpu/ort.[0-9]* >"$STATE/joined"
  read -r sum wheel <.gpu/ort.sha256
  echo "$sum  $STATE/joined" | sha256sum --check --quiet || { echo "pieces of $wheel are missing" >&2; exit 1; }
  mv "$STATE/joined" "$STATE/$wheel"
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target "$STATE/ort" "$STATE/$wheel"
  export PYTHONPATH=$STATE/ort:$PYTHONPATH
}

describe() {
  "$PYTHON" - <<'PY'
import json, platform
from importlib.metadata import PackageNotFoundError, version
import torch
from cxrserve.engines import cuda

def installed(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None

gpu = torch.cuda.is_available()
names = ("torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "numpy")
print(json.dumps({
    "card": torch.cuda.get_device_name() if gpu else None,
    "driver": cuda.driver_version(),
    "cuda": torch.version.cuda,
    "cudnn": torch.backends.cudnn.version() if gpu else None,
    "python": platform.python_version(),
    "versions": {name: installed(name) for name in names},
}, indent=1))
PY
}

make_bundle() {
  [[ -f $BUNDLE/bundle.json ]] || cxrserve models init --recipe "$RECIPE" --out "$BUNDLE"
  grep -q fp16 "$BUNDLE/bundle.json" || cxrserve models quantize "$BUNDLE" --phantoms 4 --precision fp16
}

# One engine by name, built for every size through its gate.
gate_of() {
  BUNDLE=$BUNDLE "$PYTHON" - "$1" <<'PY'
import os, sys, time
from pathlib import Path
from cxrserve.engines.select import choose

choice = choose(sys.argv[1], "auto")
bundle = choice.load(Path(os.environ["BUNDLE"]))
print(f"{choice.name} {choice.version}: {choice.reason}")
for size, model in bundle.models.items():
    variant = bundle.variants[size].precision if size in bundle.variants else None
    began = time.perf_counter()
    engine = choice.build(model, size=size, threads=os.cpu_count() or 1, variant=variant)
    seconds = time.perf_counter() - began
    gate = "gate passed" if engine.replica() is None else "on the CPU, without a gate"
    print(f"{size}: {engine.precision}, batches up to {engine.max_images}, {gate}, ready in {seconds:.1f} s")
PY
}

rates() {
  if [[ -n $GPU ]]; then
    "$PYTHON" -m tests.benchmarks.gpu "$BUNDLE" --seconds "$SECONDS_EACH" "$@"
  else
    echo "not measured, because torch sees no GPU: tests.benchmarks.gpu $*"
  fi
}

step() {
  case "$STEP" in
    engine)
      make_bundle
      cxrserve doctor || true # it names what is missing here
      "$PYTHON" -m pytest -q -p no:cacheprovider -c /dev/null --rootdir "$PWD" tests/engines/test_torch.py
      gate_of torch
      rates --against ""
      ;;
    torch)
      make_bundle
      rates --against eager,compiled --sizes 256,512 --batches 1,8,64
      rates --against eager --sizes 1024,2048
      ;;
    packages)
      make_bundle
      # Each package is kept as soon as it passed its gate: another run goes on with those that are missing.
      cxrserve_for "${BUILD_S:-420}" models build "$BUNDLE" --engine torch
      "$PYTHON" -m tests.benchmarks.torch_packages "$BUNDLE" --turns 3 --seconds "$SECONDS_EACH"
      ;;
    ort)
      make_bundle
      gate_of onnxruntime
      rates --against ""
      ;;
    whole)
      make_bundle
      CXRSERVE_DECODE_WORKERS=${DECODERS:-16} "$PYTHON" -m tests.benchmarks.pipeline_rate "$BUNDLE" \
        --clients "${CLIENTS:-64}" --seconds "$SECONDS_EACH"
      ;;
    *)
      sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
      exit 2
      ;;
  esac
}

unpack_site
[[ $STEP != ort ]] || install_ort
describe | tee "$OUT/$STEP.json"
step 2>&1 | tee "$OUT/$STEP.txt"
