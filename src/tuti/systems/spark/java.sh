#!/bin/sh
# Spark asks every Java for a module that a runtime made by jlink lacks, and can do without it.
for word do
  shift
  [ "$word" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$word"
done
exec %s "$@"
