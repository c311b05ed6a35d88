#!/usr/bin/env bash
# Cargo runs each test through this while scripts/test.sh runs those at a control plane beside it.
case ${1##*/} in
control_plane_*) echo "runs beside" ;;
*) exec "$@" ;;
esac
