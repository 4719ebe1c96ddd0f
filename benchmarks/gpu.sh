#!/usr/bin/env bash
# Everything that a GPU at hand for ten minutes is good for: kernels, parity, bench.
#
#   bash benchmarks/gpu.sh [FOLDER]          results go to FOLDER, else to $OUT, else to build/gpu
#
# It installs nothing and needs no network. python3 must have: numpy, ml_dtypes, safetensors, rich,
# pytest, hypothesis, and torch for CUDA with Triton; jax and flax for their part of parity. h5py,
# MindSpore and Keras are not needed. What is missing can be carried as wheels, below 64 MiB:
#   python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 \
#       --platform manylinux_2_28_x86_64 -d .wheels ml_dtypes safetensors rich
#   python3 -m pip install --no-index --no-deps --target .site .wheels/*.whl   # on that machine
#   PYTHONPATH=.site bash benchmarks/gpu.sh
#
# Each stage has a limit in seconds, and its results are written as it ends: what is cut off loses
# the stage that it was at. Five files: summary.md, which says what ran, parity.json, bench.json,
# bench.md and log. Exit code 1 if anything failed.
#
# XLA compiles a program for each case, which may take longer than is left: a second call does the
# rest, ONLY=jax bash benchmarks/gpu.sh FOLDER. ONLY is a regular expression of stages' names.
# DEVICE=cpu tries the script itself, without a GPU; SECONDS_LEFT, JOBS, SCALE and WORKLOADS are how
# long it may take, how many processes compare, and what convgru bench calls so.
set -u
cd "$(dirname "$0")/.." || exit 2
FOLDER=${1:-${OUT:-build/gpu}}
mkdir -p "$FOLDER" && FOLDER=$(cd "$FOLDER" && pwd) || exit 2
export PYTHONPATH="$PWD:$PWD/backends${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export XLA_PYTHON_CLIENT_PREALLOCATE=false TF_CPP_MIN_LOG_LEVEL=2 # several processes share the card
unset TRITON_INTERPRET
DEVICE=${DEVICE:-cuda}
WORK=$(mktemp -d) && trap 'rm -rf "$WORK"' EXIT || exit 2
CORES=$(getconf _NPROCESSORS_ONLN)
JOBS=${JOBS:-$((CORES > 12 ? 12 : CORES))}
END=$((SECONDS + ${SECONDS_LEFT:-570}))
FAILED=0
: >"$FOLDER/log"

# stage NAME SECONDS COMMAND…: run it within its limit and what is left, and write the summary anew.
stage() {
    local name=$1 limit=$2 begin=$SECONDS left=$((END - SECONDS)) code=0
    shift 2
    [[ $name =~ ${ONLY:-.} ]] || return 0
    limit=$((limit < left ? limit : left))
    if [ "$limit" -lt 5 ]; then
        echo "$name: no time left" | tee -a "$FOLDER/log"
        FAILED=1
    else
        echo "== $name (at most $limit s): $*" >>"$FOLDER/log"
        timeout --kill-after=5 "$limit" "$@" >>"$FOLDER/log" 2>&1 || code=$?
        echo "$name: exit code $code after $((SECONDS - begin)) s" | tee -a "$FOLDER/log"
        [ "$code" -eq 0 ] || FAILED=1
    fi
    timeout 60 python3 benchmarks/gpu_summary.py "$FOLDER" "$WORK" >>"$FOLDER/log" 2>&1
}

# parity NAME SECONDS BACKENDS DTYPES [--tf32]: the whole table.
parity() {
    local file=parity-$1 limit=$2 backends=$3 dtypes=$4
    shift 4
    stage "$file" "$limit" python3 -m convgru parity --backends "$backends" --dtype "$dtypes" \
        --device "$DEVICE" --jobs "$JOBS" --force --output "$WORK/$file.json" "$@"
}

# bench PRECISION SECONDS NAME [OPTIONS]
bench() {
    local precision=$1 limit=$2 name=$3
    shift 3
    stage "bench-$name" "$limit" python3 -m convgru bench --backends torch --device "$DEVICE" \
        --precision "$precision" --scale "${SCALE:-1}" --runs 5 --patience 5 --force \
        --output "$WORK/bench-$name.json" "$@"
}

OURS=(--variant cuda_graphs=true --variant memory=lean)
[ "$DEVICE" = cuda ] || OURS=(--variant memory=lean)
RIVALS=(--rivals "plain loop,floor")
NETWORKS=${WORKLOADS:-W1,W2,W3,R,L}
SHARED=() # kernels are compiled while they are tested: several processes share that
python3 -c "import xdist" 2>/dev/null && SHARED=(-n "$JOBS")
stage kernels 90 python3 -m pytest -q -p no:cacheprovider "${SHARED[@]}" --junit-xml="$WORK/kernels.xml" \
    -m gpu tests/torch/test_accelerator_gpu.py tests/torch/test_precision.py
parity torch-float 70 torch float32,float64
parity torch-half 50 torch bfloat16,float16
parity torch-tf32 40 torch float32 --tf32
bench bfloat16 90 bfloat16 --workloads "$NETWORKS" --cells gru "${OURS[@]}" "${RIVALS[@]}"
bench bfloat16 110 compiled --workloads W2,R,L --cells gru --compile --no-memory \
    --rivals "plain loop,compiled plain loop" "${OURS[@]}"
bench bfloat16 30 lstm --workloads W2 --cells lstm "${OURS[@]}" "${RIVALS[@]}"
bench tf32 80 tf32 --workloads "$NETWORKS" --cells gru "${OURS[@]}" "${RIVALS[@]}"
bench float32 80 float32 --workloads "$NETWORKS" --cells gru "${OURS[@]}" "${RIVALS[@]}"
parity jax-float32 200 jax,flax float32
parity jax-half 200 jax,flax bfloat16,float16
parity jax-float64 200 jax,flax float64
parity jax-tf32 200 jax,flax float32 --tf32
exit $FAILED
