#!/bin/bash
# A run on the nodes of one SLURM job: sbatch examples/slurm.sh run.toml, whose [cluster] has address = "auto".
# gaitforge must be on the PATH of every node, and home and work folder be shared by all of them.
#SBATCH --job-name=gaitforge
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
set -euo pipefail
settings=$1
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
others=$((${#nodes[@]} - 1))
# a port of this job's own, since others may run on these nodes
export RAY_ADDRESS="$head:$((20000 + SLURM_JOB_ID % 10000))"
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
if [ ! -s ~/.ray/auth_token ]; then
  ray get-auth-token --generate >/dev/null
  chmod 600 ~/.ray/auth_token
fi
cores=${SLURM_CPUS_PER_TASK:-1}
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT # the steps that hold Ray

# --block keeps Ray in its step, so that SLURM ends it with the job; --overlap leaves the node to the step beside it
RAY_ADDRESS='' srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
  ray start --head --port="${RAY_ADDRESS##*:}" --num-cpus="$cores" --include-dashboard=false --block &
wait_for() { # nodes that Ray must know, within three minutes
  for _ in {1..90}; do
    if [ "$(ray status 2>/dev/null | grep -c ' node_')" -ge "$1" ]; then return; fi
    sleep 2
  done
  echo "Of $1 nodes Ray has not started on all within 3 minutes; look at the output of its steps above." >&2
  exit 1
}
wait_for 1
if [ "$others" -gt 0 ]; then
  srun --overlap --nodes="$others" --ntasks="$others" --exclude="$head" \
    ray start --address="$RAY_ADDRESS" --num-cpus="$cores" --block &
  wait_for "${#nodes[@]}"
fi

gaitforge doctor "$settings"
gaitforge run "$settings"
