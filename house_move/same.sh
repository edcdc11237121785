#!/bin/bash
# same.sh OLD NEW: a short training on both trees gives the same bytes; models and runs of OLD open in NEW
set -e
cd .; PY=../.venv/bin/python; export OMP_NUM_THREADS=1 DERMLENS_CACHE=./same/cache
rm -rf same; mkdir -p same
cat > same/recipe.yaml <<'Y'
name: tiny
data: {size: 48, metadata: default}
split: {protocol: grouped, selection: 0.2, calibration: 0.15, test: 0.15}
model: {backbone: mobilenet_v3_small, pool: gap, heads: 2}
augment: {mix: {kind: cutmix}}
imbalance: {weights: new, loss: {kind: focal}}
train: {epochs: 1, batch_size: 16, optimizer: {kind: keras_adam, lr: 0.002, eps: 0.1}}
Y
run() { PYTHONPATH=$PWD/$1/src $PY -m dermlens "${@:2}"; }
run $1 synthesize same/data --lesions 60 --width 96 --height 64 >/dev/null
for t in $1 $2; do
  cp same/recipe.yaml same/recipe_$t.yaml
  run $t train same/recipe.yaml --data same/data --out same/run_$t >/dev/null
  run $t calibrate same/run_$t >/dev/null || true
  run $t evaluate same/run_$t >/dev/null
  run $t report same/run_$t >/dev/null
done
for f in model.safetensors model.json metrics.json predictions.csv history.csv split.csv decision.npz model_card.md report.html; do
  [ -f same/run_$1/$f ] && { cmp -s same/run_$1/$f same/run_$2/$f && echo "same      $f $(sha256sum < same/run_$1/$f | cut -c1-16)" || echo "DIFFERENT $f"; }
done
# what the old tree wrote opens in the new one
run $2 evaluate same/run_$1 | tail -3
run $2 export same/run_$1 same/exported | tail -3
ls same/exported
run $1 predict same/data/$(cd same/data; find . -name "*.jpg" | head -1) --model same/exported 2>&1 | tail -3 || true
