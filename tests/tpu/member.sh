#!/bin/bash
# A member that takes no time, in place of the interpreter: three steps, the last when it may.
# Its work directory keeps the step; SIGTERM saves and exits 75. Hosts but the first go with it.
for argument in "$@"; do
  case $argument in --workdir=*) workdir=${argument#*=} ;; esac
done
mkdir -p "$workdir"
trap '[ -e "$workdir/deaf" ] || exit 75' TERM
echo "$TPU_WORKER_ID" >> "$workdir/hosts"
if [ "$TPU_WORKER_ID" -gt 0 ]; then
  while [ ! -e "$workdir/DONE" ]; do
    [ -e "$workdir/../broken" ] && exit 1
    sleep 0.05
  done
  exit 0
fi
step=$(cat "$workdir/step" 2> /dev/null || echo 0)
echo "$step" >> "$workdir/starts"
if [ -e "$workdir/../broken" ]; then
  echo 'googlenet train: broken'
  exit 1
fi
while [ "$step" -lt 2 ]; do
  step=$((step + 1))
  echo "$step" > "$workdir/step"
done
while [ ! -e "$workdir/../go" ]; do sleep 0.05; done
echo '{"test": {"main": {"top1_error": 0.5}}, "train": {"images_per_second": 9}, "steps": 3}' \
  > "$workdir/result.json"
touch "$workdir/DONE"
