#!/bin/bash
# fresh.sh NAME [REF]: a scratch clone of main (or REF of a worktree), moved
cd .; rm -rf $1; git clone -q ${3:-..} $1 && cd $1 && git checkout -q ${2:-main} && time python3 ../mover.py . 
