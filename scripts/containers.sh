# Sourced: a podman and buildah set-up of our own, so that nothing global on
# the machine is read or changed. Sets CONTAINERS_CONF and
# CONTAINERS_STORAGE_CONF, which the tests inherit.
# shellcheck shell=bash

"$root/scripts/packages.sh" podman buildah runc catatonit netavark aardvark-dns busybox-static
[ "$(id -u)" = 0 ] || die "the container tests and images need root (their containers still run as ordinary users)"

containers=$cache/containers
# podman notices a restart of the machine by this folder being empty again.
volatile=/run/picket-containers
mkdir -p "$containers" "$volatile"

# In one step: another run may be reading the file.
replace() { cat >"$1.$$" && mv -f "$1.$$" "$1"; }

# What makes containers start where we ourselves are in one: limits within
# reach of a process without CAP_SYS_RESOURCE, no systemd for cgroups and logs,
# and runc, since crun refuses a hybrid cgroup layout.
replace "$containers/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
log_driver = "k8s-file"

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "$volatile/engine"

[network]
network_backend = "netavark"
network_config_dir = "$containers/networks"
CONF

storage_with() {
	replace "$containers/storage.conf" <<CONF
[storage]
driver = "$1"
graphroot = "$containers/$1"
runroot = "$volatile/$1"
CONF
}

export CONTAINERS_CONF=$containers/containers.conf
export CONTAINERS_STORAGE_CONF=$containers/storage.conf

# Overlay as real nodes have it; whole copies where the kernel refuses it.
storage_with overlay
if ! podman info >/dev/null 2>&1; then
	storage_with vfs
	podman info >/dev/null || die "podman does not start, see above"
	say "overlay storage is not to be had here; using vfs"
fi
