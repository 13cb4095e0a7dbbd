#!/usr/bin/env bash
# The paper's Table 2 on procedural birds: trains the variants of configs/ablation.py, one seed
# after the other, and writes one table and one figure. Run again, it goes on where it stopped;
# what is finished is skipped. The variants of a seed share the stage 1 of the first of them.
# Arguments are passed on to every run, for example: --config.attngan.num_train_steps=1850
#   RUNS      where the runs and the report go; default: runs/ablation
#   SEEDS     default: "0 1"
#   VARIANTS  default: all
set -eu
cd "$(dirname "$0")/.."
. launch/environment.sh requirements.txt
runs="${RUNS:-runs/ablation}"
variants="${VARIANTS:-lambda_5 no_damsm no_attention lambda_1 lambda_10 lambda_0.1 three_stages \
  dcgan}"

trap 'echo "stopped; run the same command again to go on" >&2; exit 1' INT TERM
failed=""
for seed in ${SEEDS:-0 1}; do
  first=""
  for variant in $variants; do
    workdir="$runs/seed_$seed/$variant"
    echo "ablation: seed $seed, $variant"
    if "$python" -m attngan_jax.main --config "configs/ablation.py:$variant" \
      --config.seed="$seed" --workdir "$workdir" ${first:+--damsm_from "$first"} "$@"; then
      first="${first:-$workdir}"
      "$python" -m attngan_jax.ablation --runs "$runs"
    else
      failed="$failed $workdir"
    fi
  done
done
if [ -n "$failed" ]; then
  echo "error: not finished, see above:$failed; run the same command again to go on" >&2
  exit 1
fi
