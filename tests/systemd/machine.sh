#!/usr/bin/env bash
# Boots a real systemd in namespaces, over the files of this machine, with a checkout in
# /root/checkout; prints `ready PID` of that systemd, and ends the machine at the end of its input.
#   machine.sh CHECKOUT     exit code 77, and the reason on the last line: it cannot run here
#
# The host stays as it is: all mounts lie in a mount namespace of this script's own, changes to the
# root file system in an overlay in memory, and the network inside is a loopback. Only apt and pip
# use the host's. Sysctls (fs.protected_* and others) are the kernel's, not a namespace's: so that
# systemd sets none for the host, /proc/sys is read-only inside. No test depends on one.
set -u
cannot() { echo "$*"; exit 77; }
[ $# -eq 1 ] && [ -f "$1/bin/bg-charm-service.service" ] || { echo "usage: $0 CHECKOUT" >&2; exit 2; }
[ "$(id -u)" = 0 ] || cannot "only root can boot a machine"
if [ -z "${SYSTEMD_MACHINE_MOUNTS-}" ]; then
    unshare --mount --pid --fork --uts --ipc --cgroup --net unshare --user true 2>/dev/null ||
        cannot "not all namespaces are to be had here (those of users, which PrivateUsers= needs, in no chroot)"
    SYSTEMD_MACHINE_MOUNTS=own exec unshare --mount --propagation private -- "$BASH" "$0" "$@"
fi
[ -x /lib/systemd/systemd ] || command -v apt-get > /dev/null || cannot "there is neither systemd here nor apt-get"
checkout=$(cd "$1" && pwd)

boot() { # WORK CHECKOUT GROUP: runs as process 1 of its namespaces, and becomes systemd
    set -e
    trap 'exit 77' EXIT # What fails before systemd takes over is not to be had here.
    local work=$1 checkout=$2 group=$3 root=$1/root name node
    mkdir "$root" "$work/upper" "$work/overlay"
    mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/overlay" none "$root"
    mount -t tmpfs -o mode=0755,nosuid,nodev none "$root/run"
    mount -t tmpfs -o mode=1777,nosuid,nodev none "$root/tmp"
    mount -t proc none "$root/proc"
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,bind,ro "$root/proc/sys"
    # Nodes of its own: one that is bound from the host changes its mode there too (a getty does that).
    mount -t tmpfs -o mode=0755,nosuid none "$root/dev"
    for node in null:3 console:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"; done
    mknod -m 666 "$root/dev/tty" c 5 0
    mkdir -m 1777 "$root/dev/shm" "$root/dev/pts"
    mount -t devpts -o newinstance,mode=620,ptmxmode=666 none "$root/dev/pts" # PrivateDevices= wants it
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    # In a container these two are mounts, which the overlay does not show.
    for name in resolv.conf hosts; do rm -f "$root/etc/$name"; cat "/etc/$name" > "$root/etc/$name"; done
    local needed=()
    [ -x "$root/lib/systemd/systemd" ] || needed+=(systemd)
    chroot "$root" /usr/bin/python3 -c 'import ensurepip' 2> /dev/null || needed+=(python3-venv)
    if [ ${#needed[@]} -gt 0 ]; then
        chroot "$root" apt-get update -q
        DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -q -y --no-install-recommends "${needed[@]}"
    fi
    chroot "$root" /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        { echo "/usr/bin/python3, with which the service is installed, is older than 3.11"; exit; }
    # Nothing of the host's starts, and the kernel's own file systems and audit log are the host's.
    rm -rf "$root"/etc/systemd/system/* "$root"/lib/systemd/system/{multi-user,timers}.target.wants
    for name in sys-kernel-{debug,tracing,config}.mount sys-fs-fuse-connections.mount dev-hugepages.mount \
        systemd-journald-audit.socket; do ln -s /dev/null "$root/etc/systemd/system/$name"; done
    # Nor does what the host itself may have of this service count.
    rm -rf "$root"/{etc,var/lib,var/lib/private,opt}/bg-charm-service "$root"/etc/bg-charm-service.env
    mkdir "$root/root/checkout"
    tar -C "$checkout" --exclude=./.git --exclude='./.venv*' -cf - . | tar -C "$root/root/checkout" --no-same-owner -xf -
    # Last, since apt needs the host's network; sysfs and cgroup2 show the namespaces of who mounts them.
    # Alone in its control group: systemd can hand out no memory controller beside another process.
    echo 0 > "$group/cgroup.procs"
    exec unshare --cgroup --net -- "$BASH" -ec '
        trap "exit 77" EXIT
        mount -t sysfs -o ro none "$0/sys"
        mount -t cgroup2 none "$0/sys/fs/cgroup"
        mkdir -p "$0/mnt/old"
        cd "$0"
        pivot_root . mnt/old
        umount -l /mnt/old
        # In a container systemd leaves this to its maker; without it LoadCredential= gives empty folders.
        mount --make-rshared /
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=systemd-test \
            /lib/systemd/systemd --system --unit=sysinit.target --show-status=false --log-target=journal' "$root"
}
up() {
    init=$(cat "/proc/$machine/task/$machine/children" 2>/dev/null) init=${init% }
    [[ $(readlink "/proc/${init:-none}/exe") == */systemd ]] &&
        nsenter --target "$init" --mount --uts --ipc --pid --cgroup --net -- \
            systemctl is-active --quiet sysinit.target 2> /dev/null
}

work=$(mktemp -d) machine= group=
clean_up() {
    trap '' INT TERM HUP
    exec 2> /dev/null # bash tells of each process that was killed
    # With process 1 everything inside ends, and with that its namespaces and mounts.
    [ -z "$machine" ] || kill -KILL $(cat "/proc/$machine/task/$machine/children" 2>/dev/null) "$machine" 2>/dev/null
    wait 2>/dev/null
    for _ in {1..50}; do [ -d "$group" ] || break; find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1; done
    umount --recursive --lazy "$work" 2>/dev/null
    rmdir "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP
mount -t tmpfs -o mode=0755 none "$work" && mkdir "$work/cgroup" && mount -t cgroup2 none "$work/cgroup" &&
    group=$(mktemp -d "$work/cgroup/systemd-test-XXXXXX") || cannot "neither tmpfs nor cgroup v2 can be mounted"
setpriv --pdeathsig KILL unshare --pid --mount --uts --ipc --fork --kill-child -- \
    "$BASH" -c "$(declare -f boot); boot \"\$@\"" boot "$work" "$checkout" "$group" > "$work/boot.log" 2>&1 < /dev/null &
machine=$!
until up; do
    if ! kill -0 "$machine" 2> /dev/null; then
        wait "$machine"
        result=$?
        echo "systemd does not come up: $(grep . "$work/boot.log" | tail -2 | tr '\n' ' ')"
        [ $result = 77 ] || result=1
        exit $result
    fi
    sleep 0.2
done
echo "ready $init"
# Until whoever started this is done, or gone.
cat > /dev/null
