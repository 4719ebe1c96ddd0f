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
# Stages run in the order of their worth, whatever became of those before. Each has a limit in
# seconds, and its results are written as it ends: what is cut off loses the stage that it was at.
# Six files: summary.md, which says what ran, what a stage that failed said last, and the worst of
# parity; parity.json, bench.json, bench.md, streams.md and log. Exit code 1 if anything failed, 2
# without a GPU.
#
# Not all of it fits into ten minutes. A second and a third call do the rest, into other folders:
#   ONLY='jax' bash benchmarks/gpu.sh FOLDER
#   ONLY='torch-tf32|bench-(tf32|lstm|float32|compiled)' bash benchmarks/gpu.sh FOLDER
# ONLY is a regular expression of stages' names. DEVICE=cpu tries the script itself, without a GPU;
# SECONDS_LEFT, JOBS, SCALE and WORKLOAD are how long it may take, how many processes compare, and
# what convgru bench is to time instead, and how much of it.
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

say() { echo "$*" | tee -a "$FOLDER/log"; }

summarise() {
    timeout 60 python3 benchmarks/gpu_summary.py "$FOLDER" "$WORK" >>"$FOLDER/log" 2>&1 ||
        cp "$FOLDER/log" "$FOLDER/summary.md" # what there is
}

# stage NAME SECONDS COMMAND…: run it within its limit and what is left, and write the summary anew.
stage() {
    local name=$1 limit=$2 begin=$SECONDS left=$((END - SECONDS)) code=0
    shift 2
    [[ $name =~ ${ONLY:-.} ]] || return 0
    limit=$((limit < left ? limit : left))
    if [ "$limit" -lt 10 ]; then
        say "$name: no time left"
        FAILED=1
        return 0
    fi
    echo "== $name (at most $limit s): $*" >>"$FOLDER/log"
    timeout --kill-after=5 "$limit" "$@" >>"$FOLDER/log" 2>&1 || code=$?
    say "$name: exit code $code after $((SECONDS - begin)) s"
    [ "$code" -eq 0 ] || FAILED=1
    summarise
}

# parity NAME SECONDS BACKENDS DTYPES [--tf32]: the whole table.
parity() {
    local file=parity-$1 limit=$2 backends=$3 dtypes=$4
    shift 4
    stage "$file" "$limit" python3 -m convgru parity --backends "$backends" --dtype "$dtypes" \
        --device "$DEVICE" --jobs "$JOBS" --force --output "$WORK/$file.json" "$@"
}

# bench PRECISION SECONDS NAME WORKLOAD CELL [OPTIONS]: one at a time, for its end writes the results.
bench() {
    local precision=$1 limit=$2 name=$3 workload=${WORKLOAD:-$4} cell=$5
    shift 5
    stage "bench-$name" "$limit" python3 -m convgru bench --backends torch --device "$DEVICE" \
        --precision "$precision" --scale "${SCALE:-1}" --runs 5 --patience 5 --force \
        --workloads "$workload" --cells "$cell" --output "$WORK/bench-$name.json" "${OURS[@]}" "$@"
}

# compiled SECONDS WORKLOAD: also the plain loop under torch.compile, which takes minutes.
compiled() {
    bench bfloat16 "$1" "compiled-$2" "$2" gru --compile --no-memory --rivals "plain loop,compiled plain loop"
}

if [ "$DEVICE" = cuda ] && ! seen=$(timeout 120 python3 -c "import torch; print(torch.cuda.get_device_name())" 2>&1); then
    say "no GPU: torch sees no CUDA device here (${seen##*$'\n'})"
    summarise
    exit 2
fi
OURS=(--variant cuda_graphs=true --variant memory=lean)
[ "$DEVICE" = cuda ] || OURS=(--variant memory=lean)
RIVALS=(--rivals "plain loop,floor")
TESTS=(tests/torch/test_{accelerator_gpu,precision,cuda_graphs_gpu,streams_gpu}.py)
SHARED=() # kernels are compiled while they are tested: several processes share that
python3 -c "import xdist" 2>/dev/null && SHARED=(-n "$JOBS")
stage check 75 python3 benchmarks/gpu_check.py "$DEVICE"
parity torch-float 120 torch float32,float64
bench bfloat16 60 bfloat16-W2 W2 gru "${RIVALS[@]}"
stage kernels 110 python3 -m pytest -q -p no:cacheprovider "${SHARED[@]}" --junit-xml="$WORK/kernels.xml" \
    -m gpu "${TESTS[@]}"
parity torch-half 60 torch bfloat16,float16
stage streams 45 python3 benchmarks/gpu_streams.py "$FOLDER/streams.md" "$DEVICE"
for workload in R L W1 W3; do
    bench bfloat16 40 bfloat16-$workload $workload gru "${RIVALS[@]}"
done
compiled 200 W2
parity torch-tf32 40 torch float32 --tf32
bench tf32 40 tf32-W2 W2 gru "${RIVALS[@]}"
bench bfloat16 40 lstm-W2 W2 lstm "${RIVALS[@]}"
bench float32 60 float32-W2 W2 gru "${RIVALS[@]}"
bench tf32 30 tf32-R R gru "${RIVALS[@]}"
compiled 60 R
compiled 60 L
# XLA tries every algorithm for every convolution of every case, unless it is told not to; an XLA that
# does not know the flag would end each process.
QUICK="${XLA_FLAGS:-} --xla_gpu_autotune_level=0"
if [[ parity-jax =~ ${ONLY:-.} ]] && [ $((END - SECONDS)) -gt 30 ] &&
    XLA_FLAGS=$QUICK timeout 60 python3 -c "import jax; jax.devices()" >/dev/null 2>&1; then
    export XLA_FLAGS=$QUICK
fi
parity jax-float32 200 jax,flax float32
parity jax-half 200 jax,flax bfloat16,float16
parity jax-float64 200 jax,flax float64
parity jax-tf32 200 jax,flax float32 --tf32
summarise # also what had no time
exit $FAILED
