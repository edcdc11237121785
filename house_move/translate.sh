#!/bin/bash
# translate.sh REF [REPO]: the moved form of a branch, as a commit whose parent is the moved form of its base.
# In the clone translated/: branches moved/base-SHA and moved/NAME; merge them as any branch.
set -e
REPO=${2:-..}; HERE=.; T=$HERE/translated
[ -d $T ] || git clone -q --no-checkout $REPO $T
cd $T; git fetch -q origin '+refs/heads/*:refs/remotes/origin/*'
REF=$(git rev-parse -q --verify origin/$1 || git rev-parse $1)
BASE=$(git merge-base origin/main $REF)
move() {  # commit → tree of its moved form
  git checkout -q -f --detach $1; git clean -qfdx
  python3 $HERE/mover.py . > $HERE/translated.$2.log 2>&1 || { grep -E "NOT SETTLED|EDIT FAILED|Traceback" $HERE/translated.$2.log >&2; [ -n "$FORCE" ] || return 1; }
  git add -A; git write-tree
}
if ! git rev-parse -q --verify moved/base-${BASE:0:9} >/dev/null; then
  TREE=$(move $BASE base) ; git branch -f moved/base-${BASE:0:9} $(git commit-tree $TREE -p $BASE -m "The house: moved by script from ${BASE:0:9}")
fi
TREE=$(move $REF tip)
NAME=${1//\//-}
git branch -f moved/$NAME $(git commit-tree $TREE -p moved/base-${BASE:0:9} -m "$1, in the new house")
git checkout -q -f --detach; git reset -q --hard moved/$NAME
git diff --stat moved/base-${BASE:0:9} moved/$NAME | tail -1
