#!/bin/bash
# tests.sh CLONE PATHS…: run tests of a moved clone, one thread
cd ./$1; shift
PYTHONPATH=$PWD/src:$PWD OMP_NUM_THREADS=1 DERMLENS_DATA=$DERMLENS_DATA nice -n 10 ../.venv/bin/python -m pytest -q -m "not slow" $*
