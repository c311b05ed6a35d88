#!/usr/bin/env bash
# Boots Debian 11's Linux 5.10, the oldest kernel that has to work (Fargate's),
# under qemu, and runs the tracer's tests in it: guest.sh amd64|arm64 [SUITE...]
#
# amd64: this machine's own root is the guest's, read-only, so that the tests
# find their programs. arm64: busybox, Debian 11's python3 and static binaries only. PICKET_GUEST_SECONDS is how
# long the guest may run, where the machine has other work as well; PICKET_GUEST_CASES are words
# of the names of the only tests to run, PICKET_GUEST_TIMES how often.
source "$(dirname "$0")/lib.sh"

arch=${1:-}
version=5.10.0-32
folder=$cache/guest
limit=${PICKET_GUEST_SECONDS:-3000}
times=${PICKET_GUEST_TIMES:-1}
read -ra only <<<"${PICKET_GUEST_CASES:-}"

case $arch in
amd64) qemu=qemu-system-x86_64 kernel=linux-image-$version-amd64 emulator=qemu-system-x86 ;;
arm64) qemu=qemu-system-aarch64 kernel=linux-image-$version-cloud-arm64 emulator=qemu-system-arm ;;
*) die "guest.sh amd64 or guest.sh arm64" ;;
esac
"$root/scripts/packages.sh" busybox-static cpio "$emulator"

# mirror: where this machine has Debian's packages from.
mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 'Component: main' |
		sort -u | head -n 1
}

# fetch PACKAGE...: unpacks packages of Debian 11, which nothing here installs.
fetch() {
	local state=$folder/apt package mirror
	mkdir -p "$state/lists/partial" "$state/archives/partial" "$folder/$arch"
	mirror=$(mirror)
	[ -n "$mirror" ] || { apt-get -q update >/dev/null || true; mirror=$(mirror); }
	[ -n "$mirror" ] || die "no mirror of Debian is among this machine's apt sources; the guest needs its kernel"
	cat >"$state/sources.list" <<-LIST
		deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bullseye main
	LIST
	local options=(-q -o "Dir::Etc::sourcelist=$state/sources.list" -o Dir::Etc::sourceparts=-
		-o "Dir::State::lists=$state/lists" -o "Dir::Cache=$state" -o APT::Sandbox::User=root
		-o APT::Architectures::=amd64 -o APT::Architectures::=arm64)
	apt-get "${options[@]}" update >/dev/null ||
		die "Debian 11's package lists cannot be fetched; the guest needs its kernel"
	for package in "$@"; do
		rm -f "$state/${package%%:*}"_*.deb
		(cd "$state" && apt-get "${options[@]}" download "$package" >/dev/null) ||
			die "$package of Debian 11 cannot be fetched"
		dpkg-deb -x "$state/${package%%:*}"_*.deb "$folder/$arch"
		rm -f "$state/${package%%:*}"_*.deb
	done
}

mkdir -p "$folder"
if [ ! -e "$folder/$arch/boot/vmlinuz-${kernel#linux-image-}" ]; then
	say "fetching $kernel of Debian 11 (once)"
	packages=("$kernel:$arch")
	[ "$arch" = amd64 ] || packages+=("busybox-static:$arch")
	fetch "${packages[@]}"
fi
if [ "$arch" = arm64 ] && [ ! -e "$folder/arm64/usr/bin/python3.9" ]; then
	say "fetching python3 of Debian 11 (once)"
	fetch {libc6,libgcc-s1,libexpat1,zlib1g,libffi7,coreutils,{libpython3.9,python3.9}-minimal,libpython3.9-stdlib}:arm64
fi

guest=$(mktemp -d)
# It becomes the root, which other users than root pass through as well.
chmod 0755 "$guest"
trap 'rm -rf "$guest"' EXIT
mkdir -p "$guest"/{bin,proc,sys,dev,tmp,root}

say "building the tests"
cd "$root"
# build TARGET SUITE...: names the test programs, the tracer last.
build() {
	local target=$1 suites=() suite
	shift
	for suite in "$@"; do suites+=(--test "$suite"); done
	# An emulated machine is some thirty times slower, so what runs there is optimised a bit.
	CARGO_PROFILE_DEV_OPT_LEVEL=1 PICKET_SLOW=1 cargo test --locked -q -p picket-tracer --target "$target" --no-run --message-format json "${suites[@]}" |
		sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

cat >"$guest/run" <<'RUN'
#!/bin/sh
# In the guest: every suite, then its results in one line each.
read -r release </proc/sys/kernel/osrelease
echo "kernel $release, Yama scope $(cat /proc/sys/kernel/yama/ptrace_scope)"
failed=0
run() {
	echo "--- $*"
	for _ in $(seq "$times"); do "$@" || failed=1; done
}
RUN
printf 'times=%q\n' "$times" >>"$guest/run"

if [ "$arch" = amd64 ]; then
	cp "$(command -v busybox)" "$guest/bin/busybox"
	modules=$folder/amd64/lib/modules/$version-amd64/kernel
	mkdir "$guest/modules"
	for module in drivers/virtio/{virtio,virtio_ring,virtio_pci} net/9p/{9pnet,9pnet_virtio} fs/fscache/fscache fs/9p/9p fs/overlayfs/overlay; do
		cp "$modules/$module.ko" "$guest/modules/"
	done
	# Not those with big programs, which would take long under emulation.
	suites=("${@:2}")
	[ ${#suites[@]} -gt 0 ] || suites=(calls calls_ptrace events events_ptrace evasion evasion_ptrace reads reads_ptrace
		network network_ptrace deny deny_ptrace transparency transparency_ptrace takeover failing given_up)
	mapfile -t built < <(build x86_64-unknown-linux-gnu "${suites[@]}")
	for program in "${built[@]}"; do
		# What is told of a read by inotify comes later than one who looks for it twice waits.
		case $program in
		*/picket-tracer) ;;
		*/reads_ptrace-*) printf 'run %q --test-threads 2 --skip is_told_once %s\n' "$program" "${only[*]}" >>"$guest/run" ;;
		*) printf 'run %q --test-threads 2 %s\n' "$program" "${only[*]}" >>"$guest/run" ;;
		esac
		# Where only ancestors may read a process.
		case $program in
		*/takeover-*)
			printf 'echo 1 >/proc/sys/kernel/yama/ptrace_scope\nrun %q spare\n' "$program" >>"$guest/run"
			echo 'echo 0 >/proc/sys/kernel/yama/ptrace_scope' >>"$guest/run"
			;;
		esac
	done
	cat >"$guest/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
for module in virtio virtio_ring virtio_pci 9pnet 9pnet_virtio fscache 9p overlay; do
	/bin/busybox insmod /modules/$module.ko
done
/bin/busybox mkdir /host /upper /whole
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,msize=262144,ro root /host
/bin/busybox mount -t tmpfs tmpfs /upper
/bin/busybox mkdir /upper/changes /upper/work
/bin/busybox mount -t overlay -o lowerdir=/host,upperdir=/upper/changes,workdir=/upper/work overlay /whole
for folder in proc sys; do /bin/busybox mount --move /$folder /whole/$folder; done
/bin/busybox mount -t devtmpfs dev /whole/dev
/bin/busybox mkdir -p /whole/dev/pts
/bin/busybox ln -s /proc/self/fd /whole/dev/fd
/bin/busybox mount -t devpts devpts /whole/dev/pts
/bin/busybox mkdir -m 1777 /whole/dev/shm
/bin/busybox mount -t tmpfs tmpfs /whole/dev/shm
/bin/busybox mount -t tmpfs tmpfs /whole/run
/bin/busybox cp /run /bin/busybox /whole/run/
/bin/busybox mkdir -m 1777 /whole/run/tmp
/bin/busybox ip link set lo up 2>/dev/null || /bin/busybox ifconfig lo 127.0.0.1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/run/tmp
# It becomes the root, as in a container: a chroot could be left, and its mounts had other names.
exec /bin/busybox switch_root /whole /bin/sh -c 'cd /run/tmp && . /run/run; echo "guest: $failed"
/run/busybox poweroff -f'
INIT
	share=(-virtfs "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap")
	machine=(-cpu max -m 1536 -append "console=ttyS0 quiet panic=-1")
else
	source "$root/scripts/aarch64.sh"
	cp "$folder/arm64/bin/busybox" "$guest/bin/busybox"
	# What the programs of the tests of denials need.
	libraries=lib/aarch64-linux-gnu
	mkdir -p "$guest"/usr/{bin,lib} "$guest/$libraries" "$guest/usr/$libraries"
	cp -a "$folder/arm64/lib/ld-linux-aarch64.so.1" "$guest/lib/"
	cp -a "$folder/arm64/$libraries"/{ld-2*,lib{c,dl,expat,gcc_s,m,pthread,rt,util,z}[.-]*} "$guest/$libraries/"
	cp -a "$folder/arm64/usr/$libraries"/libffi.* "$guest/usr/$libraries/"
	cp -a "$folder/arm64/usr/lib/python3.9" "$guest/usr/lib/"
	cp "$folder/arm64/usr/bin/python3.9" "$guest/usr/bin/python3"
	cp "$folder/arm64/bin/touch" "$guest/usr/bin/touch"
	# The cases that need no more than a shell whose tools are all the one program.
	cases=(every_event_follows double_fork the_kernel_means open_of_nothing
		argument_lists_are_cut after_the_call do_not_leave_the_tracer
		late_agent_hears all_is_over misses_nothing agent_can_have_a_process_killed
		removals_renames every_exit_code standard_streams orphans stop_and_continue
		new_worker_knows stopped_worker still_mirrored next_worker_goes_on does_not_interrupt rings_again)
	[ ${#only[@]} -eq 0 ] || cases=("${only[@]}")
	suites=("${@:2}")
	[ ${#suites[@]} -gt 0 ] || suites=(agent events events_ptrace transparency transparency_ptrace takeover deny deny_ptrace)
	aarch64_is_there || die "rustup cannot fetch $aarch64_target"
	mapfile -t built < <(build "$aarch64_target" "${suites[@]}")
	for program in "${built[@]}"; do
		name=$(basename "$program")
		install -m 0755 "$program" "$guest/bin/$name"
		case $name in
		picket-tracer) ;;
		# All but the one whose program would have to be compiled there.
		deny*) echo "run /bin/$name --test-threads 2 --skip what_a_handler_does ${only[*]}" >>"$guest/run" ;;
		*) echo "run /bin/$name --test-threads 2 ${cases[*]}" >>"$guest/run" ;;
		esac
	done
	cat >"$guest/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox ln -s /proc/self/fd /dev/fd
/bin/busybox --install -s /bin
/bin/busybox mkdir /etc
/bin/busybox ifconfig lo 127.0.0.1
export PATH=/bin:/usr/bin HOME=/root PICKET_TRACER=/bin/picket-tracer
cd /tmp && . /run
echo "guest: $failed"
poweroff -f
INIT
	share=()
	machine=(-M virt -cpu max -m 1024 -append "console=ttyAMA0 quiet panic=-1")
fi
chmod 0755 "$guest/init" "$guest/run"
# Two guests may run at a time.
initrd=$(mktemp)
trap 'rm -rf "$guest" "$initrd"' EXIT
(cd "$guest" && find . | cpio -o -H newc --quiet | gzip -1) >"$initrd"

say "booting $kernel"
started=$(date +%s)
log=$folder/$arch${2:+-$2}.log
timeout "$limit" "$qemu" -accel tcg,thread=multi -smp 2 -nodefaults -display none -no-reboot \
	-serial stdio "${machine[@]}" "${share[@]}" \
	-kernel "$folder/$arch/boot/vmlinuz-${kernel#linux-image-}" -initrd "$initrd" </dev/null |
	stdbuf -oL tr -d '\r' | tee "$log" || say "the guest was ended after $limit s"
say "the guest ran for $(seconds_since "$started")"
# results WORD: how many tests did so.
results() { sed -n "s/^test result: .* \([0-9]*\) $1.*/\1/p" "$log" | awk '{ sum += $1 } END { print sum + 0 }'; }
say "$(grep -c '^test result' "$log") suites: $(results passed) tests passed, $(results failed) failed"
sed -n 's/^test \(.*\) \.\.\. .*FAILED.*/    failed: \1/p' "$log"
grep -q '^guest: 0$' "$log" || die "the tests failed in the guest, or did not end; see $log"
